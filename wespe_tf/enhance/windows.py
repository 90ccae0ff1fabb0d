"""How a photo is covered with tiles."""

import dataclasses

import numpy as np


def spans(length: int, window: int, margin: int) -> list[tuple[int, int, int]]:
    """Places of overlapping windows along one side, and what each answers for.

    Args:
        length: of the side, at least `window`.
        window: length of the windows, more than twice the margin.
        margin: pixels at a window's ends that only its neighbor gets right; at the ends of the
            side itself none are lost.

    Returns:
        List of (start of the window, first pixel it answers for, the one after its last).
    """
    found, done = [], 0
    while done < length:
        start = min(max(done - margin, 0), length - window)
        end = length if start + window == length else start + window - margin
        found.append((start, done, end))
        done = end
    return found


# Windows' sides are multiples of this, pixels: vector units waste a third of their time on others.
STEP = 16


@dataclasses.dataclass(frozen=True)
class Window:
    """A tile: the `inner` part of the picture that it answers for, and the `outer` it looks at.

    Attributes:
        outer: (top, left), of a window of the tiling's size.
        inner: (top, bottom, left, right) in the picture.
    """

    outer: tuple[int, int]
    inner: tuple[int, int, int, int]

    def cut(self) -> tuple[slice, slice]:
        """Slices of the inner part within the outer window."""
        top, bottom, left, right = self.inner
        above, beside = self.outer
        return slice(top - above, bottom - above), slice(left - beside, right - beside)


def window_shape(height: int, width: int, side: int, margin: int) -> tuple[int, int]:
    """Size of the windows for a picture: as few as there must be, and then as small as can be.

    Args:
        height: of the picture.
        width: of the picture.
        side: of what a window answers for at most, pixels.
        margin: around that.

    Returns:
        (height, width).
    """
    return _window_length(height, side, margin), _window_length(width, side, margin)


def _window_length(length: int, side: int, margin: int) -> int:
    count = -(-length // side)
    needed = -(-length // count) + 2 * margin
    return min(-(-needed // STEP) * STEP, length)


def windows(height: int, width: int, shape: tuple[int, int], margin: int) -> list[Window]:
    """Windows of one size that together answer for every pixel of a picture once.

    Args:
        height: of the picture.
        width: of the picture.
        shape: (height, width) of the windows, no larger than the picture, and larger than twice
            the margin where it is smaller.
        margin: that a window has at least around what it answers for, but at the picture's edges.
    """
    return [
        Window((above, beside), (top, bottom, left, right))
        for above, top, bottom in spans(height, shape[0], margin)
        for beside, left, right in spans(width, shape[1], margin)
    ]


# Patches that stand for a photo: their side, how many are looked at at once, and how often. Many
# small ones tell more of a photo than few large ones, or than a smaller copy. Each batch is spread
# over the whole photo and normalized by its own statistics; errors of the batches average out.
PATCH, BATCH, BATCHES = 48, 32, 14


def spread(count: int) -> np.ndarray:
    """Places all over a photo, for patches that stand for all of it.

    The Halton sequence of the bases 2 and 3: wherever it ends, its places are spread evenly.

    Args:
        count: of places.

    Returns:
        (count, 2) float64 array in [0, 1): how far down and how far to the right.
    """
    # Loading scipy.stats takes more than half a second; most commands do without it.
    from scipy.stats import qmc

    return qmc.Halton(2, scramble=False).random(count)
