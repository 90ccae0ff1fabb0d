"""Batches of two streams: in order, from anywhere on, with guides, in shares, in little memory."""

import collections
import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.data.ramps import origin, take
from tests.shared import ROOT
from wespe_tf.data.batches import look, training_data
from wespe_tf.data.patches import PatchStream
from wespe_tf.guide.guide import Guide
from wespe_tf.guide.samples import luminance_histogram


class TestTrainingData:
    @pytest.fixture
    def streams(self, ramps):
        source, target = (ramps(*[(24, 24)] * 4, name=name) for name in ("source", "target"))
        return (
            PatchStream(source, 16, 0, "source_dir"),
            PatchStream(target, 16, 1, "target_dir"),
        )

    def test_batches_hold_the_streams_patches_in_order(self, streams):
        batches = list(training_data(*streams, 3).take(4).as_numpy_iterator())
        for side, stream in enumerate(streams):
            found = np.concatenate([batch[side] for batch in batches])
            assert found.dtype == np.uint8 and batches[0][side].shape == (3, 16, 16, 3)
            np.testing.assert_array_equal(found, take(stream, 12))

    def test_context_belongs_to_its_patch(self, streams):
        guide = Guide.fit(streams[0].samples, streams[1].samples)
        data = training_data(*streams, 3, guide, context=2)
        assert data.element_spec[3] == tf.TensorSpec((3, 2, 16, 16, 3), tf.uint8)
        for batch, (source, _, _, context) in enumerate(data.take(3).as_numpy_iterator()):
            for k in range(3):
                squares, _ = streams[0].cut(3 * batch + k, context=2)
                np.testing.assert_array_equal(np.stack([source[k], *context[k]]), squares)

    def test_start_continues_exactly(self, streams):
        whole = list(training_data(*streams, 3).take(6).as_numpy_iterator())
        rest = list(training_data(*streams, 3, start=4).take(2).as_numpy_iterator())
        for expected, found in zip(whole[4:], rest, strict=True):
            for side in (0, 1):
                np.testing.assert_array_equal(found[side], expected[side])

    def test_shapes_are_known_before_the_first_batch(self, streams):
        data = training_data(*streams, 5)
        assert data.element_spec == 2 * (tf.TensorSpec((5, 16, 16, 3), tf.uint8),)

    def test_source_and_target_are_shuffled_apart(self, ramps):
        """The same folder on both sides: every pairing of photos occurs, few patches are equal."""
        folder = ramps(*[(24, 24)] * 4)
        streams = [PatchStream(folder, 16, seed, "dir") for seed in (0, 1)]
        ((source, target),) = training_data(*streams, 400).take(1).as_numpy_iterator()
        pairs = collections.Counter((origin(a)[0], origin(b)[0]) for a, b in zip(source, target))
        assert set(pairs) == set(itertools.product(range(4), repeat=2))
        # 25 of each of the 16 pairings are to be expected.
        assert 8 < min(pairs.values()) and max(pairs.values()) < 50
        assert np.mean([origin(a) == origin(b) for a, b in zip(source, target)]) < 0.05


class TestGuides:
    def test_are_made_of_their_patch_with_its_photos_curve(self, tmp_path, make_folder):
        source, target = (make_folder(tmp_path / name, seed=k) for k, name in enumerate("st"))
        streams = [PatchStream(folder, 16, 0, "source_dir") for folder in (source, target)]
        maker = Guide.fit(streams[0].samples, streams[1].samples)
        maker.transfer.own_share = 0.5
        data = training_data(*streams, 4, maker)
        sources, targets, guides = next(data.as_numpy_iterator())
        np.testing.assert_array_equal(targets[0], streams[1][0])
        for number, (patch, guide) in enumerate(zip(sources, guides)):
            np.testing.assert_array_equal(patch, streams[0][number])
            _, path = streams[0].cut(number)
            curve = maker.curve(luminance_histogram(np.asarray(Image.open(path))))
            expected = np.rint(np.clip(maker(patch, curve), 0, 1) * 255)
            np.testing.assert_array_equal(guide, expected)


