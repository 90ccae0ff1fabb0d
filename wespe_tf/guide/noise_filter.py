"""Noise filter: estimates how much fine detail of the source photos is noise, and removes it."""

import functools
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import convolve

from ..images.picture import read_picture
from .color_transfer import ColorTransfer, certainty, luminance_histogram
from .tone_curve import Paths, Read, some_of

# Function from a part of a photo, uint8, to floats in [0, 1].
Display = Callable[[np.ndarray], np.ndarray]
# Function from the spectra of source and target to the logarithm of a gain.
Attenuation = Callable[[np.ndarray, np.ndarray], np.ndarray]

TILE = 16
TILES = 1024
SIZE = 9
# JPEG's luma and color differences, in which noise is nearly independent.
YCBCR = np.array([[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]])
RGB = np.linalg.inv(YCBCR)
FREQUENCY = np.hypot(*np.meshgrid(np.fft.fftfreq(TILE), np.fft.fftfreq(TILE)))
LOWEST = (FREQUENCY > 0) & (FREQUENCY <= 2 / TILE)


class NoiseFilter:
    """Removes fine detail of which the source domain has more than the target domain: noise.

    Towards high frequencies, the power spectra of all photos fall in the same way, until noise
    begins. The filter compares the powers of both domains, relative to their powers at the lowest
    frequencies. Where the source has more, the excess is noise, and this linear filter (Wiener's)
    removes the noise's share. Where the source has less, nothing changes: amplifying detail would
    amplify its noise too. Color differences are attenuated as much as luma, and in addition by
    their excess over luma. The kernel is short and smooth in frequency, so that edges do not ring.

    Args:
        kernel: (9, 9, 3) array for luma and two color differences; each channel has the sum 1.
    """

    def __init__(self, kernel: ArrayLike) -> None:
        self.kernel = np.asarray(kernel, np.float64)

    @classmethod
    def fit(
        cls,
        source_paths: Paths,
        target_paths: Paths,
        transfer: ColorTransfer,
        read: Read = read_picture,
    ) -> "NoiseFilter":
        """Fits the filter to two sets of pictures. They need not be pairs.

        Gains are moved towards 1, by as much as they are uncertain (`certainty`).

        Args:
            source_paths: picture files of the source domain.
            target_paths: picture files of the target domain.
            transfer: `ColorTransfer` that comes before the filter. Where it raises the contrast, it
                raises the noise as well.
            read: function that reads a file, see `histogram`.
        """

        def transferred(photo: np.ndarray) -> Display:
            curve = transfer.curve(luminance_histogram(photo))
            return lambda pixels: transfer(pixels, curve)

        source = _spectra(source_paths, read, transferred)
        target = _spectra(target_paths, read, lambda photo: lambda pixels: pixels / 255.0)
        attenuations: list[Attenuation] = [
            _of_luma,
            *(functools.partial(_of_color, c) for c in (1, 2)),
        ]
        trusted = [certainty(f, 0.0, source, target) * f(source, target) for f in attenuations]
        return cls(short_kernel(np.exp(np.stack(trusted, axis=-1))))

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """Filters a picture, (H, W, 3) floats. Its edges are mirrored; shape and dtype stay."""
        channels = np.moveaxis(picture @ YCBCR.T, -1, 0)
        filtered = [
            convolve(channel, self.kernel[..., k], mode="mirror")
            for k, channel in enumerate(channels)
        ]
        return (np.stack(filtered, axis=-1) @ RGB.T).astype(picture.dtype)

    def of_rgb(self) -> np.ndarray:
        """The filter as the kernel of a convolution from RGB to RGB, (9, 9, 3, 3)."""
        return np.einsum("oc,xyc,ci->xyio", RGB, self.kernel, YCBCR)


def power_spectrum(photo: np.ndarray, display: Display) -> np.ndarray:
    """Mean power spectrum of a photo's tiles (minus their means), for luma and color differences.

    Args:
        photo: (H, W, 3) uint8 array, H and W at least 16.
        display: function from a part of the photo to floats in [0, 1].

    Returns:
        (16, 16, 3) array, frequencies as `numpy.fft.fftfreq` orders them.
    """
    rows, columns = (length // TILE for length in photo.shape[:2])
    # The stride is odd, so that the tiles do not all come from the same columns.
    places = np.arange(rows * columns)[:: max(1, rows * columns // TILES) | 1]
    whole = photo[: rows * TILE, : columns * TILE].reshape(rows, TILE, columns, TILE, 3)
    tiles = display(whole[places // columns, :, places % columns]) @ YCBCR.T
    window = np.hanning(TILE)
    tiles = (tiles - tiles.mean(axis=(1, 2), keepdims=True)) * np.outer(window, window)[..., None]
    return np.mean(np.abs(np.fft.fft2(tiles, axes=(1, 2))) ** 2, axis=0)


def short_kernel(gains: np.ndarray) -> np.ndarray:
    """A kernel with nearly these gains. It fits into G's last layer and does not change flat areas.

    Args:
        gains: (16, 16, 3) array, frequencies as `numpy.fft.fftfreq` orders them.

    Returns:
        (9, 9, 3) array of sum 1 in each channel.
    """
    reach = SIZE // 2
    inner = slice(TILE // 2 - reach, TILE // 2 + reach + 1)
    kernel = np.fft.fftshift(np.fft.ifft2(gains, axes=(0, 1)).real, axes=(0, 1))[inner, inner]
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    distance = np.minimum(np.hypot(rows, columns) / (reach + 1), 1.0)
    kernel = kernel * (0.5 + 0.5 * np.cos(np.pi * distance))[..., None]
    return kernel / kernel.sum(axis=(0, 1))


def _spectra(paths: Paths, read: Read, display_of: Callable[[np.ndarray], Display]) -> np.ndarray:
    """Logarithms of the photos' spectra, (n, 16, 16, 3)."""
    spectra = []
    for path in some_of(paths):
        photo = read(path)
        spectra.append(np.log(power_spectrum(photo, display_of(photo)) + 1e-9))
    return np.stack(spectra)


def _of_luma(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Logarithm of luma's gain, at most 0: the target's power divided by the source's.

    Both powers are relative to the lowest frequencies, which hold contrast and hardly any noise. If
    the source's excess is noise, this is Wiener's filter. A gain that only made the amplitudes
    equal would leave noise.
    """
    ratio = target[..., 0].mean(axis=0) - source[..., 0].mean(axis=0)
    return np.minimum(_above_lowest(ratio), 0.0)


def _of_color(channel: int, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Logarithm of a color difference's gain, at most luma's.

    The target's power says little here: a phone's color detail is mostly noise, even if the target
    has as much detail. In a clean photo, the power of color differences falls in the same way as
    that of luma. What the source has beyond that is noise.
    """
    excess = _above_lowest((source[..., channel] - source[..., 0]).mean(axis=0))
    return _of_luma(source, target) - np.maximum(excess, 0.0)


def _above_lowest(log_ratio: np.ndarray) -> np.ndarray:
    """Logarithm of a ratio of powers, minus its mean at the lowest frequencies."""
    return log_ratio - log_ratio[LOWEST].mean()
