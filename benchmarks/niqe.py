"""NIQE, a quality score that needs no reference (Mittal and others, 2013)."""

from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.special import gamma

from wespe_tf.metrics.texture import LUMA

PATCH = 96
DEVIATION = 7 / 6
# The authors' published model of good photos: mean and covariance of the features, facts.
MODEL = np.load(Path(__file__).with_suffix(".npz"))
# Shapes of the generalized Gaussian that are tried, and the ratio (E|x|)² / E x² of each.
SHAPES = np.arange(0.2, 10.0005, 0.001)
RATIOS = gamma(2 / SHAPES) ** 2 / (gamma(1 / SHAPES) * gamma(3 / SHAPES))


def niqe(picture: np.ndarray) -> float:
    """Distance between the local statistics of a picture and those of good photos.

    Smaller is better. Good photos have about 2 to 4. Luminance is first divided by its local
    contrast. Then 18 numbers describe the distributions of the values, and of products of
    neighbors, in each patch of 96×96 pixels; and 18 more in a picture of half the size.

    Args:
        picture: (H, W, 3) uint8 array.

    Returns:
        The distance, at least 0; NaN if the picture does not hold two patches.
    """
    rows, columns = (side // PATCH for side in picture.shape[:2])
    if rows * columns < 2:
        return float("nan")
    luminance = np.round(picture[: rows * PATCH, : columns * PATCH] @ LUMA).astype(np.float32)
    half = Image.fromarray(luminance).resize(
        (columns * PATCH // 2, rows * PATCH // 2), Image.Resampling.BICUBIC
    )
    features = np.concatenate(
        [_features(np.float64(scale), rows, columns) for scale in (luminance, half)], axis=1
    )
    # A patch without any contrast, such as an overexposed sky, has no distribution.
    features = features[np.isfinite(features).all(axis=1)]
    difference = features.mean(axis=0) - MODEL["mean"]
    spread = (np.cov(features, rowvar=False) + MODEL["covariance"]) / 2
    return float(np.sqrt(difference @ np.linalg.pinv(spread) @ difference))


def _features(luminance: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """18 features of each patch, (rows · columns, 18)."""
    options = {"sigma": DEVIATION, "radius": 3, "mode": "nearest"}
    mean = gaussian_filter(luminance, **options)
    variance = gaussian_filter(luminance**2, **options) - mean**2
    normalized = (luminance - mean) / (np.sqrt(np.abs(variance)) + 1)
    height, width = luminance.shape[0] // rows, luminance.shape[1] // columns
    patches = normalized.reshape(rows, height, columns, width).swapaxes(1, 2)
    patches = patches.reshape(-1, height, width)
    shape, left, right = _fit(patches)
    found = [shape, (left + right) / 2]
    for shift in ((0, 1), (1, 0), (1, 1), (1, -1)):
        shape, left, right = _fit(patches * np.roll(patches, shift, axis=(1, 2)))
        mean_of_fit = (right - left) * gamma(2 / shape) / gamma(1 / shape)
        found += [shape, mean_of_fit, left, right]
    return np.stack(found, axis=1)


def _fit(patches: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shape, left scale and right scale of an asymmetric generalized Gaussian, by moments."""
    values = patches.reshape(len(patches), -1)
    squares = values**2
    with np.errstate(invalid="ignore", divide="ignore"):
        left, right = (
            np.sqrt((squares * side).sum(axis=1) / side.sum(axis=1))
            for side in (values < 0, values > 0)
        )
        skew = left / right
        ratio = np.abs(values).mean(axis=1) ** 2 / squares.mean(axis=1)
    ratio = ratio * (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2
    # RATIOS rises with the shape.
    shape = np.interp(ratio, RATIOS, SHAPES)
    scale = np.sqrt(gamma(1 / shape) / gamma(3 / shape))
    return shape, left * scale, right * scale
