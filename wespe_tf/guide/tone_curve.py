"""Histogram matching: the unpaired baseline that any training must beat."""

import numpy as np
from numpy.typing import ArrayLike


class ToneCurve:
    """One curve per channel that maps 8-bit values to [0, 1].

    Args:
        curve: (3, 256) float array in [0, 1].
    """

    def __init__(self, curve: ArrayLike) -> None:
        self.curve = np.asarray(curve, np.float32)

    @classmethod
    def match(cls, source_histogram: np.ndarray, target_histogram: np.ndarray) -> "ToneCurve":
        """The curves that give each channel of the source domain the target's histogram.

        Args:
            source_histogram: (3, 256) counts.
            target_histogram: (3, 256) counts.
        """
        return cls([match_curve(*pair) for pair in zip(source_histogram, target_histogram)])

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        """Applies the curve.

        Args:
            pictures: (..., 3) uint8 array.

        Returns:
            float32 array in [0, 1] of the same shape.
        """
        return np.stack([self.curve[c][pictures[..., c]] for c in range(3)], axis=-1)


def match_curve(source_counts: np.ndarray, target_counts: np.ndarray) -> np.ndarray:
    """The increasing curve that gives one histogram the shape of another.

    It maps a value to the target value that has the same share of pixels below it. Half of the
    pixels that have a value count as below this value.

    Args:
        source_counts: (256,) array.
        target_counts: (256,) array.

    Returns:
        (256,) float array in [0, 1].
    """
    below_source, below_target = (
        (np.cumsum(counts) - counts / 2) / np.sum(counts)
        for counts in (source_counts, target_counts)
    )
    present = np.flatnonzero(target_counts)
    return np.interp(below_source, below_target[present], present / 255)
