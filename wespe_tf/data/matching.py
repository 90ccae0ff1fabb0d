"""Proposes photos of two cameras that may show the same scene: by names, by time, by looks.

Afterwards, `registration` decides whether two photos really show the same scene.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TypeVar

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from .registration import Features, agreeing, matching_points, register

# When every photo is compared with every other, only this many of the strongest features are.
FEW = 300
# Fewer matching features than this also occur between photos of different scenes.
FEWEST_ALIKE = 16
# How many of the most similar photos are examined more closely, for each photo.
CANDIDATES = 3

Item = TypeVar("Item")
Progress = Callable[[Iterable[Item]], Iterable[Item]]
Pair = tuple[int, int]


def by_names(phone: Sequence[str], camera: Sequence[str]) -> list[Pair]:
    """Pairs of photos with equal names. Folders and suffixes do not count.

    Args:
        phone: paths of the phone's photos.
        camera: paths of the camera's photos.

    Returns:
        Indices of the pairs. A name that occurs twice on one side makes no pair.
    """
    sides = [_only(paths) for paths in (phone, camera)]
    return [(index, sides[1][name]) for name, index in sides[0].items() if name in sides[1]]


def _only(paths: Sequence[str]) -> dict[str, int]:
    """Index by name, for the names that occur only once."""
    names = [os.path.splitext(os.path.basename(path))[0].lower() for path in paths]
    return {name: index for index, name in enumerate(names) if names.count(name) == 1}


def by_time(
    phone: Sequence[datetime | None], camera: Sequence[datetime | None], tolerance: float
) -> tuple[float, list[Pair]]:
    """Pairs that were taken at the same moment. The clocks differ by an unknown offset.

    The offset is the one that pairs most photos.

    Args:
        phone: times of the phone's photos; None if unknown.
        camera: times of the camera's photos; None if unknown.
        tolerance: largest time between the photos of a pair after the offset, in seconds.

    Returns:
        The offset in seconds, by which the camera's clock is ahead, and indices of the pairs. No
        photo is in two pairs.
    """
    sides = [
        [(time.timestamp(), index) for index, time in enumerate(times) if time is not None]
        for times in (phone, camera)
    ]
    if not all(sides):
        return 0.0, []
    seconds = [np.array([second for second, _ in side]) for side in sides]
    offsets = np.sort((seconds[1][None, :] - seconds[0][:, None]).ravel())
    # The middle of a span of twice the tolerance is an offset that pairs all photos in the span.
    counts = np.searchsorted(offsets, offsets + 2 * tolerance, "right") - np.arange(len(offsets))
    best = np.flatnonzero(counts == counts.max())
    start = offsets[best[np.argmin(np.abs(offsets[best]))]]
    offset = float(np.median(offsets[(start <= offsets) & (offsets <= start + 2 * tolerance)]))
    apart = [(abs(there - here - offset), i, j) for here, i in sides[0] for there, j in sides[1]]
    return offset, one_to_one((i, j) for gap, i, j in sorted(apart) if gap <= tolerance)


def by_looks(
    phone: Sequence[Features | None], camera: Sequence[Features | None], progress: Progress
) -> list[Pair]:
    """Pairs that look alike, the most alike first.

    Args:
        phone: features of the phone's photos; None for photos that are left out.
        camera: features of the camera's photos, in the same way.
        progress: function that wraps an iterable to show its progress.

    Returns:
        Indices of candidates; a photo may be in several.
    """
    found = []
    for i in progress(range(len(phone))):
        if phone[i] is None:
            continue
        alike = [
            (len(matching_points(phone[i], other, FEW)), i, j)
            for j, other in enumerate(camera)
            if other is not None
        ]
        found += sorted(alike, reverse=True)[:CANDIDATES]
    return [(i, j) for count, i, j in sorted(found, reverse=True) if count >= FEWEST_ALIKE]


def one_to_one(pairs: Iterable[Pair]) -> list[Pair]:
    """Drops each pair that shares a member with an earlier pair that stays."""
    kept, left, right = [], set(), set()
    for i, j in pairs:
        if i not in left and j not in right:
            kept.append((i, j))
            left.add(i)
            right.add(j)
    return kept


def scenes(features: Sequence[Features], least: int, progress: Progress) -> np.ndarray:
    """Finds which photos show one scene: photos that register, directly or through other photos.

    Args:
        features: features of the photos.
        least: fewest points that must agree if two photos show the same scene.
        progress: function that wraps an iterable to show its progress.

    Returns:
        (N,) int array: each photo's scene, counted from 0 in the order of the photos.
    """
    same = [
        (i, j)
        for i in progress(range(len(features)))
        for j in range(i)
        if len(matching_points(features[i], features[j], FEW)) >= FEWEST_ALIKE
        and agreeing(register(features[i], features[j])) >= least
    ]
    rows, columns = np.array(same, int).reshape(-1, 2).T
    graph = coo_array((np.ones(len(rows)), (rows, columns)), shape=2 * (len(features),))
    return connected_components(graph, directed=False)[1]
