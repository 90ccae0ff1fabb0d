"""Streams of patches: true cut-outs, reproducible, of every photo, within bounded memory."""

import collections
import itertools
import logging
import os
import subprocess
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from wespe_tf.data import crops, patches
from wespe_tf.data.batches import training_data
from wespe_tf.data.crops import fixed_crops
from wespe_tf.data.patches import PatchStream, PhotoCache
from wespe_tf.errors import UserError
from wespe_tf.guide.color_transfer import luminance_histogram
from wespe_tf.guide.guide import Guide

ROOT = Path(__file__).parents[2]


def ramp(height, width, number):
    """A photo whose every pixel tells where it is: (row, column, number of the photo)."""
    row, column = np.mgrid[:height, :width]
    return np.stack([row, column, np.full_like(row, number)], axis=-1).astype(np.uint8)


@pytest.fixture
def ramps(tmp_path):
    """Function that writes one ramp for every (height, width) and returns their folder."""

    def make(*sizes, name="photos"):
        folder = tmp_path / name
        folder.mkdir()
        for number, size in enumerate(sizes):
            Image.fromarray(ramp(*size, number)).save(folder / f"{number}.png")
        return folder

    return make


def origin(patch):
    """Number of the ramp that a patch was cut from, and the row and column of its corner."""
    row, column, number = patch[0, 0].tolist()
    return number, row, column


def take(stream, count, start=0):
    return [stream[number] for number in range(start, start + count)]


@pytest.fixture
def warnings(caplog):
    """Function that returns the warnings so far."""
    caplog.set_level(logging.WARNING, logger="wespe_tf")
    return lambda: [record.getMessage() for record in caplog.records]


class TestPatches:
    SIZES = [(24, 31), (40, 16), (16, 16)]

    def test_are_true_cut_outs(self, ramps):
        stream = PatchStream(ramps(*self.SIZES), 16, 0, "source_dir")
        for patch in take(stream, 60):
            number, row, column = origin(patch)
            photo = ramp(*self.SIZES[number], number)
            assert patch.dtype == np.uint8 and patch.shape == (16, 16, 3)
            np.testing.assert_array_equal(patch, photo[row : row + 16, column : column + 16])

    def test_reach_every_position(self, ramps):
        stream = PatchStream(ramps((20, 22)), 16, 0, "source_dir")
        corners = {origin(patch)[1:] for patch in take(stream, 500)}
        assert corners == set(itertools.product(range(5), range(7)))

    def test_number_decides_the_patch(self, ramps):
        folder = ramps(*self.SIZES)
        forward = take(PatchStream(folder, 16, 3, "source_dir"), 40)
        stream = PatchStream(folder, 16, 3, "source_dir")
        for number in np.random.default_rng(0).permutation(40):
            np.testing.assert_array_equal(stream[number], forward[number])

    def test_stream_starts_anywhere(self, ramps):
        stream = PatchStream(ramps(*self.SIZES), 16, 0, "source_dir")
        far = 10**12 + 7
        assert stream[far].shape == (16, 16, 3)
        assert [origin(p) for p in take(stream, 20, far)] != [origin(p) for p in take(stream, 20)]

    def test_seeds_differ(self, ramps):
        folder = ramps(*self.SIZES)
        sequences = [
            [origin(patch) for patch in take(PatchStream(folder, 16, seed, "source_dir"), 30)]
            for seed in range(4)
        ]
        for a, b in itertools.combinations(sequences, 2):
            assert sum(x == y for x, y in zip(a, b)) < 10

    def test_epochs_differ(self, ramps):
        stream = PatchStream(ramps(*[(32, 32)] * 5), 16, 0, "source_dir")
        size = stream.epoch_size
        first, second = (
            [origin(patch)[0] for patch in take(stream, size, k * size)] for k in (0, 1)
        )
        assert first != second and sorted(first) == sorted(second)


