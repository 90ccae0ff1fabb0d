"""MS-SSIM as the authors' TensorFlow code computes it."""

import functools
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import scipy.sparse

MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_WINDOW, _WINDOW_SIGMA = 11, 1.5


def ms_ssim(pictures_a: np.ndarray, pictures_b: np.ndarray, max_val: float = 255) -> float:
    """Multi-scale structural similarity of two batches, as DPED's code computes it.

    There are five scales. The window is a Gaussian of 11×11 pixels with a standard deviation of
    1.5; it is smaller for smaller pictures. Channels count as pictures. First the means over the
    batch are taken, then the product over the scales. So the value of a batch is not the mean of
    its pictures' values. The computation is in float64 (float32 is off by 1e-5), with one picture
    on each core. Source: DPED's code, ssim.py.

    Args:
        pictures_a: (N, H, W, C) array in [0, `max_val`], any dtype.
        pictures_b: the same shape.
        max_val: the largest possible value of a picture.

    Returns:
        Float, 1 for equal batches; NaN if the mean of contrast·structure of a scale is negative, as
        in DPED's code.

    Raises:
        ValueError: if the shapes differ or are not those of a batch.
    """
    if pictures_a.shape != pictures_b.shape or pictures_a.ndim != 4 or not pictures_a.size:
        raise ValueError(
            f"ms_ssim: expected two (N, H, W, C) batches of one shape, got {pictures_a.shape} "
            f"and {pictures_b.shape}"
        )
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        scales = pool.map(lambda a, b: _scales(a, b, max_val), pictures_a, pictures_b)
        means = np.mean(list(scales), axis=0)
    with np.errstate(invalid="ignore"):
        return float(np.prod(means ** np.array(MS_SSIM_WEIGHTS)))


def _scales(a: np.ndarray, b: np.ndarray, max_val: float) -> np.ndarray:
    """The mean similarity of two (H, W, C) pictures at each scale, (5,)."""
    # With s = a + b and d = a − b, the variances of s and d are var(a) + var(b) ± 2·cov(a, b). The
    # squares of their means follow the same rule. This takes fewer filters than a and b would.
    pair = np.concatenate(
        [np.add(a, b, dtype=np.float64), np.subtract(a, b, dtype=np.float64)], axis=-1
    )
    found: list[float] = []
    for _ in MS_SSIM_WEIGHTS:
        filtered = _filter(np.concatenate([pair, pair * pair], axis=-1))
        mean_s, mean_d, square_s, square_d = np.split(filtered, 4, axis=-1)
        mean_s, mean_d = mean_s * mean_s, mean_d * mean_d
        similarity = _contrast(square_s - mean_s, square_d - mean_d, 2 * (0.03 * max_val) ** 2)
        if len(found) == len(MS_SSIM_WEIGHTS) - 1:
            similarity *= _contrast(mean_s, mean_d, 2 * (0.01 * max_val) ** 2)
        found.append(similarity.mean())
        pair = _halve(pair)
    return np.array(found)


def _contrast(x: np.ndarray, y: np.ndarray, c: float) -> np.ndarray:
    return (x - y + c) / (x + y + c)


def _filter(x: np.ndarray) -> np.ndarray:
    """Filters the first two axes of (H, W, K) with the window, valid part only."""
    size = min(_WINDOW, *x.shape[:2])
    for _ in range(2):
        band = _band(len(x), size)
        x = (band @ x.reshape(len(x), -1)).reshape(-1, *x.shape[1:]).swapaxes(0, 1)
    return x


@functools.cache
def _band(length: int, size: int) -> scipy.sparse.csr_array:
    """The window's filter along an axis as a matrix: twice as fast as SciPy's correlate1d."""
    places = np.arange(size) - (size - 1) / 2
    window = np.exp(-(places**2) / (2 * (_WINDOW_SIGMA * size / _WINDOW) ** 2))
    window /= window.sum()
    valid = length - size + 1
    bands = [np.full(valid, weight) for weight in window]
    return scipy.sparse.diags_array(bands, offsets=range(size), shape=(valid, length), format="csr")


def _halve(x: np.ndarray) -> np.ndarray:
    """Mean of each pixel and its right, lower and lower-right neighbors, every second pixel."""
    height, width = x.shape[:2]
    if height % 2 or width % 2:
        x = np.pad(x, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    rows = x[::2] + x[1::2]
    return (rows[:, ::2] + rows[:, 1::2]) * 0.25
