"""Places all over a photo, and the patches there. Together they stand for the whole photo."""

import numpy as np


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
    return np.stack([square_at(photo, place, side) for place in places])


def square_at(photo: np.ndarray, place: np.ndarray, side: int) -> np.ndarray:
    """A view of the square at one place of a photo, which is at least as large as the square."""
    top, left = (place * (np.array(photo.shape[:2]) - side + 1)).astype(int)
    return photo[top : top + side, left : left + side]


def at_least(photo: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A photo. If it is smaller than a (height, width), its mirror image continues it."""
    missing = [max(0, wanted - there) for wanted, there in zip(shape, photo.shape[:2])]
    if not any(missing):
        return photo
    return np.pad(photo, [*((0, length) for length in missing), (0, 0)], mode="symmetric")
