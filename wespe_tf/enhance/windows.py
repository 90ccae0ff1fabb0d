"""Covers a photo with tiles."""

import dataclasses


def spans(length: int, window: int, margin: int) -> list[tuple[int, int, int]]:
    """Places of overlapping windows along one side, and the pixels whose results each gives.

    Args:
        length: length of the side, at least `window`.
        window: length of the windows, more than twice the margin.
        margin: number of pixels at a window's ends whose results are wrong; its neighbor gives
            them. At the ends of the side itself, all results are right.

    Returns:
        List of (start of the window, first pixel that it gives, pixel after the last one).
    """
    found, done = [], 0
    while done < length:
        start = min(max(done - margin, 0), length - window)
        end = length if start + window == length else start + window - margin
        found.append((start, done, end))
        done = end
    return found


# Windows' sides are multiples of this, in pixels. Others would waste a third of vector units' time.
STEP = 16


@dataclasses.dataclass(frozen=True)
class Window:
    """A tile: the network sees the outer window, and gives the result for the inner part.

    Attributes:
        outer: (top, left) of the outer window. All outer windows have the same size.
        inner: (top, bottom, left, right) of the inner part, in the picture.
    """

    outer: tuple[int, int]
    inner: tuple[int, int, int, int]

    def cut(self) -> tuple[slice, slice]:
        """Slices of the inner part within the outer window."""
        top, bottom, left, right = self.inner
        above, beside = self.outer
        return slice(top - above, bottom - above), slice(left - beside, right - beside)


def window_shape(height: int, width: int, side: int, margin: int) -> tuple[int, int]:
    """Size of the outer windows for a picture: as few as possible, and then as small as possible.

    Args:
        height: height of the picture.
        width: width of the picture.
        side: largest side of an inner part, in pixels.
        margin: width of the margin around an inner part.

    Returns:
        (height, width).
    """
    return _window_length(height, side, margin), _window_length(width, side, margin)


def _window_length(length: int, side: int, margin: int) -> int:
    count = -(-length // side)
    needed = -(-length // count) + 2 * margin
    return min(-(-needed // STEP) * STEP, length)


def windows(height: int, width: int, shape: tuple[int, int], margin: int) -> list[Window]:
    """Windows of one size whose inner parts cover every pixel of a picture once.

    Args:
        height: height of the picture.
        width: width of the picture.
        shape: (height, width) of the outer windows. Each is the picture's, or smaller but more than
            twice the margin.
        margin: smallest margin around an inner part, except at the picture's edges.
    """
    return [
        Window((above, beside), (top, bottom, left, right))
        for above, top, bottom in spans(height, shape[0], margin)
        for beside, left, right in spans(width, shape[1], margin)
    ]
