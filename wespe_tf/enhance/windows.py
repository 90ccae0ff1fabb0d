"""How a photo is covered with tiles."""

import dataclasses

import numpy as np
from scipy.stats import qmc


def spans(length, window, margin):
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


@dataclasses.dataclass
class Window:
    """A tile: the `inner` part of the picture that it answers for, and the `outer` it looks at.

    Attributes:
        outer: (top, left), of a window of the tiling's size.
        inner: (top, bottom, left, right) in the picture.
    """

    outer: tuple
    inner: tuple

    def cut(self):
        """Slices of the inner part within the outer window."""
        top, bottom, left, right = self.inner
        above, beside = self.outer
        return slice(top - above, bottom - above), slice(left - beside, right - beside)


def windows(height, width, side, margin):
    """Tiles of a picture, all of one size, that together answer for every pixel once.

    As few as there must be, and then as small as they can be.

    Args:
        height: of the picture.
        width: of the picture.
        side: of the inner parts at most, pixels.
        margin: that an outer window has at least around its inner part, but at the picture's edges.

    Returns:
        (outer height, outer width), list of `Window`.
    """
    tall, wide = (-(-length // -(-length // side)) for length in (height, width))
    outer_height, outer_width = (
        min(-(-(inner + 2 * margin) // STEP) * STEP, length)
        for inner, length in ((tall, height), (wide, width))
    )
    found = []
    for top in range(0, height, tall):
        for left in range(0, width, wide):
            bottom, right = min(top + tall, height), min(left + wide, width)
            above = min(max(top - margin, 0), height - outer_height)
            beside = min(max(left - margin, 0), width - outer_width)
            found.append(Window((above, beside), (top, bottom, left, right)))
    return (outer_height, outer_width), found


def spread(count: int) -> np.ndarray:
    """Places all over a photo, for patches that stand for all of it.

    The Halton sequence of the bases 2 and 3: wherever it ends, its places are spread evenly.

    Args:
        count: of places.

    Returns:
        (count, 2) float64 array in [0, 1): how far down and how far to the right.
    """
    return qmc.Halton(2, scramble=False).random(count)
