"""Which photos are enhanced, and where their results lie."""

import dataclasses
import glob
import os
from pathlib import Path

from ..data.folders import find_pairs, find_pictures, natural_order
from ..errors import UserError
from ..images.opening import SUFFIXES
from ..images.photo import FORMATS

# How the results' names end, before their suffix.
ENHANCED, BEFORE_AFTER = "_enhanced", "_before_after"


@dataclasses.dataclass
class Task:
    """One photo to enhance.

    Attributes:
        path: of the photo.
        target: of the picture to score against, or None.
        name: of its results below the output folder, without suffix.
    """

    path: str
    target: str | None
    name: str


def check_formats(tasks, config):
    """Refuses before anything is computed what could not be written in the end."""
    for task in tasks if config.format == "same" else []:
        if Path(task.path).suffix.lower() not in FORMATS:
            expected = ", ".join(FORMATS)
            raise UserError(f"format=same: {task.path}: expected one of the formats {expected}")


def result_path(task, config):
    suffix = Path(task.path).suffix if config.format == "same" else ".png"
    return Path(config.output) / f"{task.name}{ENHANCED}{suffix}"


def before_after_path(task, config):
    return Path(config.output) / f"{task.name}{BEFORE_AFTER}.png"


def find_tasks(source, target, output):
    """What `input` and `target` name, less results of this command that lie among them.

    Args:
        source: a photo, a folder (with its sub-folders) or a pattern such as `day*/*.jpg`.
        target: for a photo a picture, for a folder one of equal names, to score against; or None.
        output: folder for the results.

    Returns:
        List of `Task`, not empty.

    Raises:
        UserError: if there is no such photo, or results of two would have one name.
    """
    folder = Path(output).resolve()

    def is_result(path):
        mine = Path(path).stem.endswith((ENHANCED, BEFORE_AFTER))
        return mine and folder in Path(path).resolve().parents

    if os.path.isdir(source):
        if target is None:
            pairs = [(path, None) for path in find_pictures(source, "input", is_result)]
        else:
            pairs = find_pairs(source, target, "input", "target", is_result)
        base = source
    elif os.path.exists(source):
        if target is not None and not os.path.isfile(target):
            raise UserError(f"target={target}: expected a photo, as input is one")
        pairs, base = [(source, target)], os.path.dirname(source)
    elif glob.has_magic(source):
        if target is not None:
            raise UserError("target: goes with a photo or a folder, not with a pattern")
        paths = [p for p in glob.glob(source, recursive=True) if p.lower().endswith(SUFFIXES)]
        paths = [path for path in paths if not is_result(path)]
        if not paths:
            raise UserError(f"input={source}: no picture fits")
        pairs = [(path, None) for path in sorted(paths, key=natural_order)]
        base = os.path.commonpath([os.path.dirname(path) or "." for path in paths])
    else:
        raise UserError(f"input={source}: no such file or folder")
    found = {}
    for path, partner in pairs:
        name = os.path.splitext(os.path.relpath(path, base or "."))[0]
        if name in found:
            raise UserError(f"input: {found[name].path} and {path} would give results of one name")
        found[name] = Task(path, partner, name)
    return list(found.values())
