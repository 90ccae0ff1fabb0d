"""Photos in tiles give what one pass gives."""

import numpy as np
import pytest
from keras.ops import convert_to_numpy as array

from tests.enhance.photos import expected_result
from tests.generators import make_generator
from wespe_tf.enhance.runtimes import Runtime, choose_runtime
from wespe_tf.enhance.tiles import Enhancer, Plan, enhance
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

    def test_large_photos_are_done_in_parts(self, generator, make_photo, monkeypatch):
        """As the plan says, which keeps within 1.5 GB."""
        picture = make_photo(100, 130)
        plans = [Plan("streamed", rows=20, in_memory=40)]
        monkeypatch.setattr(Enhancer, "plan", lambda self, photo: plans.pop())
        whole = Enhancer(generator, choose_runtime("keras"))(picture)
        assert np.abs(enhance(generator, picture).astype(int) - whole).max() <= 1
        assert plans == []

    @pytest.mark.parametrize("size", [(1, 1), (5, 30), (17, 17)])
    def test_photos_smaller_than_the_margin(self, generator, make_photo, size):
        assert enhance(generator, make_photo(*size)).shape == (*size, 3)


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


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_tiles_equal_the_whole(make_photo, norm):
    """In 16 bits, where 1e-3 of the range is 66 steps; nothing is to be measured."""
    photo = make_photo(61, 83).astype(np.uint16) * 257
    enhancer = Enhancer(make_generator(norm), choose_runtime("keras"), norm != "none")
    whole = enhancer(photo)
    for side in (16, 40, 200):
        assert np.abs(whole.astype(int) - enhancer(photo, Plan("streamed", side))).max() <= 3


class TestPlans:
    """Nothing is computed: photos of megabytes that are never touched."""

    @pytest.fixture(scope="class")
    def enhancer(self):
        return Enhancer(make_generator("instance", width=64), Runtime("none", "float32", 14, None))

    @staticmethod
    def photo(megapixels):
        side = round((megapixels * 1e6) ** 0.5)
        return np.broadcast_to(np.uint8(0), (side, side, 3))

    def test_small_photos_are_done_whole_and_large_ones_in_strips(self, enhancer):
        assert enhancer.plan(self.photo(0.2)).mode == "whole"
        plans = [enhancer.plan(self.photo(size)) for size in (3, 12, 48)]
        assert [plan.mode for plan in plans] == ["streamed"] * 3
        assert all(plan.rows >= 5 and plan.on_disk for plan in plans)
        # Two arrays of 64 channels in 32 bits.
        assert 2 * 256 * 48e6 < plans[2].on_disk < 2.2 * 256 * 48e6
        assert str(plans[2]).endswith(f"rows, {plans[2].on_disk / 1e9:.1f} GB on disk")

    def test_without_norms_that_measure_in_tiles(self):
        local = Enhancer(make_generator("batch", width=64), Runtime("none", "float32", 14, None))
        largest, smaller = (local.plan(self.photo(12), memory_limit=m) for m in (1.5, 0.95))
        assert 64 <= smaller.side < largest.side and not largest.rows

    def test_tiles_are_larger_than_the_margins_of_a_deep_network(self):
        deep = make_generator("none", width=4, blocks=80)
        plan = Enhancer(deep, Runtime("none", "float32", 14, None)).plan(self.photo(3), "streamed")
        assert plan.side >= 64

    def test_more_memory_less_disk(self, enhancer):
        assert enhancer.plan(self.photo(3), memory_limit=8).mode == "whole"
        plans = [enhancer.plan(self.photo(12), "streamed", limit) for limit in (1.5, 4, 32)]
        assert plans[0].on_disk > plans[1].on_disk > plans[2].on_disk == 0

    def test_a_mode_that_is_asked_for_is_taken(self, enhancer):
        assert enhancer.plan(self.photo(48), "whole").mode == "whole"
        assert enhancer.plan(self.photo(0.2), "streamed").mode == "streamed"

    def test_too_little_memory(self, enhancer):
        with pytest.raises(UserError, match="memory_limit=0.9: too little for 6928×6928") as error:
            enhancer.plan(self.photo(48), memory_limit=0.9)
        enough = float(str(error.value).rsplit(" ", 1)[1])
        assert 1 < enough < 1.7 and enhancer.plan(self.photo(48), memory_limit=enough)
