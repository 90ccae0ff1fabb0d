"""benchmarks/niqe.py: NIQE agrees with another implementation, and reacts to noise and blur."""

import math

import numpy as np
import pytest
import scipy.stats
import skimage.data
from scipy.ndimage import gaussian_filter

from benchmarks.niqe import _fit, niqe


@pytest.mark.parametrize(
    "name, expected", [("astronaut", 3.0688), ("coffee", 4.0684), ("chelsea", 2.5699)]
)
def test_scores_are_those_of_basicsr(name, expected):
    """Scores of BasicSR 1.4.2 for the same luminance, half of it by Pillow's bicubic filter."""
    assert niqe(getattr(skimage.data, name)()) == pytest.approx(expected, abs=5e-3)


@pytest.mark.parametrize("shape, scale", [(0.7, 1.0), (2.0, 0.5), (4.0, 3.0)])
def test_the_fit_finds_the_distribution_of_drawn_values(shape, scale):
    values = scipy.stats.gennorm.rvs(shape, scale=scale, size=(1, 400, 500), random_state=1)
    found = [value.item() for value in _fit(values)]
    np.testing.assert_allclose(found, [shape, scale, scale], rtol=0.02)


def test_noise_and_blur_make_it_larger():
    photo = skimage.data.astronaut().astype(float)
    noise = np.random.default_rng(0).normal(0, 20, photo.shape)
    worse = photo + noise, gaussian_filter(photo, (2, 2, 0))
    clean, noisy, blurred = (
        niqe(np.clip(np.round(picture), 0, 255).astype(np.uint8)) for picture in (photo, *worse)
    )
    assert min(noisy, blurred) > 2 * clean


def test_a_part_without_contrast_is_left_out():
    photo = skimage.data.astronaut()
    bright = photo.copy()
    bright[:96, :96] = 255
    assert niqe(bright) == pytest.approx(niqe(photo), abs=1)


def test_a_small_picture_has_no_score():
    assert math.isnan(niqe(np.zeros((100, 100, 3), np.uint8)))