class TestCoverage:
    def test_photos_count_by_their_area(self, ramps):
        """As many patches of each as fit side by side, in every epoch."""
        stream = PatchStream(ramps((20, 20), (60, 80), (10, 30)), 10, 0, "source_dir")
        expected = {0: 2 * 2, 1: 6 * 8, 2: 1 * 3}
        assert stream.epoch_size == 55
        for epoch in range(3):
            drawn = collections.Counter(origin(p)[0] for p in take(stream, 55, 55 * epoch))
            assert drawn == expected

    def test_photos_are_mixed_within_an_epoch(self, ramps):
        stream = PatchStream(ramps((50, 50), (50, 50)), 10, 0, "source_dir")
        numbers = [origin(patch)[0] for patch in take(stream, stream.epoch_size)]
        changes = sum(a != b for a, b in itertools.pairwise(numbers))
        # 25 of each in random order change about 25 times; one after the other only once.
        assert 12 < changes < 38

    def test_sub_folders_count(self, ramps, tmp_path):
        folder = ramps((20, 20))
        (folder / "more" / "deep").mkdir(parents=True)
        Image.fromarray(ramp(20, 20, 7)).save(folder / "more" / "deep" / "7.png")
        stream = PatchStream(folder, 10, 0, "source_dir")
        assert {origin(patch)[0] for patch in take(stream, 20)} == {0, 7}

    def test_upright_size_counts(self, tmp_path):
        """A photo stored on its side: rows and columns are those a viewer shows."""
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(ramp(20, 40, 1)).save(tmp_path / "1.png", exif=exif)
        stream = PatchStream(tmp_path, 16, 0, "source_dir")
        upright = np.rot90(ramp(20, 40, 1), -1)
        patch = stream[0]
        # Turned clockwise, the stored row counts from right to left.
        column, row = 19 - int(patch[0, 0, 0]), int(patch[0, 0, 1])
        np.testing.assert_array_equal(patch, upright[row : row + 16, column : column + 16])


class TestWindow:
    """More photos than the cache may hold."""

    SIDE = 40
    BYTES = 3 * SIDE**2

    @pytest.fixture
    def stream(self, ramps):
        folder = ramps(*[(self.SIDE, self.SIDE)] * 7)
        return PatchStream(folder, 8, 0, "source_dir", cache_bytes=2 * self.BYTES)

    def test_an_epoch_covers_all_photos(self, stream):
        drawn = collections.Counter(origin(p)[0] for p in take(stream, stream.epoch_size))
        assert set(drawn) == set(range(7))
        assert len(set(drawn.values())) == 1

    def test_cache_stays_within_its_bytes(self, stream):
        for number in range(2 * stream.epoch_size):
            stream[number]
            held = sum(photo.nbytes for photo in stream.cache.photos.values())
            assert held == stream.cache.size <= 2 * self.BYTES

    def test_each_photo_is_decoded_once_an_epoch(self, stream):
        reads = collections.Counter()
        read = stream.cache.read

        def counted(path):
            reads[path] += 1
            return read(path)

        stream.cache.read = counted
        take(stream, stream.epoch_size)
        assert sorted(reads.values()) == [1] * 7

    def test_no_photo_stays_for_long(self, ramps):
        """One visit of a large photo must not fill thousands of batches."""
        folder = ramps(*[(120, 120)] * 4)
        stream = PatchStream(folder, 8, 0, "source_dir", cache_bytes=3 * 120**2)
        drawn = collections.Counter(origin(p)[0] for p in take(stream, stream.epoch_size))
        assert set(drawn.values()) == {patches.CROPS_PER_VISIT}
        assert patches.CROPS_PER_VISIT < (120 // 8) ** 2


class TestPhotoCache:
    @staticmethod
    def cache(limit, reads):
        def read(path):
            reads.append(path)
            return np.zeros(10, np.uint8)

        return PhotoCache(limit, read)

    def test_forgets_the_least_recently_used(self):
        reads = []
        cache = self.cache(30, reads)
        for path in "abcadb":
            cache.get(path)
        # d drops b, the oldest when a had been used again; then b drops c.
        assert reads == ["a", "b", "c", "d", "b"]
        assert set(cache.photos) == {"a", "d", "b"}

    def test_a_photo_larger_than_the_cache_is_still_served(self):
        cache = self.cache(5, [])
        assert cache.get("a").nbytes == 10
        cache.get("b")
        assert list(cache.photos) == ["b"] and cache.size == 10

    def test_many_threads_agree_on_the_size(self):
        cache = self.cache(50, [])
        paths = np.random.default_rng(0).integers(0, 20, 2000)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(cache.get, paths))
        assert cache.size == 10 * len(cache.photos) == 50


