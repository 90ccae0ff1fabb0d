"""MS-SSIM as the authors' TensorFlow code computes it."""

import math
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_WINDOW, _WINDOW_SIGMA = 11, 1.5
# Values of one picture array filtered at a time: what a core's own cache holds.
_CHUNK = 60_000
# Products that BLAS computes at once while filtering. Larger ones waste more multiplications by
# zero, and above 2^18 multiply-adds OpenBLAS starts threads that stall on a busy machine.
_BLOCK, _STRIP = 8, 1024


def ms_ssim(pictures_a, pictures_b, max_val=255):
    """Multi-scale structural similarity of two batches, as DPED code computes it.

    Five scales; the window, a Gaussian of 11×11 pixels and deviation 1.5, shrinks with pictures
    that are smaller; channels count as pictures. The means over the batch come first, the
    product over the scales after, so the value of a batch is not the mean of its pictures'.
    Computed in float64 (float32 is off by 1e-5) on all cores. Source: DPED code, ssim.py.

    Args:
        pictures_a: (N, H, W, C) array in [0, `max_val`], any dtype.
        pictures_b: the same shape.
        max_val: the largest value a picture can have.

    Returns:
        Float, 1 for equal batches; NaN where the mean of contrast·structure of a scale is
        negative, as in DPED code.

    Raises:
        ValueError: on shapes that differ or are not those of a batch.
    """
    if pictures_a.shape != pictures_b.shape or pictures_a.ndim != 4 or not pictures_a.size:
        raise ValueError(
            f"ms_ssim: expected two (N, H, W, C) batches of one shape, got {pictures_a.shape} "
            f"and {pictures_b.shape}"
        )
    pair = [np.moveaxis(pictures, -1, 1) for pictures in (pictures_a, pictures_b)]
    if pair[0][0].size > _CHUNK:
        pair = [pictures.reshape(-1, 1, *pictures.shape[2:]) for pictures in pair]
    count = len(pair[0])
    workers = min(os.cpu_count() or 1, count, -(-pictures_a.size // _CHUNK))
    bounds = [count * k // workers for k in range(workers + 1)]
    parts = [[pictures[i:j] for pictures in pair] for i, j in zip(bounds[:-1], bounds[1:])]
    with ThreadPoolExecutor(workers) as pool:
        sums = sum(pool.map(lambda part: _scale_sums(*part, max_val), parts))
    with np.errstate(invalid="ignore"):
        return float(np.prod((sums / count) ** np.array(MS_SSIM_WEIGHTS)))


def _scale_sums(a, b, max_val):
    """Sums over pictures of what each scale contributes: (N, C, H, W) arrays → (5,)."""
    count, channels, height, width = a.shape
    sums = np.zeros(len(MS_SSIM_WEIGHTS))
    # Fresh arrays of this size would cost more time, in page faults, than the arithmetic.
    scratch = np.empty((3, 4 * (_CHUNK + (_BLOCK + _WINDOW) * channels * width)))
    for scale in range(len(sums)):
        last = scale == len(sums) - 1
        window = _window(min(_WINDOW, height, width))
        rows, columns = height - len(window) + 1, width - len(window) + 1
        chunk = max(1, _CHUNK // a[0].size)
        strip = max(1, _CHUNK // (channels * width * _BLOCK)) * _BLOCK
        smaller = np.empty((2, count, channels, -(-height // 2), -(-width // 2)))
        for k in range(0, count, chunk):
            for i in range(0, rows, strip):
                part = np.s_[k : k + chunk, :, i : i + strip + len(window) - 1]
                moments = _view(scratch[0], (4, *a[part].shape))
                if scale == 0:
                    np.add(a[part], b[part], out=moments[0], dtype=np.float64)
                    np.subtract(a[part], b[part], out=moments[1], dtype=np.float64)
                else:
                    moments[0], moments[1] = a[part], b[part]
                similarity = _similarity(moments, window, max_val, last, scratch[1:])
                sums[scale] += similarity.sum() / (channels * rows * columns)
                own = strip if i + strip < rows else height - i
                half = smaller[:, k : k + chunk, :, i // 2 : (i + own + 1) // 2]
                _halve(moments[:2, :, :, :own], out=half)
        a, b = smaller
        height, width = smaller.shape[3:]
    return sums


def _window(size):
    """One-dimensional Gaussian window of `size` taps and sum 1; its square is DPED code's."""
    x = np.arange(size) - (size - 1) / 2
    window = np.exp(-(x**2) / (2 * (_WINDOW_SIGMA * size / _WINDOW) ** 2))
    return window / window.sum()


def _similarity(moments, window, max_val, full, scratch):
    """Contrast·structure of every pixel, times luminance if `full`.

    With s = a + b and d = a − b, variances of s and d are sum and difference of var(a) + var(b)
    and 2·cov(a, b), and so are the squares of their means: two passes fewer than from a and b.

    Args:
        moments: (4, N, C, H, W) array, s and d in the first two places.
        window: one-dimensional window.
        max_val: the largest value a picture can have.
        full: whether luminance counts.
        scratch: two flat arrays of at least the size of `moments`.
    """
    np.multiply(moments[:2], moments[:2], out=moments[2:])
    filtered = _filter(moments, window, scratch)
    means, variances = filtered[:2], filtered[2:]
    means *= means
    variances -= means
    similarity = _contrast(*variances, 2 * (0.03 * max_val) ** 2)
    if full:
        similarity *= _contrast(*means, 2 * (0.01 * max_val) ** 2)
    return similarity


def _contrast(x, y, c):
    """(x − y + c) / (x + y + c), in the place of x."""
    total = x + y
    total += c
    x -= y
    x += c
    x /= total
    return x


def _filter(arrays, window, scratch):
    """Filters the last two axes with `window`, valid part only, into `scratch`."""
    margin = len(window) - 1
    # Turns _BLOCK + margin values into the _BLOCK valid ones.
    band = np.zeros((_BLOCK, _BLOCK + margin))
    for k, weight in enumerate(window):
        np.fill_diagonal(band[:, k:], weight)
    *planes, height, width = arrays.shape
    vertical = _view(scratch[0], (*planes, height - margin, width))
    for i in range(0, width, _STRIP):
        part = np.s_[..., i : i + _STRIP]
        _filter_rows(arrays[part], band, vertical[part])
    filtered = _view(scratch[1], (*planes, height - margin, width - margin))
    for i in range(0, height - margin, _STRIP):
        part = np.s_[..., i : i + _STRIP, :]
        _filter_rows(vertical[part].swapaxes(-1, -2), band, filtered[part].swapaxes(-1, -2))
    return filtered


def _filter_rows(arrays, band, out):
    """Multiplies every `_BLOCK` rows and what overlaps them with `band`."""
    block, length = band.shape
    *planes, rows, columns = out.shape
    whole = rows // block * block
    if whole:
        windows = np.lib.stride_tricks.sliding_window_view(arrays, length, axis=-2)
        blocks = windows[..., ::block, :, :].swapaxes(-1, -2)
        np.matmul(band, blocks, out=out[..., :whole, :].reshape(*planes, -1, block, columns))
    rest = rows - whole
    if rest:
        rest_band = band[:rest, : length - block + rest]
        np.matmul(rest_band, arrays[..., whole:, :], out=out[..., whole:, :])


def _halve(pictures, out):
    """Mean of each pixel and its right, lower and lower-right neighbours, every second pixel."""
    height, width = pictures.shape[3:]
    if height % 2 or width % 2:
        edges = ((0, 0), (0, 0), (0, 0), (0, height % 2), (0, width % 2))
        pictures = np.pad(pictures, edges, mode="edge")
    rows = pictures[..., ::2, :] + pictures[..., 1::2, :]
    np.add(rows[..., ::2], rows[..., 1::2], out=out)
    out *= 0.25


def _view(flat, shape):
    """The start of a flat array as an array of `shape`."""
    return flat[: math.prod(shape)].reshape(shape)
