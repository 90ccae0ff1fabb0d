"""Crops for evaluation. They stay the same during a run."""

from collections.abc import Callable, Sequence

import numpy as np

from ..errors import UserError
from ..images.picture import picture_size, read_picture
from ..images.places import patches_at, spread, square_at

SMALLEST_CROP = 11


def fixed_crops(
    pairs: Sequence[Sequence[str]],
    count: int,
    size: int,
    seed: int = 0,
    read: Callable[[str], np.ndarray] | None = None,
    context: int = 0,
) -> tuple[np.ndarray, ...]:
    """Random crops of picture pairs, the same with every call.

    Args:
        pairs: list of tuples of paths; the pictures of a tuple show the same scene.
        count: number of crops.
        size: side of the crops in pixels; smaller if a picture is smaller.
        seed: seed of the choice.
        read: function that reads a path; by default `read_picture`.
        context: how many more crops belong to each crop of the pairs' first pictures. They are
            spread over its photo.

    Returns:
        Tuple of (count, s, s, 3) uint8 arrays, one for each member of a pair; s ≤ size. With a
        context, also its (count, context, s, s, 3) uint8 array.

    Raises:
        UserError: if the pictures of a pair differ in size, or are smaller than SSIM's window.
    """
    rng = np.random.default_rng(seed)
    chosen = rng.integers(0, len(pairs), count)
    positions = rng.random((count, 2))
    sizes = {index: _size_of_pair(pairs[index]) for index in sorted(set(chosen.tolist()))}
    size = min(size, *(side for sides in sizes.values() for side in sides))
    crops: list[list[np.ndarray]] = [[] for _ in range(count)]
    for index in sizes:
        # One pair at a time, and only copies of the crops: 64 pairs of large photos are gigabytes.
        photos = [(read or read_picture)(path) for path in pairs[index]]
        if context:
            around = patches_at(photos[0], spread(context), size)
        for k in np.flatnonzero(chosen == index).tolist():
            crops[k] = [square_at(photo, positions[k], size).copy() for photo in photos]
            if context:
                crops[k].append(around)
    return tuple(np.stack(side) for side in zip(*crops))


def _size_of_pair(paths: Sequence[str]) -> tuple[int, int]:
    """Height and width that the pictures of a pair have in common."""
    first, *others = (picture_size(path) for path in paths)
    for path, other in zip(paths[1:], others):
        if other != first:
            raise UserError(
                f"{path}: {other[1]}×{other[0]} pixels, but its partner {paths[0]} has "
                f"{first[1]}×{first[0]}"
            )
    if min(first) < SMALLEST_CROP:
        raise UserError(
            f"{paths[0]}: {first[1]}×{first[0]} pixels; validation needs {SMALLEST_CROP} a side"
        )
    return first
