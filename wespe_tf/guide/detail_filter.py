"""Detail filter: a closed-form guess at the fine detail of good photos.

It estimates how much fine detail of the source photos is noise, and removes it. It also finds out
how much fine detail red, green and blue have beside each other, and changes it to what good photos
have.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import convolve

from .color_transfer import ColorTransfer, certainty
from .samples import TILE, PhotoSample

SIZE = 9
# JPEG's luma and color differences, in which noise is nearly independent.
YCBCR = np.array([[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]])
RGB = np.linalg.inv(YCBCR)
# Equal shares of red, green and blue.
EQUAL = np.full(3, 1 / 3)
FREQUENCY = np.hypot(*np.meshgrid(np.fft.fftfreq(TILE), np.fft.fftfreq(TILE)))
LOWEST = (FREQUENCY > 0) & (FREQUENCY <= 2 / TILE)
FINE = FREQUENCY > 1 / 8


class DetailFilter:
    """Removes noise, and gives red, green and blue their share in fine detail. It is linear.

    *Noise.* Towards high frequencies, the power spectra of all photos fall in the same way, until
    noise begins. The filter compares the powers of both domains, relative to their powers at the
    lowest frequencies. Where the source has more, the excess is noise, and the filter (Wiener's)
    removes the noise's share. Where the source has less, nothing changes: amplifying detail would
    amplify its noise too. Color differences are attenuated as much as luma, and in addition by
    their excess over luma.

    *Shares.* A camera does not draw all colors equally sharp. A color's share says how strongly it
    follows luma at a frequency. The filter takes the target's share minus the source's, and adds
    luma times this difference to the color. So noise of color adds nothing. The mean of the three
    colors stays.

    The kernel is short and smooth in frequency, so that edges do not ring.

    Args:
        kernel: (9, 9, 3, 3) array, a convolution from RGB to RGB as Keras orders it; its sum over
            the places is the identity.
        shares: see `detail_shares`.
    """

    def __init__(self, kernel: ArrayLike, shares: ArrayLike = EQUAL) -> None:
        self.kernel = np.asarray(kernel, np.float64)
        self.shares = np.asarray(shares, np.float64)

    @classmethod
    def fit(
        cls,
        source: Sequence[PhotoSample],
        target: Sequence[PhotoSample],
        transfer: ColorTransfer,
    ) -> "DetailFilter":
        """Fits the filter to two sets of pictures. They need not be pairs.

        All that it does is moved towards no change, by as much as it is uncertain (`certainty`).

        Args:
            source: samples of the source domain's photos, each of them with tiles.
            target: samples of the target domain's photos.
            transfer: `ColorTransfer` that comes before the filter. Where it raises the contrast, it
                raises the noise as well.
        """
        seen = np.stack(
            [cross_spectrum(transfer(p.tiles, transfer.curve(p.luminances))) for p in source]
        )
        wanted = np.stack([cross_spectrum(photo.tiles / 255.0) for photo in target])

        def trusted(estimate: Callable, one: np.ndarray, other: np.ndarray) -> np.ndarray:
            return certainty(estimate, 0.0, one, other) * estimate(one, other)

        powers = _log_powers(seen), _log_powers(wanted)
        gain, gain_blue, gain_red = (
            np.exp(trusted(estimate, *powers))
            for estimate in (_of_luma, _of_color(1), _of_color(2))
        )
        shares = trusted(_more_shares, _shares(seen), _shares(wanted))
        gains = np.stack([gain, gain_blue, gain_red], axis=-1)
        return cls(
            short_kernel(
                np.einsum("oc,xyc,ci->xyio", RGB, gains, YCBCR)
                + np.einsum("xyo,xy,i->xyio", shares, gain, YCBCR[0])
            ),
            detail_shares(wanted),
        )

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """Filters a picture, (H, W, 3) floats. Its edges are mirrored; shape and dtype stay."""
        filtered = [
            sum(convolve(picture[..., i], self.kernel[..., i, o], mode="mirror") for i in range(3))
            for o in range(3)
        ]
        return np.stack(filtered, axis=-1).astype(picture.dtype)


def cross_spectrum(tiles: np.ndarray) -> np.ndarray:
    """Mean spectrum of a photo's tiles without their means: powers, and what colors share.

    Args:
        tiles: (T, 16, 16, 3) float array in [0, 1], T ≥ 1.

    Returns:
        (16, 16, 3, 3) array, symmetric in its last two axes: the real parts of the products of two
        colors' waves. Frequencies are ordered as in `numpy.fft.fftfreq`.
    """
    window = np.hanning(TILE)
    tiles = (tiles - tiles.mean(axis=(1, 2), keepdims=True)) * np.outer(window, window)[..., None]
    waves = np.fft.fft2(tiles, axes=(1, 2))
    return np.einsum("nxyi,nxyj->xyij", waves, waves.conj()).real / len(tiles)


def short_kernel(gains: np.ndarray) -> np.ndarray:
    """A kernel with nearly these gains. It fits into G's last layer and does not change flat areas.

    Args:
        gains: (16, 16, 3, 3) array, frequencies as `numpy.fft.fftfreq` orders them, then input and
            output.

    Returns:
        (9, 9, 3, 3) array; its sum over the places is the identity.
    """
    reach = SIZE // 2
    inner = slice(TILE // 2 - reach, TILE // 2 + reach + 1)
    kernel = np.fft.fftshift(np.fft.ifft2(gains, axes=(0, 1)).real, axes=(0, 1))[inner, inner]
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    distance = np.minimum(np.hypot(rows, columns) / (reach + 1), 1.0)
    kernel = kernel * (0.5 + 0.5 * np.cos(np.pi * distance))[..., None, None]
    kernel[reach, reach] += np.eye(3) - kernel.sum(axis=(0, 1))
    return kernel


def detail_shares(spectra: np.ndarray) -> np.ndarray:
    """How photos divide their fine detail, of less than 8 pixels, among red, green and blue.

    Args:
        spectra: (n, 16, 16, 3, 3) array, the `cross_spectrum` of each photo.

    Returns:
        (3,) array with the sum 1: slopes of the colors' waves on those of luma.
    """
    with_luma = np.maximum((spectra @ YCBCR[0])[:, FINE].sum(axis=(0, 1)), 0.0) + 1e-9
    return with_luma / with_luma.sum()


def _log_powers(spectra: np.ndarray) -> np.ndarray:
    """Logarithms of the powers of luma and of both color differences, (n, 16, 16, 3)."""
    return np.log(np.einsum("ci,nxyij,cj->nxyc", YCBCR, spectra, YCBCR) + 1e-9)


def _of_luma(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Logarithm of luma's gain, at most 0: the target's power divided by the source's.

    Both powers are relative to the lowest frequencies, which hold contrast and hardly any noise. If
    the source's excess is noise, this is Wiener's filter. A gain that only made the amplitudes
    equal would leave noise.
    """
    ratio = target[..., 0].mean(axis=0) - source[..., 0].mean(axis=0)
    return np.minimum(_above_lowest(ratio), 0.0)


def _of_color(channel: int) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Function that returns the logarithm of a color difference's gain, at most luma's.

    The target's power says little here: a phone's color detail is mostly noise, even if the target
    has as much detail. In a clean photo, the power of color differences falls in the same way as
    that of luma. What the source has beyond that is noise.
    """

    def estimate(source: np.ndarray, target: np.ndarray) -> np.ndarray:
        excess = _above_lowest((source[..., channel] - source[..., 0]).mean(axis=0))
        return _of_luma(source, target) - np.maximum(excess, 0.0)

    return estimate


def _shares(spectra: np.ndarray) -> np.ndarray:
    """How strongly each color follows luma, minus the mean of the colors, (n, 16, 16, 3).

    This is the slope of the regression of a color's waves on those of luma.
    """
    with_luma = spectra @ YCBCR[0]
    slopes = with_luma / (with_luma @ YCBCR[0] + 1e-9)[..., None]
    return slopes - slopes.mean(axis=-1, keepdims=True)


def _more_shares(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """What the target's shares have more than the source's, apart from the scenes' own colors."""
    return _above_lowest(target.mean(axis=0) - source.mean(axis=0))


def _above_lowest(values: np.ndarray) -> np.ndarray:
    """Values of all frequencies, minus their mean at the lowest ones."""
    return values - values[LOWEST].mean(axis=0)
