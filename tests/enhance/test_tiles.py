"""Photos in tiles give what one pass gives; the runtimes give what Keras gives."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import skimage.metrics
from scipy.stats import qmc

from wespe_tf import Generator
from wespe_tf.enhance import tiles
from wespe_tf.enhance.runtimes import Runtime, choose_runtime
from wespe_tf.enhance.tiles import Enhancer, Plan
from wespe_tf.enhance.windows import windows
from wespe_tf.errors import UserError
from wespe_tf.models.staged import norms, reach

ROOT = Path(__file__).resolve().parents[2]

NORMS = ("instance", "batch", "layer", "none")


def array(tensor):
    return keras.ops.convert_to_numpy(tensor)


def make_generator(norm, seed=0, width=6):
    """A generator with drawn norms, so that gains, offsets and running statistics count."""
    keras.utils.set_random_seed(seed)
    model = Generator(width=width, norm=norm, init="identity")
    model.build((None, None, None, 3))
    rng = np.random.default_rng(seed)
    for layer in norms(model):
        for variable in [] if layer is None else layer.weights:
            variable.assign(rng.uniform(0.2, 0.6, variable.shape))
    kernel = model.to_rgb.kernel
    kernel.assign(kernel + rng.normal(0, 3e-3, kernel.shape))
    return model


@pytest.mark.parametrize("size", [(1, 1), (30, 41), (64, 64), (65, 100)])
@pytest.mark.parametrize("side, margin", [(16, 5), (32, 18), (200, 18)])
def test_windows_answer_for_every_pixel_once(size, side, margin):
    shape, places = windows(*size, side, margin)
    count = np.zeros(size, int)
    for window in places:
        top, bottom, left, right = window.inner
        count[top:bottom, left:right] += 1
        above, beside = window.outer
        assert 0 <= above and above + shape[0] <= size[0]
        assert 0 <= beside and beside + shape[1] <= size[1]
        # What lies beyond the window's border lies beyond the picture, or the margin.
        assert above == 0 or top - above >= margin
        assert beside == 0 or left - beside >= margin
        assert above + shape[0] == size[0] or above + shape[0] - bottom >= margin
        assert beside + shape[1] == size[1] or beside + shape[1] - right >= margin
    assert (count == 1).all()


def expected_whole(model, photo, frame):
    """The photo continued by its mirror image, through the model, cut, in the photo's numbers."""
    largest = np.iinfo(photo.dtype).max
    framed = np.pad(photo, ((frame, frame), (frame, frame), (0, 0)), mode="symmetric")
    output = array(model(framed[None] / np.float32(largest)))[0]
    height, width = photo.shape[:2]
    inner = output[frame : frame + height, frame : frame + width]
    return np.rint(largest * np.clip(inner, 0, 1)).astype(photo.dtype)


@pytest.mark.parametrize("reflect", [True, False])
def test_whole_is_one_pass(make_photo, reflect):
    model, photo = make_generator("instance"), make_photo(61, 83)
    found = Enhancer(model, choose_runtime("keras"), reflect)(photo)
    assert np.abs(found - expected_whole(model, photo, 18 if reflect else 0).astype(int)).max() <= 1


@pytest.mark.parametrize("norm", NORMS)
def test_tiles_equal_the_whole(make_photo, norm):
    """In 16 bits, where 1e-3 of the range is 66 steps."""
    photo = make_photo(61, 83).astype(np.uint16) * 257
    enhancer = Enhancer(make_generator(norm), choose_runtime("keras"), norm != "layer")
    whole = enhancer(photo)
    for side in (16, 40, 200):
        assert np.abs(whole.astype(int) - enhancer(photo, Plan("exact", side))).max() <= 3
    if norm in ("batch", "none"):  # Nothing is to be measured.
        assert np.abs(whole.astype(int) - enhancer(photo, Plan("fast", 24))).max() <= 3


@pytest.mark.parametrize("side", [30, 40])
def test_no_seams(make_photo, side):
    """Tiles give what one tile over all gives: along borders nothing differs, nor elsewhere."""
    photo = make_photo(130, 130).astype(np.uint16) * 257
    enhancer = Enhancer(make_generator("instance"), choose_runtime("keras"))
    _, places = windows(130 + 36, 130 + 36, side, 18)
    assert len(places) >= 25
    one = enhancer(photo, Plan("fast", 400))
    assert np.abs(one.astype(int) - enhancer(photo, Plan("fast", side))).max() <= 2


def test_fast_takes_its_statistics_from_patches(make_photo, monkeypatch):
    """Moments of the inner parts of patches, all patches of a batch normalised together."""
    monkeypatch.setattr(tiles, "PATCH", 40)
    monkeypatch.setattr(tiles, "BATCH", 5)
    monkeypatch.setattr(tiles, "BATCHES", 2)
    model, photo = make_generator("instance"), make_photo(96, 128)
    enhancer = Enhancer(model, choose_runtime("keras"))
    framed = np.pad(photo, ((18, 18), (18, 18), (0, 0)), mode="symmetric") / np.float32(255)
    places = qmc.Halton(2, scramble=False).random(10) * (132 - 39, 164 - 39)
    found = []
    for batch in np.split(places.astype(int), 2):
        patches = np.stack([framed[y : y + 40, x : x + 40] for y, x in batch])
        x = keras.ops.relu(model.head(patches))
        conv, norm = model.residuals[0][:2]
        found.append(array(conv(x))[:, 12:-12, 12:-12])
    values = np.concatenate(found).reshape(-1, model.width)
    gain = array(norm.scale) / np.sqrt(values.var(axis=0) + norm.epsilon)
    expected = gain, array(norm.shift) - values.mean(axis=0) * gain
    affines = enhancer._of_sample(tiles._Framed(photo, 18))
    np.testing.assert_allclose(affines[0, 0], expected, rtol=1e-3, atol=1e-4)


