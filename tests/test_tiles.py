"""Photos in tiles give what one pass gives; the runtimes give what Keras gives."""

import keras
import numpy as np
import pytest

from wespe_tf import Generator, tiles
from wespe_tf.enhance import enhance
from wespe_tf.errors import UserError
from wespe_tf.models.staged import Statistics, affine, norms, reach
from wespe_tf.runtimes import choose_runtime
from wespe_tf.tiles import Enhancer, windows

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


@pytest.mark.parametrize("reflect", [True, False])
def test_whole_is_one_pass(make_photo, reflect):
    model, photo = make_generator("instance"), make_photo(61, 83)
    found = Enhancer(model, choose_runtime("keras"), reflect)(photo)
    expected = enhance(model, photo, reflect)
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert (found != expected).mean() < 0.01


@pytest.mark.parametrize("norm", NORMS)
def test_tiles_equal_the_whole(make_photo, norm):
    """In 16 bits, where 1e-3 of the range is 66 steps. A small photo is its own copy."""
    photo = make_photo(61, 83).astype(np.uint16) * 257
    enhancer = Enhancer(make_generator(norm), choose_runtime("keras"), norm != "layer")
    whole = enhancer(photo)
    for mode, side in (("exact", 16), ("exact", 40), ("exact", 200), ("fast", 24)):
        assert np.abs(whole.astype(int) - enhancer(photo, mode, side)).max() <= 3


def test_fast_takes_its_statistics_from_a_smaller_copy(make_photo, monkeypatch):
    monkeypatch.setattr(tiles, "COPY_PIXELS", 2000)
    model, photo = make_generator("instance"), make_photo(96, 128)
    enhancer = Enhancer(model, choose_runtime("keras"))
    blocks = photo[:, :126].reshape(32, 3, 42, 3, 3)
    copy = np.rint(blocks.mean(axis=(1, 3))).astype(np.uint8)
    framed = np.pad(copy, ((18, 18), (18, 18), (0, 0)), mode="symmetric")
    moments = array(Statistics(model)(framed[None] / np.float32(255)))[0]
    expected = [affine(norm, *pair) for norm, pair in zip(norms(model), moments)]
    np.testing.assert_allclose(enhancer._of_copy(photo)[0], expected, rtol=1e-4, atol=1e-5)
    whole, fast = enhancer(photo), enhancer(photo, "fast", side=40)
    assert 0.1 < np.abs(whole.astype(int) - fast).mean() < 8


def test_strength_blends_in_tiles_too(make_photo):
    photo = make_photo(61, 83)
    enhancer = Enhancer(make_generator("instance"), choose_runtime("keras"))
    half = enhancer(photo, "exact", side=32, strength=0.5)
    assert np.abs(half - (enhancer(photo) / 2 + photo / 2)).max() <= 1


class TestRuntimes:
    @pytest.mark.slow
    def test_openvino_computes_the_same(self, make_photo):
        photo = make_photo(61, 83).astype(np.uint16) * 257
        model = make_generator("instance")
        ours = Enhancer(model, choose_runtime("openvino", "float32"))
        for mode in ("whole", "fast", "exact"):
            expected = Enhancer(model, choose_runtime("keras"))(photo, mode, side=32)
            assert np.abs(ours(photo, mode, side=32).astype(int) - expected).max() <= 6

    def test_keras_has_no_bfloat16(self):
        with pytest.raises(UserError, match="runtime=keras: computes in float32"):
            choose_runtime("keras", "bfloat16")


def test_reach_follows_from_the_layers():
    assert reach(Generator()) == 4 + 8 + 2 + 4
    assert reach(Generator(blocks=1)) == 4 + 2 + 2 + 4
