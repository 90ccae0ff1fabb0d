"""Run folders: makes them completely or not at all, locks them, and opens them again."""

import dataclasses
import errno
import os
import re
import shutil
import tempfile
from pathlib import Path

import filelock

from ..config.loading import to_yaml
from ..config.schema import TrainConfig
from ..errors import UserError
from ..files import write_atomically
from ..models.generator import Generator


class RunFolder:
    """The folder of one run. The process that writes locks it against other processes.

    Args:
        path: path of the folder.
        writes: whether this process writes. If not, it does not lock the folder.

    Raises:
        UserError: if another process has locked the folder.
    """

    def __init__(self, path: str | Path, writes: bool = True) -> None:
        self.path = Path(path)
        self.writes = writes
        self.copied: Generator | None = None
        self.lock = filelock.FileLock(self.path / ".lock")
        if writes:
            try:
                self.lock.acquire(timeout=0)
            except filelock.Timeout as error:
                raise UserError(f"run={self.path.name}: another process works on {path}") from error

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, *reason: object) -> None:
        """Unlocks the folder."""
        if self.writes:
            # Before the release. Afterwards the file may already be another process's lock.
            Path(self.lock.lock_file).unlink(missing_ok=True)
            self.lock.release()

    @classmethod
    def open(cls, config: TrainConfig, writes: bool = True) -> "RunFolder":
        """Opens `models/<run>`. Makes it first, with its `config.yaml`, unless `resume` is set.

        Without `run`, it makes the next free `models/<preset>-NNN`.

        Args:
            config: `TrainConfig`.
            writes: whether this process writes. If not, it makes no folder.

        Raises:
            UserError: if the name is not valid, if a new run's folder exists already or cannot be
                made, or if another process has locked it.
        """
        if config.run is not None:
            check_name(config.run)
        if config.resume or not writes:
            return cls(Path("models") / str(config.run), writes)
        try:
            Path("models").mkdir(exist_ok=True)
            return cls(_make_named(config) if config.run else _make_numbered(config))
        except OSError as error:
            raise UserError(f"{error.filename}: cannot be made ({error.strerror})") from error

    def save_generator(self, generator: Generator, name: str = "generator.keras") -> None:
        """Writes a generator in float32, whole or not at all.

        Raises:
            UserError: if it cannot be written.
        """
        if self.copied is not generator:
            # The copy is made once: TensorFlow never frees all memory of a variable.
            self.copied = generator
            self.plain = Generator.from_config({**generator.get_config(), "dtype": "float32"})
            self.plain.build((None, None, None, 3))
        self.plain.set_weights(generator.get_weights())
        path = self.path / name
        try:
            with tempfile.TemporaryDirectory(dir=self.path, prefix=".saving-") as folder:
                self.plain.save(os.path.join(folder, name))
                os.replace(os.path.join(folder, name), path)
        except OSError as error:
            raise UserError(f"{path}: cannot be written ({error})") from error


def check_name(run: str) -> None:
    """Raises a `UserError` if a run's name is not valid as the name of a folder in `models/`."""
    if not re.fullmatch(r"[\w.-]*\w[\w.-]*", run):
        raise UserError(f"run={run}: expected letters, digits, '.', '_' and '-'")


def _make_named(config: TrainConfig) -> Path:
    path = Path("models") / str(config.run)
    try:
        _make(path, config)
    except FileExistsError as error:
        raise UserError(
            f"run={config.run}: {path} exists already and was not changed; resume=true continues it"
        ) from error
    return path


def _make_numbered(config: TrainConfig) -> Path:
    name, models = Path(str(config.preset)).stem, Path("models")
    taken = [re.fullmatch(rf"{re.escape(name)}-(\d+)", path.name) for path in models.iterdir()]
    number = max((int(match[1]) for match in taken if match), default=0)
    while True:
        number += 1
        path = models / f"{name}-{number:03d}"
        try:
            _make(path, config)
        except FileExistsError:
            continue
        return path


def _make(path: Path, config: TrainConfig) -> None:
    """Makes a run folder with `config.yaml` and `figures/`, completely or not at all."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    (new / "figures").mkdir(parents=True)
    try:
        # Without the run's name: another run with these settings needs another name.
        settings = dataclasses.replace(config, run=None)
        write_atomically(new / "config.yaml", to_yaml(settings).encode())
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        new.rename(path)
    except BaseException:
        shutil.rmtree(new)
        raise
