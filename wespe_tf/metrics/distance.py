"""The distance between two sets of unpaired pictures, in colors and in textures."""

import numpy as np


def color_statistics(pictures: np.ndarray) -> np.ndarray:
    """Points that describe tone and color of pictures: means of 4×4 pixels.

    Args:
        pictures: (N, H, W, 3) uint8 array.

    Returns:
        (M, 3) float32 array, RGB in [0, 1].
    """
    height, width = (side // 4 * 4 for side in pictures.shape[1:3])
    blocks = pictures[:, :height, :width].reshape(len(pictures), height // 4, 4, width // 4, 4, 3)
    return blocks.mean(axis=(2, 4), dtype=np.float32).reshape(-1, 3) / 255


def texture_statistics(pictures: np.ndarray) -> np.ndarray:
    """Points that describe the texture of pictures: luminance of 7×7 pixels minus its mean.

    Args:
        pictures: (N, H, W, 3) uint8 array.

    Returns:
        (M, 49) float32 array.
    """
    gray = (pictures @ np.array([0.2989, 0.5870, 0.1140]) / 255).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(gray, (7, 7), axis=(1, 2))[:, ::4, ::4]
    points = windows.reshape(-1, 49)
    return points - points.mean(axis=1, keepdims=True)


def sliced_wasserstein(points: np.ndarray, others: np.ndarray, directions: int = 32) -> float:
    """Sliced Wasserstein-1 distance between two clouds of points.

    Both clouds are projected onto random directions. The distance is how far the projections of one
    cloud must move to become those of the other one, as a mean over the directions (Rabin et al.,
    "Wasserstein barycenter and its application to texture mixing", 2011).

    Args:
        points: (M, d) array.
        others: (K, d) array.
        directions: number of random directions, always the same ones.

    Returns:
        Distance in the points' unit, at least 0.
    """
    rng = np.random.default_rng(0)
    slices = rng.normal(size=(points.shape[1], directions))
    slices /= np.linalg.norm(slices, axis=0)
    share = (np.arange(1000) + 0.5) / 1000
    a, b = (np.quantile(cloud @ slices, share, axis=0) for cloud in (points, others))
    return float(np.mean(np.abs(a - b)))
