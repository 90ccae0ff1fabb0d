"""Color transfer: gives a photo the target's tone and color, in closed form, without training."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from .samples import PhotoSample, luminance_histogram
from .tone_curve import match_curve

OWN_SHARES = np.linspace(0.0, 0.6, 13)
RESAMPLES = 200
LEVELS = np.arange(256) / 255


class ColorTransfer:
    """Gives pictures another domain's brightness and colors without a network.

    First, a curve that matches luminance is applied to each channel. Then one affine map of RGB
    gives the pixels the target's mean and covariance (the Monge-Kantorovich map between Gaussians:
    Pitié and Kokaram, "The linear Monge-Kantorovitch linear colour mapping", 2007). Curves alone
    could not restore saturation. A full transport of colors has so many parameters that it would
    copy what the two folders happen to show.

    Each photo has its own curve. It maps a mixture of two histograms, the source domain's and (with
    weight `own_share`) the photo's, to the target's histogram. One curve for all photos would keep
    the differences in exposure among them, which may be larger than those among good photos.

    Args:
        source_histogram: (256,) luminance histogram of the source domain.
        target_histogram: (256,) luminance histogram of the target domain.
        own_share: weight of the photo's own histogram, in [0, 1].
        trust: weight of the matched curve, in [0, 1]; the rest is the weight of no change.
        matrix: (3, 3) RGB map.
        offset: (3,) vector that is added after the map.
    """

    def __init__(
        self,
        source_histogram: np.ndarray,
        target_histogram: np.ndarray,
        own_share: float,
        trust: float,
        matrix: ArrayLike,
        offset: ArrayLike,
    ) -> None:
        self.source_histogram = source_histogram / np.sum(source_histogram)
        self.target_histogram = target_histogram / np.sum(target_histogram)
        self.own_share = own_share
        self.trust = trust
        self.matrix = np.asarray(matrix, np.float64)
        self.offset = np.asarray(offset, np.float64)

    @classmethod
    def fit(cls, source: Sequence[PhotoSample], target: Sequence[PhotoSample]) -> "ColorTransfer":
        """Fits the transfer to two sets of pictures. They need not be pairs.

        Few photos say more about what they show than about the camera. So curve and matrix are
        moved towards no change, by as much as they are uncertain (`certainty`).

        A photo's contrast is the standard deviation of its luminance. With a larger `own_share`,
        the contrasts of the source photos differ less. The fit looks for the smallest share, up to
        0.6, with which they differ no more than those of the target photos. It uses half of this
        share, because few photos say little about such differences.

        Args:
            source: samples of the source domain's photos.
            target: samples of the target domain's photos.
        """
        source_histograms, target_histograms = (
            np.stack([photo.weight * luminance_histogram(photo.pixels) for photo in side])
            for side in (source, target)
        )
        domains = source_histograms.sum(axis=0), target_histograms.sum(axis=0)
        wanted = np.std([_contrast(histogram) for histogram in target_histograms])
        for share in OWN_SHARES:
            toned = cls(*domains, share, 1.0, np.eye(3), np.zeros(3))
            contrasts = [_contrast(h, toned.curve(h)) for h in source_histograms]
            if np.std(contrasts) <= wanted:
                break
        trust = certainty(_common_curve, LEVELS, source_histograms, target_histograms, domains[0])
        toned = cls(*domains, share / 2, trust, np.eye(3), np.zeros(3))
        moved = moments(
            [toned(photo.pixels, toned.curve(h)) for photo, h in zip(source, source_histograms)],
            [photo.weight for photo in source],
        )
        good = moments([p.pixels / 255.0 for p in target], [p.weight for p in target])
        trust_in_matrix = certainty(_common_matrix, np.eye(3), moved, good)
        matrix = np.eye(3) + trust_in_matrix * (_common_matrix(moved, good) - np.eye(3))
        (moved_mean, _), (good_mean, _) = pooled(moved), pooled(good)
        return cls(*domains, share / 2, trust, matrix, good_mean - matrix @ moved_mean)

    def curve(self, histogram: np.ndarray) -> np.ndarray:
        """The luminance curve of a photo.

        Args:
            histogram: (256,) counts, the photo's `luminance_histogram`.

        Returns:
            (256,) float array: luminance in [0, 1] for each 8-bit luminance.
        """
        own = histogram / np.sum(histogram)
        mixed = (1 - self.own_share) * self.source_histogram + self.own_share * own
        matched = match_curve(mixed, self.target_histogram)
        return self.trust * matched + (1 - self.trust) * LEVELS

    def __call__(self, pictures: np.ndarray, curve: np.ndarray) -> np.ndarray:
        """Transfers a photo or a part of it.

        Args:
            pictures: (..., 3) uint8 array.
            curve: (256,) array, the whole photo's `curve`.

        Returns:
            float32 array in [0, 1] of the same shape.
        """
        moved = curve[pictures] @ self.matrix.T + self.offset
        return np.clip(moved, 0.0, 1.0).astype(np.float32)


def monge_kantorovich(source: np.ndarray, target: np.ndarray) -> np.ndarray:
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


def moments(photos: list[np.ndarray], weights: list[float]) -> np.ndarray:
    """Mean and second moment of each photo's pixels, times the number of pixels.

    Args:
        photos: list of n arrays (N, 3).
        weights: for each photo, how often each of its pixels counts.

    Returns:
        (n, 4, 4) array: sums over pixels of the outer product of (R, G, B, 1) with itself.
    """
    homogeneous = (np.concatenate([p, np.ones((len(p), 1))], axis=1) for p in photos)
    return np.stack([weight * h.T @ h for h, weight in zip(homogeneous, weights)])


def pooled(photo_moments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (3,) and covariance (3, 3) of all pixels, from the photos' `moments`."""
    total = photo_moments.sum(axis=0)
    total = total / total[3, 3]
    mean = total[:3, 3]
    return mean, total[:3, :3] - np.outer(mean, mean)


