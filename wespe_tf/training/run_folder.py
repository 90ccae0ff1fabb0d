"""Run folders: where a run's files lie, how they are written, and how a run is taken up again."""

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
    """The folder of one run, locked against other processes while this one has it.

    Args:
        path: of the folder.
        writes: whether this process is the one that writes; others do not lock it either.

    Raises:
        UserError: if another process works on it.
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
        """Lets other processes have the folder."""
        if self.writes:
            # Before the release: a file unlinked later might be another process's lock.
            Path(self.lock.lock_file).unlink(missing_ok=True)
            self.lock.release()

    @classmethod
    def open(cls, config: TrainConfig, writes: bool = True) -> "RunFolder":
        """Takes up `models/<run>` if `resume` says so; else makes it, with its `config.yaml`.

        Without `run` the next free `models/<preset>-NNN` is made.

        Args:
            config: `TrainConfig`.
            writes: whether this process is the one that writes.

        Raises:
            UserError: if a new run exists, or the folder cannot be made.
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
        """Writes a generator in float32, whole or not at all."""
        if self.copied is not generator:
            # Once: TensorFlow keeps something of every variable that was ever made.
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
    """Raises a `UserError` unless a run's name can be that of a folder in `models/`."""
    if not re.fullmatch(r"[\w.-]*\w[\w.-]*", run):
        raise UserError(f"run={run}: expected letters, digits, '.', '_' and '-'")


def _make_named(config: TrainConfig) -> Path:
    path = Path("models") / str(config.run)
    try:
        _make(path, config)
    except FileExistsError as error:
        raise UserError(
            f"run={config.run}: {path} exists already and is left as it is; resume=true goes on "
            "with it"
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
    """Makes a run folder with its settings and a place for figures; whole, or not at all."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    (new / "figures").mkdir(parents=True)
    try:
        # Without the name, which another run with these settings could not have.
        settings = dataclasses.replace(config, run=None)
        write_atomically(new / "config.yaml", to_yaml(settings).encode())
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        new.rename(path)
    except BaseException:
        shutil.rmtree(new)
        raise
