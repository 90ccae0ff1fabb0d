"""How much fine detail pictures have, and how much noise in flat areas."""

from collections.abc import Iterable

import numpy as np
from scipy.ndimage import gaussian_filter, laplace, uniform_filter

LUMA = np.array([0.2989, 0.5870, 0.1140])
BLUR = 3.0
WINDOW = 9
FLAT_SHARE = 0.1


def detail_energy(pictures: Iterable[np.ndarray]) -> float:
    """Standard deviation of the Laplacian of luminance, mean over pictures.

    Args:
        pictures: iterable of (H, W, 3) uint8 arrays.

    Returns:
        In 8-bit values, at least 0.
    """
    return float(np.mean([laplace(picture @ LUMA).std() for picture in pictures]))


def flat_noise(pictures: Iterable[np.ndarray]) -> float:
    """Standard deviation of detail in the flattest tenth of each picture, mean over pictures.

    Detail is luminance minus its Gaussian blur of deviation 3. A pixel is flat if the 9×9 pixels
    around it have little detail.

    Args:
        pictures: iterable of (H, W, 3) uint8 arrays.

    Returns:
        In 8-bit values, at least 0.
    """
    details = map(_detail, pictures)
    return float(np.mean([detail[_flat(detail)].std() for detail in details]))


def detail_ratio(enhanced: np.ndarray, reference: np.ndarray) -> float:
    """`detail_energy` of a picture divided by that of its reference: 1 is right, less is too soft.

    Args:
        enhanced: (H, W, 3) uint8 array.
        reference: the same shape.

    Returns:
        Ratio, infinite if the reference is uniform.
    """
    return ratio(detail_energy([enhanced]), detail_energy([reference]))


def flat_noise_ratio(enhanced: np.ndarray, reference: np.ndarray) -> float:
    """Deviation of detail divided by that of the reference, where the reference is flattest.

    Both are measured at the same places. This differs from the ratio of two `flat_noise`.

    Args:
        enhanced: (H, W, 3) uint8 array.
        reference: the same shape.

    Returns:
        Ratio: 1 is right, more is noise; infinite if the reference is uniform there.
    """
    wanted = _detail(reference)
    flat = _flat(wanted)
    return ratio(_detail(enhanced)[flat].std(), wanted[flat].std())


def ratio(value: float, reference: float) -> float:
    """One number divided by another one; infinite if the other one is 0."""
    return float(value / reference) if reference > 0 else float("inf")


def _detail(picture: np.ndarray) -> np.ndarray:
    luminance = picture @ LUMA
    return luminance - gaussian_filter(luminance, BLUR, mode="mirror")


def _flat(detail: np.ndarray) -> np.ndarray:
    """Mask of the tenth of the pixels around which there is least detail."""
    power = uniform_filter(np.square(detail), WINDOW)
    return power <= np.quantile(power, FLAT_SHARE)
