"""Findings in folders of photos: faults that must be mended, and facts that are worth knowing."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..images import raw
from ..images.opening import SUFFIXES, is_picture
from .dped import PHONES, dped_folders
from .folders import find_pictures, walk
from .inspection import Inspected
from .pages import count

# Photos are alike if at most this many of 256 bits differ. Copies in another size, format or
# brightness differ in fewer bits, photos of different scenes in about 110.
ALIKE = 40
# The smallest number of photos in a folder with which the recipe was measured.
FEW = 10
# Formats of photos. If a file of one of them cannot be read here, it must be converted first.
OF_PHOTOS = (*SUFFIXES, *raw.SUFFIXES, ".gif")


@dataclass(frozen=True)
class Finding:
    """Something found.

    Attributes:
        what: one line, without the files.
        files: (path, fault) of each file; the fault may be empty.
        mend: whether it must be mended before training.
    """

    what: str
    files: tuple[tuple[str, str], ...] = ()
    mend: bool = True


def find_in_folder(
    folder: str, photos: Sequence[Inspected], patch_size: int, is_source: bool
) -> list[Finding]:
    """The findings in one folder.

    Args:
        folder: path.
        photos: all photos in it.
        patch_size: smallest side of a photo that is large enough, in pixels.
        is_source: whether it holds the phone's photos. These must not be edited, good photos may.
    """
    whole = [photo for photo in photos if not photo.broken]
    cameras = Counter(photo.shot.camera for photo in whole if photo.shot.camera)
    small = [photo for photo in whole if min(photo.size) < patch_size]
    others = sorted(
        path
        for path in walk(folder)
        if Path(path).suffix.lower() in OF_PHOTOS and os.path.isfile(path) and not is_picture(path)
    )
    exact = _groups(whole, 0)
    near = [group for group in _groups(whole, ALIKE) if len({one.digest for one in group}) > 1]
    found = [
        _listed("broken", [(one.path, one.broken) for one in photos if one.broken]),
        _listed(
            f"smaller than {patch_size} pixels",
            [(one.path, f"{one.size[1]}×{one.size[0]}") for one in small],
        ),
        _listed("in a format that is not read: convert them", [(path, "") for path in others]),
        _listed("the same file again", _copies(exact)),
        _listed("screenshots", [(one.path, one.screenshot) for one in whole if one.screenshot]),
        _listed(
            "edited or enhanced already" + ("" if is_source else ", as good photos may be"),
            [(one.path, one.edited) for one in whole if one.edited],
            mend=is_source,
        ),
        _listed("near duplicates", _copies(near), mend=False),
    ]
    if is_source and len(cameras) > 1:
        names = ", ".join(f"{name} ({number})" for name, number in cameras.most_common())
        found.append(
            Finding(f"{len(cameras)} cameras: {names}; a network learns one best", (), False)
        )
    if len(whole) < FEW:
        found.append(
            Finding(f"{count(len(whole), 'photo')}; the recipe was measured with {FEW}", (), False)
        )
    return [finding for finding in found if finding is not None]


def find_between(one: Sequence[Inspected], other: Sequence[Inspected]) -> list[Finding]:
    """Photos of one folder that are also in another one, identical or nearly so."""
    sides = [[photo for photo in side if not photo.broken] for side in (one, other)]
    if not all(sides):
        return []
    apart = _bits_apart(*sides)
    files = [
        (sides[0][i].path, f"like {sides[1][j].path}")
        for i, j in enumerate(apart.argmin(axis=1))
        if apart[i, j] <= ALIKE
    ]
    found = _listed("in both folders, which must not show the same photos", files)
    return [] if found is None else [found]


def find_in_dped(dped_dir: str) -> list[Finding]:
    """Checks whether a folder with DPED's layout is complete, phone by phone.

    Raises:
        UserError: if it has no phone's folder.
    """
    root = Path(dped_dir)
    phones = sorted(path.parent.name for path in root.glob("*/training_data") if path.is_dir())
    if not phones:
        raise UserError(f"dped_dir={dped_dir}: no folder <phone>/training_data in it")
    found = [Finding(f"no {phone}", (), False) for phone in PHONES if phone not in phones]
    return found + [finding for phone in phones for finding in _find_in_phone(dped_dir, phone)]


def _find_in_phone(dped_dir: str, phone: str) -> list[Finding]:
    folders = dped_folders(dped_dir, phone)
    found = []
    parts = {"training": (folders.source, folders.target)}
    if folders.val_source is None or folders.val_target is None:
        found.append(Finding(f"{phone}: no folder test_data/patches; a run cannot be scored"))
    else:
        parts["test"] = (folders.val_source, folders.val_target)
    for part, sides in parts.items():
        names = []
        for folder in sides:
            try:
                paths = find_pictures(folder, "dped_dir")
            except UserError as error:
                found.append(Finding(f"{phone}: {error}"))
                paths = []
            names.append({Path(path).stem: path for path in paths})
        lonely = [(path, "") for name, path in names[0].items() if name not in names[1]]
        lonely += [(path, "") for name, path in names[1].items() if name not in names[0]]
        if lonely:
            found.append(
                Finding(
                    f"{phone}: {count(len(lonely), f'{part} patch')} without a partner",
                    tuple(lonely),
                )
            )
        pairs = len(set(names[0]) & set(names[1]))
        numbers = sorted(int(name) for name in names[0] if name.isdecimal())
        missing = numbers[-1] + 1 - len(numbers) if numbers else 0
        found.append(Finding(f"{phone}: {count(pairs, f'{part} pair')}", (), False))
        if missing:
            found.append(
                Finding(f"{phone}: {missing} numbers below {numbers[-1]} are missing in {part}")
            )
    photos = Path(dped_dir) / phone / "test_data" / "full_size_test_images"
    if not photos.is_dir():
        found.append(
            Finding(f"{phone}: no full_size_test_images; only test_model.py needs them", (), False)
        )
    return found


def _listed(what: str, files: Sequence[tuple[str, str]], mend: bool = True) -> Finding | None:
    """A finding about files; None if there are no files."""
    return Finding(f"{len(files)} {what}", tuple(files), mend) if files else None


def _groups(photos: Sequence[Inspected], limit: int) -> list[list[Inspected]]:
    """Groups of photos that are alike: equal files, or at most `limit` bits that differ."""
    left, groups = list(range(len(photos))), []
    apart = _bits_apart(photos, photos) if limit and photos else np.empty((0, 0))
    while left:
        first = left[0]
        group = [
            k
            for k in left
            if k == first
            or photos[k].digest == photos[first].digest
            or (limit and apart[first, k] <= limit)
        ]
        left = [k for k in left if k not in group]
        if len(group) > 1:
            groups.append([photos[k] for k in group])
    return groups


def _bits_apart(photos: Sequence[Inspected], others: Sequence[Inspected]) -> np.ndarray:
    """How many bits of the perceptual hashes differ, (N, M) uint16."""
    hashes = np.stack([one.hash for one in others])
    rows = [np.bitwise_count(one.hash ^ hashes).sum(axis=1, dtype=np.uint16) for one in photos]
    return np.stack(rows)


def _copies(groups: list[list[Inspected]]) -> list[tuple[str, str]]:
    return [
        (copy.path, f"like {os.path.basename(group[0].path)}")
        for group in groups
        for copy in group[1:]
    ]
