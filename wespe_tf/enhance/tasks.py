"""Lists the photos to enhance, and the paths of their results."""

import collections
import dataclasses
import glob
import os
from collections.abc import Sequence
from pathlib import Path

from ..config.schema import TestConfig
from ..data.folders import find_pairs, find_pictures, natural_order, only_pictures
from ..errors import UserError
from ..images.photo import FORMATS

# How the results' names end, before their suffix.
ENHANCED, BEFORE_AFTER = "_enhanced", "_before_after"


@dataclasses.dataclass
class Task:
    """One photo to enhance.

    Attributes:
        path: path of the photo.
        target: path of the picture to score against, or None.
        name: beginning of its results' paths below the output folder.
    """

    path: str
    target: str | None
    name: str


def told_formats(tasks: list[Task], config: TestConfig) -> list[str]:
    """With `format=same`, a line for each photo whose format cannot be written."""
    return [
        f"format=same: {task.path}: this format cannot be written, its result is a PNG file"
        for task in tasks
        if config.format == "same" and result_path(task, config).suffix != Path(task.path).suffix
    ]


def result_path(task: Task, config: TestConfig) -> Path:
    """Path of a photo's result."""
    suffix = Path(task.path).suffix
    keeps = config.format == "same" and suffix.lower() in FORMATS
    return Path(config.output) / f"{task.name}{ENHANCED}{suffix if keeps else '.png'}"


def before_after_path(task: Task, config: TestConfig) -> Path:
    """Path of the picture that shows a photo and its result side by side."""
    return Path(config.output) / f"{task.name}{BEFORE_AFTER}.png"


def find_tasks(source: str, target: str | None, output: str) -> list[Task]:
    """The photos that `input` names, with their targets, but without results of this command.

    Args:
        source: a photo, a folder (with its sub-folders) or a pattern such as `day*/*.jpg`.
        target: for a photo, the picture to score against; for a folder, a folder with pictures of
            the same names; or None.
        output: folder for the results.

    Returns:
        List of `Task`, not empty.

    Raises:
        UserError: if there is no photo, or a target is missing.
    """
    folder = Path(output).resolve()

    def is_result(path: str | Path) -> bool:
        mine = Path(path).stem.endswith((ENHANCED, BEFORE_AFTER))
        return mine and folder in Path(path).resolve().parents

    pairs: Sequence[tuple[str, str | None]]
    if os.path.isdir(source):
        if target is None:
            pairs = [(path, None) for path in find_pictures(source, "input", is_result)]
        else:
            pairs = find_pairs(source, target, "input", "target", is_result)
        base = source
    elif os.path.isfile(source):
        if target is not None and not os.path.isfile(target):
            raise UserError(f"target={target}: expected a photo, because input is a photo")
        pairs, base = [(source, target)], os.path.dirname(source)
    elif glob.has_magic(source):
        if target is not None:
            raise UserError("target: needs input= to be a photo or a folder, not a pattern")
        matches = glob.glob(source, recursive=True)
        paths = [p for p in matches if not os.path.isdir(p) and not is_result(p)]
        paths = only_pictures(paths, f"input={source}")
        if not paths:
            raise UserError(f"input={source}: no picture matches")
        pairs = [(path, None) for path in sorted(paths, key=natural_order)]
        base = os.path.commonpath([os.path.dirname(path) or "." for path in paths])
    else:
        raise UserError(f"input={source}: no such file or folder")
    wholes = [os.path.relpath(path, base or ".") for path, _ in pairs]
    return [Task(*pair, name) for pair, name in zip(pairs, _names(wholes))]


def _names(wholes: list[str]) -> list[str]:
    """Names of results: without suffix, unless two photos would have the same name."""
    stems = [os.path.splitext(whole)[0] for whole in wholes]
    taken = collections.Counter([*stems, *wholes])
    return [
        stem if taken[stem] == 1 + (stem == whole) else whole for stem, whole in zip(stems, wholes)
    ]