def test_fast_is_near_the_whole(make_photo):
    photo = make_photo(200, 260).astype(np.uint16) * 257
    enhancer = Enhancer(make_generator("instance"), choose_runtime("keras"))
    whole, fast = enhancer(photo), enhancer(photo, Plan("fast", 64))
    assert skimage.metrics.peak_signal_noise_ratio(whole, fast) > 36


def test_strength_blends_in_tiles_too(make_photo):
    photo = make_photo(61, 83)
    enhancer = Enhancer(make_generator("instance"), choose_runtime("keras"))
    half = enhancer(photo, Plan("exact", 32), strength=0.5)
    assert np.abs(half - (enhancer(photo) / 2 + photo / 2)).max() <= 1


class TestPlans:
    """Nothing is computed: photos of megabytes that are never touched."""

    @pytest.fixture(scope="class")
    def enhancer(self):
        return Enhancer(make_generator("instance", width=64), Runtime("none", "float32", 14, None))

    @staticmethod
    def photo(megapixels):
        side = round((megapixels * 1e6) ** 0.5)
        return np.broadcast_to(np.uint8(0), (side, side, 3))

    def test_small_photos_are_done_whole_and_large_ones_in_tiles(self, enhancer):
        assert enhancer.plan(self.photo(0.2)).mode == "whole"
        plans = [enhancer.plan(self.photo(size)) for size in (3, 12, 48)]
        assert [plan.mode for plan in plans] == ["fast"] * 3
        assert plans[0].side >= plans[1].side >= plans[2].side >= 256

    def test_more_memory_larger_passes(self, enhancer):
        assert enhancer.plan(self.photo(3), memory_limit=8).mode == "whole"
        largest, smaller = (enhancer.plan(self.photo(12), memory_limit=m) for m in (1.5, 1.05))
        assert 64 <= smaller.side < largest.side

    def test_a_mode_that_is_asked_for_is_taken(self, enhancer):
        assert enhancer.plan(self.photo(48), "whole").mode == "whole"
        assert enhancer.plan(self.photo(0.2), "exact").mode == "exact"

    def test_too_little_memory(self, enhancer):
        with pytest.raises(UserError, match="memory_limit=0.9: too little for 6928×6928") as error:
            enhancer.plan(self.photo(48), memory_limit=0.9)
        enough = float(str(error.value).rsplit(" ", 1)[1])
        assert 1 < enough < 1.4 and enhancer.plan(self.photo(48), memory_limit=enough)


class TestRuntimes:
    @pytest.mark.slow
    def test_openvino_computes_the_same(self, make_photo):
        photo = make_photo(61, 83).astype(np.uint16) * 257
        model = make_generator("instance")
        ours = Enhancer(model, choose_runtime("openvino", "float32"))
        keras_enhancer = Enhancer(model, choose_runtime("keras"))
        for mode in ("whole", "fast", "exact"):
            expected = keras_enhancer(photo, Plan(mode, 32))
            assert np.abs(ours(photo, Plan(mode, 32)).astype(int) - expected).max() <= 6

    @pytest.mark.slow
    def test_openvino_adds_up_large_photos_as_keras_does(self, make_photo):
        """In float32, where neither fused norms nor means of means would come as near."""
        photo = make_photo(1000, 1500)[None].astype(np.float32) / 255
        model = make_generator("instance")
        runtime = choose_runtime("openvino", "float32")
        ours = runtime.ready(runtime.prepare(model), [(1, None, None, 3)])(photo)
        off = 10 * np.log10(np.square(ours - array(model(photo))).mean())
        assert off < -100, off

    @pytest.mark.slow
    def test_openvino_reports_to_nobody(self, tmp_path):
        """Its telemetry forks a process, and leaves an identity in the home folder."""
        program = (
            "import multiprocessing, sys\n"
            "from wespe_tf import Generator\n"
            "from wespe_tf.runtimes import choose_runtime\n"
            "generator = Generator(width=4, blocks=1)\n"
            "generator.build((None, None, None, 3))\n"
            "runtime = choose_runtime('openvino', 'float32')\n"
            "runtime.ready(runtime.prepare(generator), [(1, None, None, 3)])\n"
            "print(sys.modules['openvino_telemetry'], multiprocessing.active_children())\n"
        )
        environment = {k: v for k, v in os.environ.items() if k not in ("CI", "TF_BUILD")}
        environment |= {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", program]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == "None []"
        assert not (tmp_path / "intel").exists()

    def test_keras_has_no_bfloat16(self):
        with pytest.raises(UserError, match="runtime=keras: computes in float32"):
            choose_runtime("keras", "bfloat16")


def test_reach_follows_from_the_layers():
    assert reach(Generator()) == 4 + 8 + 2 + 4
    assert reach(Generator(blocks=1)) == 4 + 2 + 2 + 4
    assert reach(Generator(), norms_only=True) == 4 + 8
