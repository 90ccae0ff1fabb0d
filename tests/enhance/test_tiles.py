"""Photos in tiles give what one pass gives."""

import keras
import numpy as np
import pytest
import skimage.metrics
from keras.ops import convert_to_numpy as array
from scipy.stats import qmc

from tests.enhance.photos import expected_result
from tests.generators import make_generator
from wespe_tf.enhance import tiles
from wespe_tf.enhance.runtimes import Runtime, choose_runtime
from wespe_tf.enhance.tiles import Enhancer, Plan, enhance
from wespe_tf.enhance.windows import windows
from wespe_tf.errors import UserError


class TestEnhance:
    def test_mirrors_the_edge(self, generator, make_photo):
        picture = make_photo(61, 83)
        enhanced = enhance(generator, picture)
        assert enhanced.dtype == np.uint8 and enhanced.shape == picture.shape
        np.testing.assert_array_equal(enhanced, expected_result(generator, picture))
        assert (enhanced != picture).mean() > 0.5

    def test_an_enhancer_does_the_same(self, generator, make_photo):
        picture = make_photo(30, 41)
        enhancer = Enhancer(generator, choose_runtime("keras"))
        np.testing.assert_array_equal(enhance(enhancer, picture), enhance(generator, picture))

    def test_large_photos_are_done_in_tiles(self, generator, make_photo, monkeypatch):
        """As the plan says, which keeps within 1.5 GB."""
        picture = make_photo(100, 130)
        plans = [Plan("exact", 40)]
        monkeypatch.setattr(Enhancer, "plan", lambda self, photo: plans.pop())
        whole = Enhancer(generator, choose_runtime("keras"))(picture)
        assert np.abs(enhance(generator, picture).astype(int) - whole).max() <= 1
        assert plans == []

    @pytest.mark.parametrize("size", [(1, 1), (5, 30), (17, 17)])
    def test_photos_smaller_than_the_margin(self, generator, make_photo, size):
        assert enhance(generator, make_photo(*size)).shape == (*size, 3)


NORMS = ("instance", "batch", "layer", "none")


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


@pytest.mark.parametrize(
    "norm", [NORMS[0], *(pytest.param(norm, marks=pytest.mark.slow) for norm in NORMS[1:])]
)
def test_tiles_equal_the_whole(make_photo, norm):
    """In 16 bits, where 1e-3 of the range is 66 steps."""
    photo = make_photo(61, 83).astype(np.uint16) * 257
    enhancer = Enhancer(make_generator(norm), choose_runtime("keras"), norm != "layer")
    whole = enhancer(photo)
    for side in (16, 40, 200):
        assert np.abs(whole.astype(int) - enhancer(photo, Plan("exact", side))).max() <= 3
    if norm in ("batch", "none"):  # Nothing is to be measured.
        assert np.abs(whole.astype(int) - enhancer(photo, Plan("fast", 24))).max() <= 3


@pytest.mark.parametrize("side", [pytest.param(30, marks=pytest.mark.slow), 40])
def test_no_seams(make_photo, side):
    """Tiles give what one tile over all gives: along borders nothing differs, nor elsewhere."""
    photo = make_photo(130, 130).astype(np.uint16) * 257
    enhancer = Enhancer(make_generator("instance"), choose_runtime("keras"))
    _, places = windows(130 + 36, 130 + 36, side, 18)
    assert len(places) >= 25
    one = enhancer(photo, Plan("fast", 400))
    assert np.abs(one.astype(int) - enhancer(photo, Plan("fast", side))).max() <= 2


def test_fast_takes_its_statistics_from_patches(make_photo, monkeypatch):
    """Moments of the inner parts of patches, all patches of a batch normalized together."""
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