class TestChoice:
    """Of some target patches, the one that looks most like the source patch or its guide."""

    @pytest.fixture
    def streams(self, tmp_path, make_folder):
        folders = (make_folder(tmp_path / name, seed=k) for k, name in enumerate("st"))
        return [PatchStream(folder, 16, k, "source_dir") for k, folder in enumerate(folders)]

    def test_look_is_brightness_and_coarse_contrast(self, rng):
        squares = rng.integers(60, 190, (3, 2))
        patch = np.repeat(squares.repeat(8, 0).repeat(8, 1)[..., None], 3, axis=2)
        expected = [squares.mean() / 40, np.log(squares.std() + 2) / 0.4]
        np.testing.assert_allclose(look(patch), expected)
        # Fine detail and what is left over at the edges do not count.
        checks = 20 * (-1) ** np.add.outer(np.arange(27), np.arange(21))[..., None]
        padded = np.pad(patch, ((0, 3), (0, 5), (0, 0)))
        np.testing.assert_allclose(look(padded + checks), expected)

    @pytest.mark.parametrize("with_guide", [False, True])
    def test_takes_the_most_similar_of_its_candidates(self, streams, with_guide):
        guide = Guide.fit(*(stream.samples for stream in streams)) if with_guide else None
        data = training_data(*streams, 3, guide, candidates=5)
        batches = list(data.take(4).as_numpy_iterator())
        seen = np.concatenate([batch[-1 if with_guide else 0] for batch in batches])
        found = np.concatenate([batch[1] for batch in batches])
        for number, patch in enumerate(seen):
            candidates = [streams[1][n] for n in range(5 * number, 5 * number + 5)]
            distances = [np.linalg.norm(look(candidate) - look(patch)) for candidate in candidates]
            np.testing.assert_array_equal(found[number], candidates[np.argmin(distances)])


class TestShares:
    """What each worker's devices see is, together, what one device would."""

    class Context:
        """As `tf.distribute` hands to the function that makes a worker's data."""

        def __init__(self, worker, workers, devices):
            self.input_pipeline_id, self.num_input_pipelines = worker, workers
            self.devices = devices

        def get_per_replica_batch_size(self, size):
            return size // self.devices

    @pytest.mark.parametrize("workers, devices", [(1, 2), (2, 2), (2, 4)])
    def test_batches(self, tmp_path, make_folder, workers, devices):
        streams = [PatchStream(make_folder(tmp_path / s), 16, 0, "source_dir") for s in "xy"]
        wanted = list(training_data(*streams, 8, start=3).take(2).as_numpy_iterator())

        class Strategy:
            def distribute_datasets_from_function(self, function):
                return [function(TestShares.Context(w, workers, devices)) for w in range(workers)]

        shares = training_data(*streams, 8, start=3, strategy=Strategy())
        each = [list(s.take(2 * devices // workers).as_numpy_iterator()) for s in shares]
        local = devices // workers
        for step in range(2):
            parts = [part for worker in each for part in worker[step * local : (step + 1) * local]]
            for side in range(2):
                found = np.concatenate([part[side] for part in parts])
                np.testing.assert_array_equal(found, wanted[step][side])


MEMORY = """
import sys
from wespe_tf.data.patches import PatchStream
from wespe_tf.data.batches import look, training_data
from wespe_tf.training.validation import Validation
from wespe_tf.guide.guide import Guide

def peak():
    lines = open("/proc/self/status").read().splitlines()
    (line,) = [line for line in lines if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1e6

before = peak()
streams = [PatchStream(folder, 100, 0, "dir") for folder in sys.argv[1:]]
Validation(*streams, *sys.argv[1:])
guide = Guide.fit(*(stream.samples for stream in streams))
for batch in training_data(*streams, 30, guide).take(12):
    pass
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
def test_memory_stays_under_1_gb(tmp_path, make_photo):
    """Twice 20 photos of 12 megapixels are 1.4 GB when decoded, and stand for any number."""
    large = Image.fromarray(make_photo(375, 500)).resize((4000, 3000))
    large.save(tmp_path / "photo.jpg")
    for side in ("source", "target"):
        (tmp_path / side).mkdir()
        for number in range(20):
            os.link(tmp_path / "photo.jpg", tmp_path / side / f"{number}.jpg")
    result = subprocess.run(
        [sys.executable, "-c", MEMORY, tmp_path / "source", tmp_path / "target"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(result.stdout) < 1
