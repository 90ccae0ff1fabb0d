"""Detail and noise, on pictures whose deviations are known."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from wespe_tf.metrics import texture


def gray_noise(rng, deviation, shape=(120, 120)):
    values = np.rint(128 + rng.normal(0, deviation, shape)).clip(0, 255).astype(np.uint8)
    return np.repeat(values[..., None], 3, axis=-1)


def half_flat(rng, flat, busy):
    """Noise of deviation `flat` above, of `busy` below."""
    return np.concatenate([gray_noise(rng, flat, (60, 120)), gray_noise(rng, busy, (60, 120))])


def test_detail_energy_of_white_noise(rng):
    """The Laplacian's taps are 4 and four times 1: white noise leaves it √20 times larger."""
    expected = 20**0.5 * np.hypot(6, 1 / 12**0.5)
    assert texture.detail_energy([gray_noise(rng, 6)]) == pytest.approx(expected, rel=0.03)


def test_detail_energy_is_a_mean_over_pictures(rng):
    pictures = [gray_noise(rng, deviation) for deviation in (3, 12)]
    apart = [texture.detail_energy([picture]) for picture in pictures]
    assert texture.detail_energy(pictures) == pytest.approx(np.mean(apart))


def test_blur_loses_detail(rng):
    sharp = gray_noise(rng, 20)
    soft = gaussian_filter(sharp, (1, 1, 0))
    assert texture.detail_ratio(soft, sharp) < 0.2 < 5 < texture.detail_ratio(sharp, soft)
    assert texture.detail_ratio(sharp, sharp) == 1


def test_flat_noise_looks_where_there_is_least(rng):
    """Of white noise a blur of deviation σ takes the share 1/(4πσ²) of the power."""
    kept = (1 - 1 / (2 * np.pi * 9) + 1 / (4 * np.pi * 9)) ** 0.5
    found = texture.flat_noise([half_flat(rng, 3, 30)])
    assert found == pytest.approx(kept * 3, rel=0.15)


def test_flat_noise_ratio_takes_the_places_of_the_reference(rng):
    reference = half_flat(rng, 3, 30)
    enhanced = half_flat(rng, 6, 1)
    assert texture.flat_noise_ratio(enhanced, reference) == pytest.approx(2, rel=0.2)
    assert texture.flat_noise_ratio(reference, reference) == 1


def test_a_uniform_reference_has_nothing_to_compare_with(rng):
    uniform = np.full((40, 40, 3), 90, np.uint8)
    assert texture.detail_ratio(gray_noise(rng, 5, (40, 40)), uniform) == float("inf")
    assert texture.flat_noise([uniform]) == pytest.approx(0, abs=1e-9)
