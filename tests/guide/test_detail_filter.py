"""The detail filter between two domains."""

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.signal import convolve2d

from wespe_tf.guide.color_transfer import ColorTransfer
from wespe_tf.guide.detail_filter import (
    RGB,
    YCBCR,
    DetailFilter,
    cross_spectrum,
    detail_shares,
    short_kernel,
)
from wespe_tf.guide.guide import Guide
from wespe_tf.guide.samples import PhotoSample, luminance_histogram, sample_photos
from wespe_tf.images.picture import to_uint8

FLAT = np.ones(256)
NO_TRANSFER = ColorTransfer(FLAT, FLAT, 0.0, 0.0, np.eye(3), np.zeros(3))


@pytest.fixture
def domains(tmp_path):
    """Function: paths of smooth pictures, changed by a function, and of others as smooth."""

    def make(change, change_target=lambda picture, rng: picture, count=6):
        rng = np.random.default_rng(0)
        sides = []
        for name, function in (("source", change), ("target", change_target)):
            paths = []
            for number in range(count):
                smooth = gaussian_filter(rng.normal(size=(96, 128, 3)), (1.5, 1.5, 0)) * 0.5 + 0.5
                # Sensors leave a little noise even in a good picture.
                good = smooth + rng.normal(scale=0.004, size=smooth.shape)
                paths.append(str(tmp_path / f"{name}{number}.png"))
                picture = np.clip(function(good, rng), 0, 1)
                Image.fromarray(to_uint8(picture)).save(paths[-1])
            sides.append(paths)
        return sides

    return make


def noisy(picture, rng):
    return picture + rng.normal(scale=0.05, size=picture.shape)


def read(path):
    return np.asarray(Image.open(path)) / 255.0


def fit_filter(sources, targets):
    return DetailFilter.fit(sample_photos(sources), sample_photos(targets), NO_TRANSFER)


class TestCrossSpectrum:
    def test_of_white_noise_is_flat_with_its_covariance(self, rng):
        """Parseval: power of a windowed tile = variance · number of pixels · mean of window²."""
        mix = np.array([[20, 0, 0], [5, 15, 0], [-10, 5, 10]])
        photo = np.clip(np.rint(128 + rng.normal(size=(512, 512, 3)) @ mix.T), 0, 255)
        found = cross_spectrum(PhotoSample.of(photo.astype(np.uint8)).tiles / 255.0)
        window = np.outer(np.hanning(16), np.hanning(16))
        expected = mix @ mix.T / 255**2 * np.sum(window**2)
        assert found.shape == (16, 16, 3, 3)
        # The mean that is taken off lowers the two lowest frequencies.
        largest = expected.max()
        np.testing.assert_allclose(
            found[3:15, 3:15], np.broadcast_to(expected, (12, 12, 3, 3)), atol=0.2 * largest
        )
        np.testing.assert_allclose(
            found[3:15, 3:15].mean(axis=(0, 1)), expected, atol=0.02 * largest
        )

    def test_of_a_wave_peaks_at_its_frequency(self):
        columns = np.arange(64)
        wave = 128 + 100 * np.sin(2 * np.pi * columns * 4 / 16)
        photo = np.rint(np.broadcast_to(wave[None, :, None], (32, 64, 3))).astype(np.uint8)
        power = cross_spectrum(PhotoSample.of(photo).tiles / 255.0)[..., 1, 1]
        assert np.unravel_index(power[:9, :9].argmax(), (9, 9)) == (0, 4)


class TestDetailShares:
    def test_of_one_pattern_in_three_colors(self, rng):
        """Blurred noise of every color, which belongs to the scene, does not count."""
        photos = []
        for _ in range(3):
            fine = rng.normal(size=(200, 16, 16, 1)) * [0.3, 0.5, 0.1]
            coarse = gaussian_filter(rng.normal(size=(200, 16, 16, 3)), (0, 5, 5, 0), mode="wrap")
            photos.append(cross_spectrum(0.5 + 0.05 * fine + 0.2 * coarse))
        shares = detail_shares(np.stack(photos))
        np.testing.assert_allclose(shares, np.array([0.3, 0.5, 0.1]) / 0.9, atol=0.01)

    def test_of_no_detail_are_equal(self):
        shares = detail_shares(np.zeros((2, 16, 16, 3, 3)))
        np.testing.assert_allclose(shares, [1 / 3] * 3)


class TestShortKernel:
    def test_of_no_gain_is_the_identity(self):
        kernel = short_kernel(np.broadcast_to(np.eye(3), (16, 16, 3, 3)))
        expected = np.zeros((9, 9, 3, 3))
        expected[4, 4] = np.eye(3)
        np.testing.assert_allclose(kernel, expected, atol=1e-12)

    def test_has_nearly_the_gains(self):
        waves = np.cos(2 * np.pi * np.fft.fftfreq(16))
        fall = 0.5 + 0.25 * waves[:, None] + 0.25 * waves
        # Gains of low frequencies are the identity, as those of a filter are.
        change = [[0.4, 0, 0.3], [0, 0.5, 0], [-0.2, 0, 0.5]]
        gains = np.eye(3) - (1 - fall)[..., None, None] * change
        kernel = np.pad(short_kernel(gains), ((3, 4), (3, 4), (0, 0), (0, 0)))
        response = np.fft.fft2(np.fft.ifftshift(np.roll(kernel, 1, (0, 1)), (0, 1)), axes=(0, 1))
        np.testing.assert_allclose(response.imag, 0, atol=1e-9)
        np.testing.assert_allclose(response.real, gains, atol=0.06)


