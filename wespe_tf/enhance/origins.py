"""What the results in a folder were made from: photos, model, settings.

Beside the results lies a hidden file with a line of JSON for each, the last one of a result counts.
Lines are added when a result is there; one that was cut off is passed over.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from ..config.schema import TestConfig
from ..errors import UserError
from ..images.opening import UnreadablePicture
from .tasks import Task, result_path

INDEX = ".made_from.jsonl"
# Settings that change no pixel of a result, or stand in its name; the model counts by its content.
OF_NO_PIXELS = frozenset(
    ["model", "input", "output", "target", "format", "overwrite", "report", "memory_limit"]
    + ["max_megapixels", "dped_dir", "test_subset", "iteration", "resolution", "use_gpu"]
    + ["models_orig_dir", "verbose"]
)
LOSSY = (".jpg", ".jpeg", ".jpe", ".jfif", ".webp")
NEW, SAME, UNKNOWN, CHANGED, ANOTHER_PHOTO = "new", "same", "unknown", "changed", "another photo"


def digest(*paths: str | Path) -> str:
    """SHA-256 of the content of files, one after another."""
    found = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            while block := file.read(2**20):
                found.update(block)
    return found.hexdigest()


@contextlib.contextmanager
def _readable(path: str) -> Iterator[None]:
    """Around what reads a photo's file: tells by its name why that fails."""
    try:
        yield
    except OSError as error:
        raise UnreadablePicture(f"{path}: cannot be read ({error.strerror})") from error


class Origins:
    """The index of an output folder.

    Args:
        config: `TestConfig`.
        model: file of the model, or checkpoint without `.index`.
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
        """What is known of a photo's result: `NEW` where there is none, `UNKNOWN` where the index
        does not tell, else `SAME`, `CHANGED` (photo or settings), or `ANOTHER_PHOTO`'s.
        """
        path = result_path(task, self.config)
        if not os.path.isfile(path):
            return NEW
        entry = self.entries.get(self._name(path))
        if entry is None:
            return UNKNOWN
        before = entry["photo"]
        same_place = before.get("path") == os.path.realpath(task.path)
        with _readable(task.path):
            stat = os.stat(task.path)
            now = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
            untouched = now.items() <= before.items()
            if not (same_place and untouched) and before.get("sha256") != digest(task.path):
                return CHANGED if same_place else ANOTHER_PHOTO
        return SAME if entry["settings"] == self._settings(path) else CHANGED

    def is_kept(self, path: Path, photo: dict) -> bool:
        """Whether what lies beside a result that is gone is of this photo, by these settings."""
        entry = self.entries.get(self._name(path), {"photo": {}, "settings": None})
        same = entry["photo"].get("sha256") == photo["sha256"]
        return not self.config.overwrite and same and entry["settings"] == self._settings(path)

    def photo_of(self, task: Task) -> str:
        """Path of the photo of which a result is there."""
        return self.entries[self._name(result_path(task, self.config))]["photo"].get("path", "")

    def photo(self, path: str) -> dict:
        """What tells a photo from others, as the index keeps it."""
        with _readable(path):
            stat, content = os.stat(path), digest(path)
        known = {"path": os.path.realpath(path), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
        return known | {"sha256": content}

    def add(self, path: Path, photo: dict) -> None:
        """Notes a result that has been written.

        Args:
            path: of the result.
            photo: of `photo`, from when it was read.

        Raises:
            UserError: naming the index, if it cannot be written.
        """
        entry = {"photo": photo, "settings": self._settings(path)}
        self.entries[self._name(path)] = entry
        try:
            with open(self.path, "ab") as file:
                # A line that was cut off does not spoil this one.
                file.write(f"\n{json.dumps({'result': self._name(path), **entry})}\n".encode())
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written ({error.strerror})") from error

    def _name(self, path: Path) -> str:
        return os.path.relpath(path, self.path.parent)

    def _settings(self, path: Path) -> dict:
        """The settings that matter for a result."""
        if path.suffix.lower() in LOSSY:
            return self.settings
        return {key: value for key, value in self.settings.items() if key != "quality"}
