"""Distances between two sets of pictures."""

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats

from wespe_tf.metrics.distance import color_statistics, sliced_wasserstein, texture_statistics


class TestSlicedWasserstein:
    def test_in_one_dimension_is_the_wasserstein_distance(self, rng):
        a, b = rng.normal(0, 1, (4000, 1)), rng.gamma(2, 1, (3000, 1))
        expected = scipy.stats.wasserstein_distance(a[:, 0], b[:, 0])
        assert sliced_wasserstein(a, b) == pytest.approx(expected, rel=0.02)

    def test_of_a_shift_is_its_mean_projection(self, rng):
        """|⟨shift, θ⟩| over the sphere of three dimensions: half the shift's length."""
        points = rng.random((20, 3))
        found = sliced_wasserstein(points, points + [0, 0, 0.4], directions=20000)
        assert found == pytest.approx(0.2, rel=0.02)

    def test_of_equal_clouds_is_zero(self, rng):
        points = rng.random((500, 3))
        assert sliced_wasserstein(points, rng.permutation(points)) < 1e-9


def test_color_statistics_are_means_of_blocks(rng):
    pictures = rng.integers(0, 256, (2, 9, 13, 3)).astype(np.uint8)
    found = color_statistics(pictures)
    assert found.shape == (2 * 2 * 3, 3)
    np.testing.assert_allclose(found[5], pictures[0, 4:8, 8:12].mean(axis=(0, 1)) / 255, rtol=1e-5)


def test_texture_statistics_are_windows_of_luminance(rng):
    pictures = rng.integers(0, 256, (2, 11, 15, 3)).astype(np.uint8)
    found = texture_statistics(pictures)
    assert found.shape == (2 * 2 * 3, 49)
    window = pictures[0, 4:11, 8:15] @ [0.2989, 0.5870, 0.1140] / 255
    np.testing.assert_allclose(found[5], (window - window.mean()).ravel(), atol=1e-6)
