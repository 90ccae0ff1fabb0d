"""PSNR, SSIM and the collapse monitor's numbers."""

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import skimage.metrics

from wespe_tf.metrics.collapse import (
    collapse_score,
    has_collapsed,
    input_correlation,
    uniform_since,
)
from wespe_tf.metrics.distance import color_statistics, sliced_wasserstein, texture_statistics
from wespe_tf.metrics.quality import mean_psnr_ssim, psnr, ssim, tone_corrected_psnr


@pytest.fixture
def pairs(make_photo, rng):
    """A photo and a noisy, darker copy, three times."""
    photos = [make_photo(40, 50, seed) for seed in range(3)]
    noisy = [np.clip(0.8 * p + rng.normal(0, 12, p.shape), 0, 255).astype(np.uint8) for p in photos]
    return noisy, photos


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


class TestSlicedWasserstein:
    def test_in_one_dimension_is_the_wasserstein_distance(self, rng):
        a, b = rng.normal(0, 1, (4000, 1)), rng.gamma(2, 1, (3000, 1))
        expected = scipy.stats.wasserstein_distance(a[:, 0], b[:, 0])
        assert sliced_wasserstein(a, b) == pytest.approx(expected, rel=0.02)

    def test_of_a_shift_is_its_mean_projection(self, rng):
        """|⟨shift, θ⟩| over the sphere of three dimensions: half the shift's length."""
        points = rng.random((500, 3))
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


class TestCollapseScore:
    @pytest.fixture
    def source(self, rng):
        return rng.random((4, 10, 12, 3))

    @pytest.mark.parametrize("contrast", [0, 0.25, 1, 1.5])
    def test_is_the_share_of_contrast_that_is_left(self, source, contrast):
        assert collapse_score(0.3 + contrast * source, source) == pytest.approx(contrast)

    def test_is_the_mean_over_pictures(self, source):
        contrast = np.array([0, 0.2, 0.6, 1.2]).reshape(4, 1, 1, 1)
        assert collapse_score(contrast * source, source) == pytest.approx(0.5)

    def test_flat_inputs_do_not_count(self, source):
        """Standard deviation 0.02 is where an input begins to count."""
        enhanced = source.copy()
        enhanced[2:] = 0.5
        source[2] = 0.4
        source[3] = 0.5 + 0.0199 * np.sign(np.arange(12) % 2 - 0.5)[None, :, None]
        assert collapse_score(enhanced, source) == pytest.approx(1)
        source[3] = 0.5 + 0.0201 * np.sign(np.arange(12) % 2 - 0.5)[None, :, None]
        assert collapse_score(enhanced, source) == pytest.approx(2 / 3)

    def test_a_uniform_colour_has_none(self, source):
        """Different means of the channels are no spatial contrast."""
        red = np.broadcast_to([1.0, 0, 0], source.shape)
        assert collapse_score(red, source) == 0

    def test_without_any_textured_input_is_nan(self):
        assert np.isnan(collapse_score(np.ones((2, 8, 8, 3)), np.ones((2, 8, 8, 3))))


class TestInputCorrelation:
    @pytest.fixture
    def source(self, rng):
        return rng.random((3, 10, 12, 3))

    def test_of_a_negative_is_minus_one(self, source):
        assert input_correlation(1 - source, source) == pytest.approx(-1)

    def test_of_less_contrast_is_one(self, source):
        assert input_correlation(0.2 + 0.1 * source, source) == pytest.approx(1)

    def test_is_the_mean_of_pearsons_coefficients(self, source, rng):
        enhanced = rng.random(source.shape) + source * np.array([0, 0.5, 2]).reshape(3, 1, 1, 1)
        expected = np.mean(
            [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(enhanced, source)]
        )
        assert input_correlation(enhanced, source) == pytest.approx(expected)

    def test_of_a_uniform_picture_is_zero(self, source):
        assert input_correlation(np.full_like(source, 0.5), source) == pytest.approx(0, abs=1e-6)


class TestVerdict:
    @pytest.mark.parametrize(
        "scores, collapsed",
        [
            ([], False),
            # alive
            ([1.0, 1.1, 0.9], False),
            ([0.0, 0.2, 0.5], False),
            ([0.31], False),
            # uniform at the last two evaluations, alive before
            ([1.0, 0.09, 0.09], True),
            ([0.05, 0.31, 0.2, 0.0, 0.0], True),
            ([1.0, 0.09, 0.08, 0.07, 0.06], True),
            # only at one of the last two
            ([1.0, 0.09, 0.1], False),
            ([1.0, 0.1, 0.09], False),
            ([1.0, 0.09], False),
            ([0.9, 0.05, 0.05, 0.6], False),
            # the borders themselves: below 0.1, above 0.3
            ([1.0, 0.0999, 0.0999], True),
            ([1.0, 0.1, 0.1], False),
            ([0.3, 0.0, 0.0], True),  # never above 0.3
            ([0.3001, 0.0999, 0.0999], True),
            ([0.2, 0.3, 0.25], True),
            ([0.2, 0.3001, 0.25], False),
            # never alive in the whole run
            ([0.0], True),
            ([0.3], True),
            ([0.2, 0.25], True),
        ],
    )
    def test_follows_the_two_rules(self, scores, collapsed):
        assert has_collapsed(scores) is collapsed
        assert has_collapsed(np.array(scores)) == collapsed

    @pytest.mark.parametrize(
        "scores, since",
        [
            ([1.0, 0.5], None),
            ([1.0, 0.05], 20),
            ([1.0, 0.05, 0.02], 20),
            ([0.05, 1.0, 0.02, 0.02], 30),
            ([0.05, 0.02], 10),
            ([1.0, 0.05, 0.1], None),
            ([], None),
        ],
    )
    def test_uniform_since(self, scores, since):
        iterations = [10 * (k + 1) for k in range(len(scores))]
        assert uniform_since(iterations, scores) == since