def certainty(
    estimate: Callable[[np.ndarray, np.ndarray], np.ndarray],
    neutral: np.ndarray | float,
    source: np.ndarray,
    target: np.ndarray,
    weights: np.ndarray | float = 1.0,
) -> float:
    """How far a map that was estimated from some photos can be trusted for other photos.

    This is James and Stein's shrinkage towards no change. It measures the spread of the map by
    drawing the photos of both sides again and again, with replacement.

    Args:
        estimate: function that returns the map from `source` and `target`.
        neutral: the map that changes nothing.
        source: (n, …) array, statistics of each source photo.
        target: (m, …) array, statistics of each target photo.
        weights: weights of the map's elements in squared distances.

    Returns:
        Share in [0, 1]: 0 if the map's distance from no change is no larger than its spread, or if
        a side has a single photo, which does not show how much photos differ.
    """
    if min(len(source), len(target)) < 2:
        return 0.0
    rng = np.random.default_rng(0)
    best = estimate(source, target)

    def drawn_again(side: np.ndarray) -> np.ndarray:
        return side[rng.integers(0, len(side), len(side))]

    spread = np.mean(
        [
            np.sum(weights * (estimate(drawn_again(source), drawn_again(target)) - best) ** 2)
            for _ in range(RESAMPLES)
        ]
    )
    distance = np.sum(weights * (best - neutral) ** 2)
    return float(max(0.0, 1.0 - spread / max(distance, 1e-12)))


def _common_curve(source_histograms: np.ndarray, target_histograms: np.ndarray) -> np.ndarray:
    """The luminance curve between all photos of the two sides, (256,)."""
    return match_curve(source_histograms.sum(axis=0), target_histograms.sum(axis=0))


def _common_matrix(source_moments: np.ndarray, target_moments: np.ndarray) -> np.ndarray:
    """The color map between all photos of the two sides, (3, 3)."""
    return monge_kantorovich(pooled(source_moments)[1], pooled(target_moments)[1])


def _square_root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 1e-8))) @ vectors.T


def _contrast(histogram: np.ndarray, curve: np.ndarray | None = None) -> float:
    """Standard deviation of a photo's luminance, after a curve if one is given."""
    values = LEVELS if curve is None else curve
    mean = np.average(values, weights=histogram)
    return np.sqrt(np.average(np.square(values - mean), weights=histogram))
