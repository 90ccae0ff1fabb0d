"""MS-SSIM against the values of the authors' code, and against its definition by convolution."""

import numpy as np
import pytest
import scipy.ndimage
import scipy.signal

from tests.shared import SHARED, needs_shared
from wespe_tf.metrics.ms_ssim import ms_ssim


def defined(a, b, max_val=255.0):
    """MS-SSIM as REFERENCES.md describes it: 2-D windows, one batch, scale after scale."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    c1, c2 = (0.01 * max_val) ** 2, (0.03 * max_val) ** 2
    value = 1.0
    for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333), 1):
        size = min(11, a.shape[1], a.shape[2])
        offsets = np.linspace(-(size - 1) / 2, (size - 1) / 2, size)
        squares = offsets[:, None] ** 2 + offsets[None, :] ** 2
        window = np.exp(-squares / (2 * (1.5 * size / 11) ** 2))
        window = (window / window.sum()).reshape(1, size, size, 1)

        def mean(x, window=window):
            return scipy.signal.fftconvolve(x, window, mode="valid")

        mean_a, mean_b = mean(a), mean(b)
        variances = mean(a * a) - mean_a**2 + mean(b * b) - mean_b**2
        covariance = mean(a * b) - mean_a * mean_b
        similarity = (2 * covariance + c2) / (variances + c2)
        if scale == 5:
            similarity *= (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
        value *= np.mean(similarity) ** weight
        # Mode "nearest" repeats the edge; origin −1 puts a pixel first in its neighborhood.
        block = np.full((1, 2, 2, 1), 0.25)
        a, b = (
            scipy.ndimage.correlate(x, block, mode="nearest", origin=(0, -1, -1, 0))[:, ::2, ::2]
            for x in (a, b)
        )
    return value


@pytest.fixture
def pair(rng):
    """Function of a shape: uint8 pictures and noisy copies of them."""

    def make(shape):
        a = scipy.ndimage.gaussian_filter(rng.uniform(0, 255, shape), (0, 2, 2, 0))
        b = a + rng.normal(0, 5, shape)
        return tuple(np.clip(x, 0, 255).astype(np.uint8) for x in (a, b))

    return make


@needs_shared
def test_equals_the_authors_code():
    with np.load(SHARED / "reference" / "dped_ms_ssim.npz") as file:
        stored = dict(file)
    dslr = stored["dslr_uint8"]
    enhanced = stored["enhanced_float"].astype(np.float64) * 255
    each = [ms_ssim(dslr[k : k + 1], enhanced[k : k + 1]) for k in range(len(dslr))]
    np.testing.assert_allclose(each, stored["ms_ssim_dslr_vs_enhanced_each"], rtol=0, atol=1e-6)
    batch = ms_ssim(dslr, stored["phone_uint8"])
    assert abs(batch - stored["ms_ssim_dslr_vs_phone_batch"]) < 1e-6
    photo = ms_ssim(stored["photo_uint8"], stored["photo_enhanced_uint8"])
    assert abs(photo - stored["ms_ssim_photo_vs_enhanced"]) < 1e-6


@pytest.mark.parametrize(
    "shape",
    [
        (3, 100, 100, 3),
        (2, 37, 61, 1),  # odd sides
        (1, 9, 200, 3),  # smaller than the window from the start
        (1, 1, 1, 3),
        (9, 64, 48, 3),  # shared between threads
        (1, 90, 2100, 3),  # filtered channel by channel, in strips
    ],
)
def test_equals_its_definition(pair, shape):
    a, b = pair(shape)
    assert ms_ssim(a, b) == pytest.approx(defined(a, b), rel=1e-10)


def test_product_comes_after_the_mean_over_the_batch(pair):
    a, b = pair((4, 48, 48, 3))
    b[0] = a[0]
    value = ms_ssim(a, b)
    assert value == pytest.approx(defined(a, b), rel=1e-10)
    assert abs(value - np.mean([ms_ssim(a[k : k + 1], b[k : k + 1]) for k in range(4)])) > 1e-6


def test_range(pair):
    a, b = pair((2, 50, 50, 3))
    assert ms_ssim(a, a) == pytest.approx(1, abs=1e-12)
    assert ms_ssim(a / 255, b / 255, max_val=1) == pytest.approx(ms_ssim(a, b), rel=1e-10)
    assert ms_ssim(a.astype(np.float32), b) == ms_ssim(a, b)


def test_negative_structure_is_nan_as_in_the_authors_code(pair):
    a, _ = pair((2, 50, 50, 3))
    with np.errstate(invalid="ignore"):
        assert np.isnan(defined(a, 255 - a))
    assert np.isnan(ms_ssim(a, 255 - a))


def test_inputs_are_left_alone(pair):
    a, b = (x.astype(np.float64) for x in pair((2, 30, 30, 3)))
    before = a.copy(), b.copy()
    ms_ssim(a, b)
    np.testing.assert_array_equal(a, before[0])
    np.testing.assert_array_equal(b, before[1])


@pytest.mark.parametrize(
    "shapes", [((1, 9, 9, 3), (1, 9, 8, 3)), ((9, 9, 3),) * 2, ((0, 9, 9, 3),) * 2]
)
def test_refuses_other_shapes(shapes):
    with pytest.raises(ValueError, match=r"expected two \(N, H, W, C\) batches of one shape, got"):
        ms_ssim(*(np.zeros(shape) for shape in shapes))