class TestDetailFilter:
    def test_is_a_convolution_from_rgb_to_rgb(self, rng):
        """Against SciPy's two-dimensional convolution."""
        kernel = rng.random((9, 9, 3, 3))
        picture = rng.random((20, 30, 3)).astype(np.float32)
        padded = np.pad(picture, ((4, 4), (4, 4), (0, 0)), mode="reflect")
        expected = [
            sum(convolve2d(padded[..., i], kernel[:, :, i, o], mode="valid") for i in range(3))
            for o in range(3)
        ]
        found = DetailFilter(kernel)(picture)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, np.stack(expected, axis=-1), rtol=1e-5)

    def test_takes_noise_away_that_the_target_lacks(self, domains):
        sources, targets = domains(noisy)
        detail_filter = fit_filter(sources, targets)
        rng = np.random.default_rng(1)
        smooth = gaussian_filter(rng.normal(size=(96, 128, 3)), (1.5, 1.5, 0)) * 0.5 + 0.5
        seen = noisy(smooth, rng)
        before, after = (np.mean((p - smooth) ** 2) for p in (seen, detail_filter(seen)))
        assert after < 0.3 * before

    def test_sides_may_have_different_numbers_of_photos(self, domains):
        """Spectra are means over a side's photos, so a photo that counts twice changes nothing."""
        sources, targets = domains(noisy)
        kernel = fit_filter(sources, targets[:4]).kernel
        # The draws that tell the certainty differ.
        again = fit_filter(sources, 2 * targets[:4]).kernel
        np.testing.assert_allclose(kernel, again, atol=0.02)

    def test_takes_noise_from_color_that_the_target_has_too(self, domains):
        """Two kinds of noise of one power are not one detail."""

        def colored(picture, rng):
            noise = rng.normal(scale=0.05, size=(*picture.shape[:2], 2))
            return picture + noise @ RGB.T[1:]

        sources, targets = domains(colored)
        both = fit_filter(sources, sources)
        smooth = read(targets[0])
        seen = colored(smooth, np.random.default_rng(1))
        before, after = (np.mean(((p - smooth) @ YCBCR[1]) ** 2) for p in (seen, both(seen)))
        assert after < 0.6 * before

    def test_leaves_equal_domains_alone(self, domains):
        sources, targets = domains(lambda picture, rng: picture)
        kernel = fit_filter(sources, targets).kernel
        np.testing.assert_allclose(kernel[4, 4], np.eye(3), atol=0.05)

    def test_draws_a_color_as_sharply_as_the_target_does(self, domains):
        """Gray scenes. In the source all colors are blurred, in the target all but green."""

        def gray(picture):
            return np.repeat(picture[..., :1], 3, axis=2)

        def blurred(picture, rng):
            return gaussian_filter(gray(picture), (1, 1, 0))

        def sharp_green(picture, rng):
            return np.where([False, True, False], gray(picture), blurred(picture, rng))

        sources, targets = domains(blurred, sharp_green)
        detail_filter = fit_filter(sources, targets)
        picture = np.random.default_rng(1).normal(size=(96, 128, 3))
        good = gaussian_filter(picture, (1.5, 1.5, 0)) * 0.5 + 0.5
        seen, wanted = blurred(good, None), sharp_green(good, None)

        def green(picture):
            """Fine detail of green beside the mean of the colors."""
            apart = picture[..., 1] - picture.mean(axis=-1)
            return apart - gaussian_filter(apart, 3)

        before, after = (
            np.mean((green(p) - green(wanted)) ** 2) for p in (seen, detail_filter(seen))
        )
        assert after < 0.5 * before
        mean = detail_filter(seen).mean(axis=-1)
        np.testing.assert_allclose(mean, seen.mean(axis=-1), atol=0.01)

    def test_does_not_sharpen(self, domains):
        def blurred(picture, rng):
            return gaussian_filter(picture, (1, 1, 0))

        sources, targets = domains(blurred)
        kernel = fit_filter(sources, targets).kernel
        np.testing.assert_allclose(kernel[4, 4], np.eye(3), atol=0.05)

    def test_leaves_contrast_to_the_transfer(self, domains):
        """Twice the amplitude at all frequencies is contrast, not noise."""
        sources, targets = domains(lambda picture, rng: 2 * picture - 0.5)
        kernel = fit_filter(sources, targets).kernel
        np.testing.assert_allclose(kernel[4, 4], np.eye(3), atol=0.1)


class TestGuide:
    def test_filters_behind_the_transfer(self, domains):
        sources, targets = domains(noisy)
        guide = Guide.fit(sample_photos(sources), sample_photos(targets))
        photo = np.asarray(Image.open(sources[0]))
        curve = guide.curve(luminance_histogram(photo))
        np.testing.assert_allclose(curve, guide.transfer.curve(luminance_histogram(photo)))
        transferred = guide.transfer(photo, curve)
        found = guide(photo, curve)
        np.testing.assert_array_equal(found, guide.detail_filter(transferred))
        assert np.std(np.diff(found, axis=1)) < 0.7 * np.std(np.diff(transferred, axis=1))
