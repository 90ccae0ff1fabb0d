"""Histogram matching: the unpaired baseline that any training must beat."""

import numpy as np

from .images import read_picture

MAX_FILES = 200


class ToneCurve:
    """One curve per channel that maps 8-bit values to [0, 1].

    Args:
        curve: (3, 256) float array in [0, 1].
    """

    def __init__(self, curve):
        self.curve = np.asarray(curve, np.float32)

    @classmethod
    def match(cls, source_histogram, target_histogram):
        """The increasing curve that gives `source_histogram` the shape of `target_histogram`.

        A value goes where the same share of target pixels lies below it; the pixels of one value
        count half as below themselves.

        Args:
            source_histogram: (3, 256) counts.
            target_histogram: (3, 256) counts.
        """
        curve = np.empty((3, 256))
        for c in range(3):
            below_source, below_target = (
                (np.cumsum(counts) - counts / 2) / np.sum(counts)
                for counts in (source_histogram[c], target_histogram[c])
            )
            present = np.flatnonzero(target_histogram[c])
            curve[c] = np.interp(below_source, below_target[present], present / 255)
        return cls(curve)

    def __call__(self, pictures):
        """Applies the curve.

        Args:
            pictures: (..., 3) uint8 array.

        Returns:
            float32 array in [0, 1] of the same shape.
        """
        return np.stack([self.curve[c][pictures[..., c]] for c in range(3)], axis=-1)


def histogram(paths, view=None):
    """Histogram of each channel over pictures, or over 200 of them if there are more.

    Args:
        paths: readable picture files.
        view: function from an (H, W, 3) uint8 picture to what is counted; by default itself.

    Returns:
        (3, 256) int64 array.
    """
    counts = np.zeros((3, 256), np.int64)
    for path in some_of(paths):
        picture = read_picture(path)
        if view is not None:
            picture = view(picture)
        for c in range(3):
            counts[c] += np.bincount(picture[..., c].ravel(), minlength=256)
    return counts


def some_of(paths, seed=0):
    """The paths, or 200 of them drawn by `seed`: enough for a domain's statistics."""
    if len(paths) <= MAX_FILES:
        return list(paths)
    chosen = np.random.default_rng(seed).choice(len(paths), MAX_FILES, replace=False)
    return [paths[i] for i in sorted(chosen)]
