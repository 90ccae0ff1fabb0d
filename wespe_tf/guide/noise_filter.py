"""Noise filter: a closed-form guess at how much fine detail of the source photos is noise."""

import functools
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import convolve

from ..images.picture import read_picture
from .color_transfer import ColorTransfer, certainty, luminance_histogram
from .tone_curve import Paths, Read, some_of

# From a part of a photo, uint8, to floats in [0, 1].
Display = Callable[[np.ndarray], np.ndarray]
# From the spectra of source and target to the logarithm of a gain.
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
    """Takes from pictures the fine detail in which their domain exceeds another.

    The power spectra of photos fall alike, whatever they show, to where noise begins. Where the
    source domain has more of it than the target, measured by what both have at the lowest
    frequencies, this linear filter, Wiener's, takes away the noise's share; where it has less
    nothing is done, since what is missing cannot be amplified without its noise. Color differences
    lose at least what luma does, and what they exceed it by. The kernel is short and smooth in
    frequency, so that edges do not ring.

    Args:
        kernel: (9, 9, 3) array of sum 1 in each channel: luma and two color differences.
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
        """The filter between two sets of pictures that need not be pairs.

        Gains are taken back towards 1 as far as other photos would leave them in doubt
        (`certainty`).

        Args:
            source_paths: picture files of the source domain.
            target_paths: of the target domain.
            transfer: `ColorTransfer` that the filter follows: what it does to contrast it does to
                noise.
            read: how they are read, as of `histogram`.

        Returns:
            A `NoiseFilter`.
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
        """Filters a picture, (H, W, 3) floats, mirrored at its edges; the same shape and dtype."""
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
    """Mean power spectrum of a photo's tiles, less their means, in luma and color differences.

    Args:
        photo: (H, W, 3) uint8 array, at least 16 pixels a side.
        display: function from a part of it to floats in [0, 1].

    Returns:
        (16, 16, 3) array, frequencies as `numpy.fft.fftfreq` orders them.
    """
    rows, columns = (length // TILE for length in photo.shape[:2])
    # An odd stride does not keep hitting the same columns.
    places = np.arange(rows * columns)[:: max(1, rows * columns // TILES) | 1]
    whole = photo[: rows * TILE, : columns * TILE].reshape(rows, TILE, columns, TILE, 3)
    tiles = display(whole[places // columns, :, places % columns]) @ YCBCR.T
    window = np.hanning(TILE)
    tiles = (tiles - tiles.mean(axis=(1, 2), keepdims=True)) * np.outer(window, window)[..., None]
    return np.mean(np.abs(np.fft.fft2(tiles, axes=(1, 2))) ** 2, axis=0)


def short_kernel(gains: np.ndarray) -> np.ndarray:
    """A kernel of nearly these gains: no longer than a convolution of G, nothing changed in a flat.

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
    """Logarithm of luma's gain, at most 0: the target's power over the source's.

    In relation to the lowest frequencies, where there is no noise but contrast. Where the excess is
    noise, this is Wiener's filter. A gain that took only the amplitudes down to the target's would
    leave noise.
    """
    ratio = target[..., 0].mean(axis=0) - source[..., 0].mean(axis=0)
    return np.minimum(_above_lowest(ratio), 0.0)


def _of_color(channel: int, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Logarithm of a color difference's gain, at most luma's.

    The target's power says little here: a phone's color detail is mostly noise, even where the
    target has as much detail. In a clean photo the power of color differences falls as that of luma
    does. What the source has beyond that is noise.
    """
    excess = _above_lowest((source[..., channel] - source[..., 0]).mean(axis=0))
    return _of_luma(source, target) - np.maximum(excess, 0.0)


def _above_lowest(log_ratio: np.ndarray) -> np.ndarray:
    """Logarithm of a ratio of powers less what it is at the lowest frequencies."""
    return log_ratio - log_ratio[LOWEST].mean()
