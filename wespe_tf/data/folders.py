"""Folders of pictures: what is in them, and which of them are pairs."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from ..images.opening import SUFFIXES


@dataclass(frozen=True)
class DataFolders:
    """Where a data set's pictures lie.

    Attributes:
        source: folder of the phone's photos, to be enhanced.
        target: folder of good photos; not paired with `source`.
        val_source: folder of the phone's side of the validation pairs, or None.
        val_target: folder of the good side, same names, or None.
    """

    source: Path
    target: Path
    val_source: Path | None = None
    val_target: Path | None = None


def find_pictures(folder, key, skip=lambda path: False):
    """All picture files in a folder and its sub-folders, in natural order (2 before 10).

    Links to folders are followed; a folder to which several lead is looked into once.

    Args:
        folder: path.
        key: the setting it came from, for the message.
        skip: function of a picture's path, true where it is left out.

    Returns:
        List of path strings, not empty.

    Raises:
        UserError: if there is no such folder or no picture in it, or one in it cannot be read.
    """

    def refuse(error):
        raise UserError(f"{key}: {error.filename} cannot be read ({error.strerror})") from error

    if not os.path.isdir(folder):
        raise UserError(f"{key}: no folder {folder}")
    found, seen = [], {os.path.realpath(folder)}
    for parent, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        places = {os.path.realpath(os.path.join(parent, name)): name for name in sorted(folders)}
        folders[:] = [name for place, name in places.items() if place not in seen]
        seen.update(places)
        paths = [os.path.join(parent, name) for name in names if not name.startswith(".")]
        found += [path for path in paths if path.lower().endswith(SUFFIXES) and not skip(path)]
    if not found:
        raise UserError(f"{key}: no pictures ({' '.join(SUFFIXES)}) in {folder}")
    return sorted(found, key=natural_order)


def natural_order(path):
    """Sort key that compares the numbers in a path as numbers."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", str(path))]


def find_pairs(
    source,
    target,
    source_key="val_source_dir",
    target_key="val_target_dir",
    skip=lambda path: False,
):
    """Pairs of pictures in two folders: equal names below the folder, suffix aside.

    Args:
        source: folder.
        target: folder.
        source_key: the setting `source` came from, for messages.
        target_key: the setting `target` came from.
        skip: see `find_pictures`.

    Returns:
        List of (source path, target path).

    Raises:
        UserError: if a folder is missing or empty, or a picture has no partner or two.
    """
    names, others = (
        _by_name(folder, key, skip) for folder, key in ((source, source_key), (target, target_key))
    )
    for one, other, folder, key in (
        (names, others, target, target_key),
        (others, names, source, source_key),
    ):
        lonely = [name for name in one if name not in other]
        if lonely:
            raise UserError(
                f"{key}: {folder} has no partner for {one[lonely[0]]} "
                f"({len(lonely)} of {len(one)} lack one); pairs must have equal names"
            )
    return [(path, others[name]) for name, path in names.items()]


def _by_name(folder, key, skip):
    """Paths of a folder's pictures by what pairs must have in common."""
    found = {}
    for path in find_pictures(folder, key, skip):
        name = os.path.splitext(os.path.relpath(path, folder))[0]
        if name in found:
            raise UserError(f"{key}: {found[name]} and {path} cannot both be in one pair")
        found[name] = path
    return found
