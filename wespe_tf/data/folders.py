"""Folders of pictures: which pictures are in them, and which of these are pairs."""

import collections
import logging
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from ..images import raw
from ..images.opening import SUFFIXES, is_picture

log = logging.getLogger("wespe_tf")


@dataclass(frozen=True)
class DataFolders:
    """The folders of a data set.

    Attributes:
        source: folder of the phone's photos, to be enhanced.
        target: folder of good photos; not paired with `source`.
        val_source: folder of the validation pairs' phone photos, or None.
        val_target: folder of their good photos, with the same names, or None.
    """

    source: Path
    target: Path
    val_source: Path | None = None
    val_target: Path | None = None


def find_pictures(
    folder: str | Path, key: str, skip: Callable[[str], bool] = lambda path: False
) -> list[str]:
    """All picture files in a folder and its sub-folders, in natural order (2 before 10).

    Links to folders are followed, but no folder is read twice. Hidden files and folders are left
    out. A warning says which other files are left out.

    Args:
        folder: path.
        key: the setting that names the folder, for messages.
        skip: function of a file's path, which returns whether to leave it out.

    Returns:
        List of path strings, not empty.

    Raises:
        UserError: if there is no such folder, if it has no picture, or if a folder cannot be read.
    """
    if not os.path.isdir(folder):
        raise UserError(f"{key}: no folder {folder}")
    try:
        paths = [path for path in walk(os.fspath(folder)) if not skip(path)]
    except OSError as error:
        raise UserError(f"{key}: {error.filename} cannot be read ({error.strerror})") from error
    found = only_pictures(paths, f"{key}: {folder}")
    if not found:
        raise UserError(f"{key}: no pictures ({' '.join(SUFFIXES)}) in {folder}")
    return sorted(found, key=natural_order)


def only_pictures(paths: list[str], where: str) -> list[str]:
    """Keeps the paths that are pictures. A warning says how many are not.

    Args:
        paths: paths of files.
        where: beginning of the warning.
    """
    found = [path for path in paths if os.path.isfile(path) and is_picture(path)]
    if len(found) < len(paths):
        others = collections.Counter(
            os.path.splitext(path)[1].lower() or "no suffix" for path in set(paths) - set(found)
        )
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(5))
        count = len(paths) - len(found)
        left_out = f"{count} file{'' if count == 1 else 's'} left out, not readable as pictures"
        lacks_raw = not raw.can_be_read() and any(
            path.lower().endswith(raw.SUFFIXES) for path in set(paths) - set(found)
        )
        hint = '; raw files need pip install "wespe_tf[raw]"' if lacks_raw else ""
        log.warning("warning: %s: %s (%s)%s", where, left_out, kinds, hint)
    return found


def walk(top: str) -> Iterator[str]:
    """Paths of all files below a folder that are not hidden, and not in hidden folders."""
    folders, seen = [top], {os.path.realpath(top)}
    while folders:
        with os.scandir(folders.pop()) as entries:
            shown = sorted((e.path, e) for e in entries if not e.name.startswith("."))
        for path, entry in shown:
            if not (os.path.isdir(path) if entry.is_symlink() else entry.is_dir()):
                yield path
            elif os.path.realpath(path) not in seen:
                seen.add(os.path.realpath(path))
                folders.append(path)


def natural_order(path: str | Path) -> list:
    """Sort key that compares the numbers in a path as numbers."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", str(path))]


def find_pairs(
    source: str | Path,
    target: str | Path,
    source_key: str = "val_source_dir",
    target_key: str = "val_target_dir",
    skip: Callable[[str], bool] = lambda path: False,
) -> list[tuple[str, str]]:
    """Pairs of pictures in two folders: the same path below the folder, without the suffix.

    Args:
        source: folder.
        target: folder.
        source_key: the setting that names `source`, for messages.
        target_key: the setting that names `target`.
        skip: see `find_pictures`.

    Returns:
        List of (source path, target path).

    Raises:
        UserError: if a folder is missing or empty, or a picture has no partner, or several.
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
                f"{key}: {folder} has no partner for {one[lonely[0]][0]} "
                f"({len(lonely)} of {len(one)} lack one); pairs must have equal names"
            )
    pairs: list[tuple[str, str]] = []
    for name, paths in names.items():
        if len(paths) == len(others[name]) == 1:
            pairs += zip(paths, others[name])
            continue
        # If several files have one name, those with equal suffixes are pairs.
        here, there = (sorted(side, key=_suffix) for side in (paths, others[name]))
        if [*map(_suffix, here)] != [*map(_suffix, there)]:
            key, side = max((source_key, here), (target_key, there), key=lambda s: len(s[1]))
            raise UserError(f"{key}: {side[0]} and {side[1]} cannot both be in one pair")
        pairs += zip(here, there)
    return pairs


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def _by_name(folder: str | Path, key: str, skip: Callable[[str], bool]) -> dict[str, list[str]]:
    """Paths of a folder's pictures, by the name that pairs must have in common."""
    found: dict[str, list[str]] = {}
    for path in find_pictures(folder, key, skip):
        found.setdefault(os.path.splitext(os.path.relpath(path, folder))[0], []).append(path)
    return found
