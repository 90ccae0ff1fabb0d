"""Color transfer: a closed-form guess at the target's tone and color."""

import numpy as np

from .images import picture_size, read_picture
from .tone import match_curve, some_of

PIXELS = 100_000
LUMA = np.array([0.2989, 0.5870, 0.1140])
OWN_SHARES = np.linspace(0.0, 0.6, 13)


class ColorTransfer:
    """Brings pictures to another domain's brightness and colors without a network.

    A curve on luminance scales all three channels of a pixel alike; one affine map of RGB then
    gives the pixels the target's mean and covariance (the Monge-Kantorovich map between Gaussians:
    Pitié and Kokaram, "The linear Monge-Kantorovitch linear colour mapping", 2007). Unlike a curve
    per channel it can restore saturation; unlike a full transport of colors it has too few
    parameters to copy what the two folders happen to show.

    The curve is a photo's own: it matches a mixture of the source domain's histogram and, with
    weight `own_share`, the photo's to the target's histogram. Good photos may be exposed more
    alike than the phone's; a curve for all would keep the spread.

    Args:
        source_histogram: (256,) luminance histogram of the source domain.
        target_histogram: (256,) of the target domain.
        own_share: weight of the photo's own histogram, in [0, 1].
        matrix: (3, 3) RGB map.
        offset: (3,) added after it.
    """

    def __init__(self, source_histogram, target_histogram, own_share, matrix, offset):
        self.source_histogram = source_histogram / np.sum(source_histogram)
        self.target_histogram = target_histogram / np.sum(target_histogram)
        self.own_share = own_share
        self.matrix = np.asarray(matrix, np.float64)
        self.offset = np.asarray(offset, np.float64)

    @classmethod
    def fit(cls, source_paths, target_paths):
        """The transfer between two sets of pictures that need not be pairs.

        `own_share` is half the smallest with which the source photos' contrasts (deviations of
        luminance) spread no more than the target photos': half, because few photos tell little
        about a spread. It is 0 where they spread no more to begin with.

        Args:
            source_paths: picture files of the source domain.
            target_paths: of the target domain.

        Returns:
            A `ColorTransfer`.
        """
        source, target = _sample(source_paths), _sample(target_paths)
        source_histograms, target_histograms = (
            np.stack([luminance_histogram(pixels) for pixels in side]) for side in (source, target)
        )
        domains = source_histograms.sum(axis=0), target_histograms.sum(axis=0)
        wanted = np.std([_contrast(histogram) for histogram in target_histograms])
        for share in OWN_SHARES:
            toned = cls(*domains, share, np.eye(3), np.zeros(3))
            contrasts = [_contrast(h, toned.curve(h)) for h in source_histograms]
            if np.std(contrasts) <= wanted:
                break
        toned = cls(*domains, share / 2, np.eye(3), np.zeros(3))
        moved = np.concatenate(
            [toned(pixels, toned.curve(h)) for pixels, h in zip(source, source_histograms)]
        )
        good = np.concatenate(target) / 255.0
        matrix = monge_kantorovich(np.cov(moved.T), np.cov(good.T))
        offset = good.mean(axis=0) - matrix @ moved.mean(axis=0)
        return cls(*domains, share / 2, matrix, offset)

    def curve(self, histogram):
        """The luminance curve of a photo.

        Args:
            histogram: (256,) counts, the photo's `luminance_histogram`.

        Returns:
            (256,) float array: luminance in [0, 1] for each 8-bit luminance.
        """
        own = histogram / np.sum(histogram)
        mixed = (1 - self.own_share) * self.source_histogram + self.own_share * own
        return match_curve(mixed, self.target_histogram)

    def __call__(self, pictures, curve):
        """Transfers a photo or a part of it.

        Args:
            pictures: (..., 3) uint8 array.
            curve: (256,) array, the whole photo's `curve`.

        Returns:
            float32 array in [0, 1] of the same shape.
        """
        index = luminance(pictures)
        # One grey level on both sides keeps the gain bounded in the blacks.
        gain = (curve[index] * 255 + 1) / (index + 1.0)
        toned = pictures / 255.0 * gain[..., None]
        return np.clip(toned @ self.matrix.T + self.offset, 0.0, 1.0).astype(np.float32)


def luminance(pictures):
    """Luminance of 8-bit pictures, (..., 3) uint8 → (...) uint8."""
    return np.rint(pictures @ LUMA).astype(np.uint8)


def luminance_histogram(pictures):
    """Counts of the 256 luminances of 8-bit pictures, (256,)."""
    return np.bincount(luminance(pictures).ravel(), minlength=256)


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


def _contrast(histogram, curve=None):
    """Standard deviation of a photo's luminance, after a curve if one is given."""
    values = np.arange(256) / 255 if curve is None else curve
    mean = np.average(values, weights=histogram)
    return np.sqrt(np.average(np.square(values - mean), weights=histogram))


def _sample(paths):
    """List of (N, 3) uint8 pixels, one array a picture, about 100 000 pixels of all together."""
    paths = some_of(paths)
    total = sum(height * width for height, width in map(picture_size, paths))
    # An odd stride does not keep hitting the same columns.
    stride = max(1, total // PIXELS) | 1
    # Copies: a view would keep its whole photo in memory.
    return [read_picture(path).reshape(-1, 3)[::stride].copy() for path in paths]