class TestUnusableFiles:
    @pytest.fixture
    def folder(self, ramps, make_truncated):
        """One good photo among four bad files."""
        folder = ramps((30, 30))
        make_truncated(folder / "half.jpg")
        (folder / "text.jpg").write_text("not a picture")
        (folder / "empty.png").touch()
        Image.fromarray(ramp(40, 15, 9)).save(folder / "small.png")
        return folder

    BAD = ("half.jpg", "text.jpg", "empty.png", "small.png")

    def test_are_skipped_with_one_warning_each(self, folder, warnings):
        stream = PatchStream(folder, 16, 0, "source_dir")
        assert {origin(patch)[0] for patch in take(stream, 60)} == {0}
        assert len(warnings()) == len(self.BAD)
        for name in self.BAD:
            (line,) = [line for line in warnings() if name in line]
            assert line.startswith(f"warning: skipped {folder / name}: ") and "\n" not in line

    def test_small_photos_warning_tells_the_sizes(self, folder, warnings):
        PatchStream(folder, 16, 0, "source_dir")
        (line,) = [line for line in warnings() if "small.png" in line]
        assert line.endswith("15×40 pixels, smaller than patch_size=16")

    def test_are_noticed_late_in_sets_too_large_to_measure(self, folder, warnings, monkeypatch):
        for number in range(1, 63):
            os.link(folder / "0.png", folder / f"{number}.png")
        monkeypatch.setattr(patches, "MEASURED_FILES", 64)
        monkeypatch.setattr(patches.PatchStream, "_size", lambda self, path: (30, 30))
        stream = PatchStream(folder, 16, 0, "source_dir")
        assert warnings() == []
        assert {origin(patch)[0] for patch in take(stream, stream.epoch_size)} == {0}
        assert len(warnings()) == len(self.BAD)
        for name in self.BAD:
            assert sum(name in line for line in warnings()) == 1

    def test_one_warning_though_many_threads_read(self, folder, warnings):
        stream = PatchStream(folder, 16, 0, "source_dir")
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(stream.__getitem__, range(100)))
        assert len(warnings()) == len(self.BAD)

    def test_that_vanish_or_change_during_the_run(self, tmp_path, warnings):
        for number in range(3):
            Image.fromarray(ramp(30, 30, number)).save(tmp_path / f"{number}.png")
        stream = PatchStream(tmp_path, 16, 0, "source_dir", cache_bytes=1)
        before = stream.digest()
        (tmp_path / "1.png").unlink()
        (tmp_path / "2.png").write_text("not a picture")
        assert {origin(patch)[0] for patch in take(stream, 60)} == {0}
        assert sorted(line.rpartition(str(tmp_path))[2] for line in warnings())[0] == (
            "/1.png: no such file"
        )
        assert len(warnings()) == 2
        assert stream.digest() != before

    def test_readable_leaves_them_out(self, folder, warnings):
        stream = PatchStream(folder, 16, 0, "source_dir")
        assert stream.readable == [str(folder / "0.png")]
        assert len(warnings()) == len(self.BAD)
        take(stream, 20)
        assert len(warnings()) == len(self.BAD)

    def test_all_broken_is_an_error(self, tmp_path, make_truncated):
        make_truncated(tmp_path / "half.jpg")
        stream = PatchStream(tmp_path, 16, 0, "target_dir")
        expected = f"target_dir: no picture in {tmp_path} can be read"
        for attempt in (lambda: stream[0], lambda: stream.readable):
            with pytest.raises(UserError) as caught:
                attempt()
            assert str(caught.value) == expected

    @pytest.mark.parametrize("names", [["text.jpg"], ["small.png"], ["text.jpg", "empty.png"]])
    def test_nothing_usable_is_an_error_at_once(self, folder, names):
        for path in folder.iterdir():
            if path.name not in names:
                path.unlink()
        with pytest.raises(UserError, match="source_dir: no usable picture in .*patch_size=16"):
            PatchStream(folder, 16, 0, "source_dir")

    @pytest.mark.parametrize("content", [[], ["notes.txt"]])
    def test_folder_without_pictures(self, tmp_path, content):
        for name in content:
            (tmp_path / name).touch()
        with pytest.raises(UserError, match="source_dir: no pictures"):
            PatchStream(tmp_path, 16, 0, "source_dir")


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


class TestViews:
    """Patches that show half a photo's shorter side or more, shrunk."""

    def test_show_the_photo_and_not_a_cut_out(self, tmp_path):
        """Of a photo that is dark on the left and bright on the right, views see both."""
        photo = np.zeros((160, 160, 3), np.uint8)
        photo[:, 80:] = 200
        folder = tmp_path / "photos"
        folder.mkdir()
        Image.fromarray(photo).save(folder / "0.png")
        views = PatchStream(folder, 20, 0, "source_dir", view_share=1.0)
        both = [views[k].min() == 0 and views[k].max() == 200 for k in range(40)]
        assert views[0].shape == (20, 20, 3) and np.mean(both) > 0.8
        cuts = PatchStream(folder, 20, 0, "source_dir")
        assert np.mean([cuts[k].min() != cuts[k].max() for k in range(40)]) < 0.4

    def test_keep_the_mean(self, tmp_path, rng):
        photo = rng.integers(0, 256, (90, 90, 3)).astype(np.uint8)
        folder = tmp_path / "photos"
        folder.mkdir()
        Image.fromarray(photo).save(folder / "0.png")
        views = PatchStream(folder, 16, 0, "source_dir", view_share=1.0)
        assert abs(np.mean([views[k] for k in range(20)]) - photo.mean()) < 3

    def test_share_counts(self, ramps):
        """A ramp's cut-outs step by one from pixel to pixel, its views by more."""
        folder = ramps((200, 200))
        stream = PatchStream(folder, 20, 0, "source_dir", view_share=0.5)
        is_view = [np.ptp(stream[k][0, :, 1].astype(int)) > 25 for k in range(200)]
        assert 0.35 < np.mean(is_view) < 0.65


