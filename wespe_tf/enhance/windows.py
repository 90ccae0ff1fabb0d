"""Covers a photo with tiles."""

import dataclasses

import numpy as np


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


# Patches that stand for a photo: their side, the number in a batch, and the number of batches. Many
# small patches represent a photo better than few large ones or a smaller copy. Each batch is spread
# over the whole photo and normalized by its own statistics. Errors of the batches average out.
PATCH, BATCH, BATCHES = 48, 32, 14


def spread(count: int) -> np.ndarray:
    """Places all over a photo, for patches that stand for the whole photo.

    They are the Halton sequence of the bases 2 and 3, which is evenly spread at any length.

    Args:
        count: number of places.

    Returns:
        (count, 2) float64 array in [0, 1): how far down and how far to the right.
    """
    # Loading scipy.stats takes more than half a second; most commands do without it.
    from scipy.stats import qmc

    return qmc.Halton(2, scramble=False).random(count)


def patches_at(photo: np.ndarray, places: np.ndarray, side: int) -> np.ndarray:
    """Square patches of a photo. A photo that is smaller than a patch is mirrored at its edges.

    Args:
        photo: (H, W, 3) array.
        places: (count, 2) array in [0, 1), as of `spread`.
        side: side of the patches, in pixels.

    Returns:
        (count, side, side, 3) array of the photo's dtype.
    """
    photo = at_least(photo, (side, side))
    corners = (places * (np.array(photo.shape[:2]) - side + 1)).astype(int)
    return np.stack([photo[y : y + side, x : x + side] for y, x in corners])


def at_least(photo: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A photo. If it is smaller than a (height, width), its mirror image continues it."""
    missing = [max(0, wanted - there) for wanted, there in zip(shape, photo.shape[:2])]
    if not any(missing):
        return photo
    return np.pad(photo, [*((0, length) for length in missing), (0, 0)], mode="symmetric")
