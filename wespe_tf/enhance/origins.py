"""Remembers what the results in a folder were made from: photos, model, settings.

The index is a hidden file in the folder. It has a line of JSON for each result. If a result has
several lines, the last one counts. A line is added after its result was written. Lines that were
cut off are ignored.
"""

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path

from ..config.schema import TestConfig
from ..errors import UserError
from ..files import digest
from ..images.opening import UnreadablePicture
from ..images.photo import FORMATS, LOSSLESS
from .tasks import Task, result_path

INDEX = ".made_from.jsonl"
# Settings that change no pixel of a result, or are part of its name. The model's content counts.
OF_NO_PIXELS = frozenset(
    ["model", "input", "output", "target", "format", "overwrite", "report", "memory_limit"]
    + ["max_megapixels", "dped_dir", "test_subset", "iteration", "resolution", "use_gpu"]
    + ["models_orig_dir", "verbose"]
)
NEW, SAME, UNKNOWN, CHANGED, ANOTHER_PHOTO = "new", "same", "unknown", "changed", "another photo"


@contextlib.contextmanager
def _readable(path: str) -> Iterator[None]:
    """Turns an error while a photo's file is read into an `UnreadablePicture` that names it."""
    try:
        yield
    except OSError as error:
        raise UnreadablePicture(f"{path}: cannot be read ({error.strerror})") from error


class Origins:
    """The index of an output folder.

    Args:
        config: `TestConfig`.
        model: path of the model's file, or of a checkpoint without `.index`.
    """

    def __init__(self, config: TestConfig, model: Path):
        self.config = config
        self.path = Path(config.output) / INDEX
        files = [model] if model.is_file() else sorted(model.parent.glob(f"{model.name}.*"))
        values = dataclasses.asdict(config)
        self.settings = {key: values[key] for key in values if key not in OF_NO_PIXELS}
        self.settings["model"] = digest(*files)
        self.entries = self._read()

    def _read(self) -> dict[str, dict]:
        try:
            lines = self.path.read_bytes().splitlines()
        except OSError:
            return {}
        found = {}
        for line in lines:
            try:
                entry = json.loads(line)
                found[entry["result"]] = {key: entry[key] for key in ("photo", "settings")}
            except (ValueError, TypeError, KeyError):
                continue
        return found

    def state(self, task: Task) -> str:
        """State of a photo's result: `NEW` if there is none, `UNKNOWN` if it is not in the index,
        else `SAME`, `CHANGED` (photo or settings), or `ANOTHER_PHOTO` (the result is of another).

        A photo that cannot be read is `NEW`, too. Enhancing it fails with a line that names it.
        """
        path = result_path(task, self.config)
        if not os.path.isfile(path):
            return NEW
        entry = self.entries.get(self._name(path))
        if entry is None:
            return UNKNOWN
        before = entry["photo"]
        same_place = before.get("path") == os.path.realpath(task.path)
        try:
            stat = os.stat(task.path)
            now = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
            untouched = now.items() <= before.items()
            if not (same_place and untouched) and before.get("sha256") != digest(task.path):
                return CHANGED if same_place else ANOTHER_PHOTO
        except OSError:
            return NEW
        return SAME if entry["settings"] == self._settings(path) else CHANGED

    def is_kept(self, path: Path, photo: dict) -> bool:
        """Whether the index has a result of this photo and these settings; not with `overwrite`."""
        entry = self.entries.get(self._name(path), {"photo": {}, "settings": None})
        same = entry["photo"].get("sha256") == photo["sha256"]
        return not self.config.overwrite and same and entry["settings"] == self._settings(path)

    def photo_of(self, task: Task) -> str:
        """Path of the photo from which the existing result was made."""
        return self.entries[self._name(result_path(task, self.config))]["photo"].get("path", "")

    def photo(self, path: str) -> dict:
        """The identity of a photo for the index: path, size, time and SHA-256."""
        with _readable(path):
            stat, content = os.stat(path), digest(path)
        known = {"path": os.path.realpath(path), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
        return known | {"sha256": content}

    def add(self, path: Path, photo: dict) -> None:
        """Adds a result that has been written to the index.

        Args:
            path: path of the result.
            photo: what `photo` returned when the photo was read.

        Raises:
            UserError: if the index cannot be written.
        """
        entry = {"photo": photo, "settings": self._settings(path)}
        self.entries[self._name(path)] = entry
        try:
            with open(self.path, "ab") as file:
                # The line break at the start keeps this line apart from one that was cut off.
                file.write(f"\n{json.dumps({'result': self._name(path), **entry})}\n".encode())
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written ({error.strerror})") from error

    def _name(self, path: Path) -> str:
        return os.path.relpath(path, self.path.parent)

    def _settings(self, path: Path) -> dict:
        """The settings that matter for a result."""
        if FORMATS[path.suffix.lower()] not in LOSSLESS:
            return self.settings
        return {key: value for key, value in self.settings.items() if key != "quality"}
