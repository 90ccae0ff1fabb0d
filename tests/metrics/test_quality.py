"""PSNR and SSIM."""

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import skimage.metrics

from wespe_tf.metrics.quality import mean_psnr_ssim, psnr, ssim, tone_corrected_psnr


def defined_ssim(a, b):
    """Wang et al. 2004: Gaussian window of deviation 1.5, 11×11, K1 0.01, K2 0.03."""
    a, b = a.astype(np.float64), b.astype(np.float64)

    def mean(x):
        return scipy.ndimage.gaussian_filter(x, (1.5, 1.5, 0), radius=(5, 5, 0))

    mean_a, mean_b = mean(a), mean(b)
    var_a, var_b = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2
    covariance = mean(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similarity = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    similarity /= (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
    return similarity[5:-5, 5:-5].mean()


class TestPsnr:
    def test_agrees_with_scikit_image(self, pairs):
        for picture, reference in zip(*pairs):
            expected = skimage.metrics.peak_signal_noise_ratio(reference, picture, data_range=255)
            assert psnr(picture, reference) == pytest.approx(expected, rel=1e-12)

    def test_of_a_constant_difference(self):
        """Off by 51 everywhere, a fifth of the range: 20·log10(5) dB. No overflow of uint8."""
        low, high = np.full((2, 8, 8, 3), 10, np.uint8)
        assert psnr(low, high + np.uint8(51)) == pytest.approx(20 * np.log10(5))
        assert psnr(high + np.uint8(51), low) == pytest.approx(20 * np.log10(5))

    def test_of_equal_pictures_is_infinite(self, pairs):
        assert psnr(pairs[0][0], pairs[0][0]) == float("inf")


class TestToneCorrectedPsnr:
    def test_no_curve_matters(self, pairs):
        """Any reversible curve before it gives the same; it is never below plain PSNR."""
        picture, reference = (side[0] for side in pairs)
        squeezed = (40 + picture.astype(int) // 2 * 2 // 2).astype(np.uint8)
        halved = (picture // 2 * 2).astype(np.uint8)
        assert tone_corrected_psnr(squeezed, reference) == pytest.approx(
            tone_corrected_psnr(halved, reference)
        )
        assert tone_corrected_psnr(picture, reference) > psnr(picture, reference)

    def test_is_what_is_left_within_each_value(self, pairs):
        """The unexplained variance: within the reference's values where the picture has one."""
        picture, reference = (side[1] for side in pairs)
        left = 0.0
        for c in range(3):
            for value in np.unique(picture[..., c]):
                answers = reference[..., c][picture[..., c] == value]
                left += np.var(answers.astype(float)) * answers.size
        expected = 10 * np.log10(255**2 / (left / picture.size))
        assert tone_corrected_psnr(picture, reference) == pytest.approx(expected)

    def test_of_a_negative_is_infinite(self, pairs):
        picture = pairs[0][0]
        assert tone_corrected_psnr(picture, 255 - picture) == float("inf")


class TestSsim:
    def test_follows_the_definition(self, pairs):
        for picture, reference in zip(*pairs):
            assert ssim(picture, reference) == pytest.approx(
                defined_ssim(picture, reference), abs=1e-6
            )

    def test_of_equal_pictures_is_one(self, pairs):
        assert ssim(pairs[0][0], pairs[0][0]) == pytest.approx(1)


def test_means_over_pairs(pairs):
    expected = (
        np.mean([psnr(*pair) for pair in zip(*pairs)]),
        np.mean([defined_ssim(*pair) for pair in zip(*pairs)]),
    )
    assert mean_psnr_ssim(*pairs) == pytest.approx(expected, abs=1e-6)
    with pytest.raises(ValueError):
        mean_psnr_ssim(pairs[0], pairs[1][:2])