class TestDigest:
    def test_tells_sets_apart_by_names_and_sizes(self, tmp_path, make_folder):
        def digest(folder):
            return PatchStream(folder, 16, 0, "source_dir").digest()

        folder, same = (make_folder(tmp_path / name) for name in "ab")
        before = digest(folder)
        assert digest(same) == before
        (folder / "0.png").rename(folder / "other.png")
        renamed = digest(folder)
        with open(same / "0.png", "ab") as file:
            file.write(b"more")
        assert len({before, renamed, digest(same)}) == 3

    def test_of_a_set_that_lost_a_photo(self, tmp_path, make_folder):
        stream = PatchStream(make_folder(tmp_path / "a"), 16, 0, "source_dir")
        before = stream.digest()
        (tmp_path / "a" / "1.png").unlink()
        assert len(stream.digest()) == 64 and stream.digest() != before


class TestGuides:
    def test_are_made_of_their_patch_with_its_photos_curve(self, tmp_path, make_folder):
        source, target = (make_folder(tmp_path / name, seed=k) for k, name in enumerate("st"))
        streams = [PatchStream(folder, 16, 0, "source_dir") for folder in (source, target)]
        maker = Guide.fit(streams[0].paths, streams[1].paths)
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


MEMORY = """
import sys
from wespe_tf.data.patches import PatchStream
from wespe_tf.data.batches import training_data
from wespe_tf.training.validation import Validation
from wespe_tf.guide.guide import Guide

def peak():
    lines = open("/proc/self/status").read().splitlines()
    (line,) = [line for line in lines if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1e6

before = peak()
streams = [PatchStream(folder, 100, 0, "dir") for folder in sys.argv[1:]]
Validation(*streams, *sys.argv[1:])
guide = Guide.fit(*(stream.readable for stream in streams))
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


class TestFixedCrops:
    @pytest.fixture
    def pairs(self, ramps):
        """Pairs that show the same; the blue channel tells the side."""
        sizes = [(40, 30), (25, 60), (33, 33)]
        one, other = ramps(*sizes, name="one"), ramps(*sizes, name="other")
        return [(str(one / f"{k}.png"), str(other / f"{k}.png")) for k in range(3)]

    def test_crops_of_a_pair_show_the_same_place(self, pairs):
        one, other = fixed_crops(pairs, 30, 20)
        assert one.shape == (30, 20, 20, 3) and one.dtype == np.uint8
        np.testing.assert_array_equal(one, other)
        places = {origin(crop) for crop in one}
        assert {number for number, _, _ in places} == {0, 1, 2}
        assert len(places) > 20
        for crop in one:
            number, row, column = origin(crop)
            with Image.open(pairs[number][0]) as photo:
                expected = np.asarray(photo)[row : row + 20, column : column + 20]
            np.testing.assert_array_equal(crop, expected)

    def test_seed_fixes_them(self, pairs):
        first, again = fixed_crops(pairs, 8, 20)[0], fixed_crops(pairs, 8, 20)[0]
        np.testing.assert_array_equal(first, again)
        assert (fixed_crops(pairs, 8, 20, seed=1)[0] != first).any()

    def test_are_as_small_as_the_smallest_picture(self, pairs):
        (crops,) = fixed_crops([pair[:1] for pair in pairs], 30, 100)
        assert crops.shape == (30, 25, 25, 3)

    def test_pictures_of_other_size_are_no_pair(self, pairs):
        Image.fromarray(ramp(40, 31, 0)).save(pairs[0][1])
        with pytest.raises(UserError) as caught:
            fixed_crops(pairs, 30, 20)
        assert str(caught.value) == (
            f"{pairs[0][1]}: 31×40 pixels, but its partner {pairs[0][0]} has 30×40"
        )

    def test_pictures_below_ssims_window_are_refused(self, pairs):
        for path in pairs[1]:
            Image.fromarray(ramp(10, 40, 1)).save(path)
        with pytest.raises(UserError, match="1.png: 40×10 pixels; validation needs 11 a side"):
            fixed_crops(pairs, 30, 20)

    def test_photos_are_held_one_pair_at_a_time(self, pairs, monkeypatch):
        alive, most = weakref.WeakSet(), []
        read = crops.read_picture

        class Photo(np.ndarray):
            """An array that weak sets can hold; its cut-outs keep it alive."""

            __hash__ = object.__hash__

        def counted(path):
            content = read(path)
            photo = Photo(content.shape, np.uint8)
            photo[:] = content
            alive.add(photo)
            most.append(len(alive))
            return photo

        monkeypatch.setattr(crops, "read_picture", counted)
        fixed_crops(pairs, 30, 20)
        assert len(most) == 6
        assert max(most) <= 4
