"""Color transfer: a closed-form guess at the target's tone and color."""

import numpy as np
from keras import ops

from .images import picture_size, read_picture
from .models.layers import gray
from .tone import ToneCurve, histogram, some_of

PIXELS = 100_000


class ColorTransfer:
    """Brings pictures to another domain's brightness and colors without a network.

    A curve on luminance scales all three channels of a pixel alike; one affine map of RGB then
    gives the pixels the target's mean and covariance (the Monge-Kantorovich map between Gaussians:
    Pitié and Kokaram, "The linear Monge-Kantorovitch linear colour mapping", 2007). Unlike a curve
    per channel it can restore saturation; unlike a full transport of colors it has too few
    parameters to copy what the two folders happen to show.

    Args:
        curve: (256,) luminance in [0, 1] for each 8-bit luminance.
        matrix: (3, 3) RGB map.
        offset: (3,) added after it.
    """

    def __init__(self, curve, matrix, offset):
        self.curve = np.asarray(curve, np.float64)
        self.matrix = np.asarray(matrix, np.float64)
        self.offset = np.asarray(offset, np.float64)

    @classmethod
    def fit(cls, source_paths, target_paths):
        """The transfer between two sets of pictures that need not be pairs.

        Args:
            source_paths: picture files of the source domain.
            target_paths: of the target domain.

        Returns:
            A `ColorTransfer`.
        """
        curve = ToneCurve.match(
            histogram(source_paths, luminance), histogram(target_paths, luminance)
        ).curve[0]
        toned = cls(curve, np.eye(3), np.zeros(3))
        source = ops.convert_to_numpy(toned(_pixels(source_paths)))
        target = _pixels(target_paths)
        matrix = monge_kantorovich(np.cov(source.T), np.cov(target.T))
        return cls(curve, matrix, target.mean(axis=0) - matrix @ source.mean(axis=0))

    def __call__(self, pictures):
        """Transfers pictures.

        Args:
            pictures: (..., 3) float tensor in [0, 1].

        Returns:
            Tensor of the same shape and dtype, clipped to [0, 1].
        """
        pictures = ops.convert_to_tensor(pictures)
        curve, matrix, offset = (
            ops.convert_to_tensor(value, dtype=pictures.dtype)
            for value in (self.curve, self.matrix, self.offset)
        )
        luma = gray(pictures)
        place = ops.clip(luma * 255.0, 0.0, 255.0)
        below = ops.minimum(ops.floor(place), 254.0)
        index = ops.cast(below, "int32")
        low, high = ops.take(curve, index), ops.take(curve, index + 1)
        wanted = low + (high - low) * (place - below)
        # One grey level on both sides keeps the gain bounded in the blacks.
        toned = pictures * (wanted + 1 / 255) / (luma + 1 / 255)
        return ops.clip(ops.matmul(toned, ops.transpose(matrix)) + offset, 0.0, 1.0)


def luminance(picture):
    """8-bit luminance of an 8-bit picture, in all three channels."""
    luma = np.rint(picture @ np.array([0.2989, 0.5870, 0.1140])).astype(np.uint8)
    return np.repeat(luma[..., None], 3, axis=-1)


def monge_kantorovich(source, target):
    """The symmetric matrix A with A·source·A = target: optimal transport between Gaussians.

    Args:
        source: (n, n) covariance, positive definite.
        target: (n, n) covariance.

    Returns:
        (n, n) array.
    """
    root = _square_root(source)
    inverse = np.linalg.inv(root)
    return inverse @ _square_root(root @ target @ root) @ inverse


def _square_root(matrix):
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 1e-8))) @ vectors.T


def _pixels(paths):
    """(N, 3) float64 pixels in [0, 1], about 100 000, spread evenly over some of the pictures."""
    paths = some_of(paths)
    total = sum(height * width for height, width in map(picture_size, paths))
    # An odd stride does not keep hitting the same columns.
    stride = max(1, total // PIXELS) | 1
    chosen = [read_picture(path).reshape(-1, 3)[::stride] for path in paths]
    return np.concatenate(chosen) / 255.0
