"""The checkpoints and the log of a run. A resumed run continues as if it had never stopped."""

import contextlib
import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from ..errors import UserError, first_line
from ..files import write_atomically
from ..models.wespe import WESPE
from .schedule import Schedule

# The parts of a `WESPE` that a checkpoint holds.
PARTS = (
    "generator",
    "inverse_generator",
    "color_discriminator",
    "texture_discriminator",
    "generator_optimizer",
    "discriminator_optimizer",
)


class Log(tf.train.experimental.PythonState):
    """`log.csv`. Each line goes to disk at once, and each checkpoint holds the whole log.

    Args:
        path: path of the file.
        columns: names in its first line.
    """

    def __init__(self, path: str | Path, columns: Sequence[str]) -> None:
        self.path = Path(path)
        self.columns = columns
        self.restored = b""

    def open(self) -> None:
        """Replaces the file by the log of the restored checkpoint, and opens it for more lines.

        Raises:
            UserError: if it cannot be written.
        """
        write_atomically(self.path, self.restored)
        with self._written():
            # Unbuffered: a buffered line that cannot be written would fail again in `close`.
            self.file = open(self.path, "ab", buffering=0)
        if self.restored:
            # An older version may have written fewer columns.
            self.columns = self.restored.decode().splitlines()[0].split(",")
        else:
            self.write({name: name for name in self.columns})

    def write(self, row: Mapping[str, Any]) -> None:
        """Adds a line.

        Args:
            row: dictionary from column to value; the other columns stay empty.

        Raises:
            UserError: if it cannot be written.
        """
        text = io.StringIO()
        csv.DictWriter(text, self.columns, extrasaction="ignore").writerow(row)
        left = text.getvalue().encode()
        with self._written():
            while left:
                left = left[self.file.write(left) :]

    def iterations_on_disk(self) -> int:
        """How many iterations the file on disk has lines for."""
        lines = self.path.read_bytes().splitlines() if self.path.exists() else []
        return max(0, len(lines) - 2)  # Without the names and the evaluation before iteration 1.

    def close(self) -> None:
        """Closes the file."""
        self.file.close()

    def rows(self) -> list[dict[str, str]]:
        """The lines of the restored checkpoint, as dictionaries of text."""
        return list(csv.DictReader(self.restored.decode().splitlines()))

    def serialize(self) -> bytes:
        """The file's content, read from disk: a copy in memory would grow with the run."""
        return self.path.read_bytes()

    def deserialize(self, content: bytes) -> None:
        """Takes what `serialize` gave. The file does not change until `open`."""
        self.restored = content

    @contextlib.contextmanager
    def _written(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written ({error.strerror})") from error


class Checkpoints:
    """Saves and restores all that a run needs to continue as if it had never stopped.

    That is the networks, both optimizers with their moments and moving averages, the schedule, the
    log, and the random state of label smoothing. The data streams need no state: their patches
    depend only on the iteration.

    The files are `checkpoints/ckpt-<iteration>` in the run folder. They are found by these names,
    because TensorFlow's list of them, `checkpoints/checkpoint`, may be lost or old.

    Args:
        run: path of the run folder.
        model: a compiled and built `WESPE`.
        schedule: see `wespe_tf.training.schedule`.
        log: the run's `Log`.
        keep: how many of the newest checkpoints stay, in addition to the best one.
    """

    def __init__(
        self, run: str | Path, model: WESPE, schedule: Schedule, log: Log, keep: int
    ) -> None:
        # Variables, not layers: of layers in lists, TensorFlow would find only the variables that
        # an optimizer trains, and miss the running statistics.
        variables = {p: [v.value for v in getattr(model, p).variables] for p in PARTS}
        self.state = tf.train.Checkpoint(
            **variables,
            smoothing_seed=model.smoothing_seed.state.value,
            schedule=ScheduleState(schedule),
            log=log,
        )
        self.log = log
        self.folder = Path(run) / "checkpoints"
        self.keep = keep

    def iterations(self) -> list[int]:
        """Iterations of the checkpoints on disk, in order."""
        found = (re.fullmatch(r"ckpt-(\d+)\.index", p.name) for p in self.folder.glob("*.index"))
        return sorted(int(match[1]) for match in found if match)

    def save(self, iteration: int, best: int | None = None) -> None:
        """Writes a checkpoint, and then deletes those that are no longer needed.

        Args:
            iteration: iteration of the checkpoint. Checkpoints of later iterations are deleted:
                they are there only if `restore` skipped them as damaged.
            best: iteration of a checkpoint that stays, however old.

        Raises:
            UserError: if it cannot be written. Then the earlier checkpoints stay.
        """
        self.state.save_counter.assign(iteration - 1)  # `save` adds 1 for the file's name.
        try:
            self.state.save(str(self.folder / "ckpt"))
            until_now = [number for number in self.iterations() if number <= iteration]
            for number in set(self.iterations()) - {best, *until_now[-self.keep :]}:
                # The .index file last. If a kill leaves files, the next `save` finds them by it.
                for path in sorted(self.folder.glob(f"ckpt-{number}.*")):
                    path.unlink()
        except (tf.errors.OpError, OSError) as error:
            reason = first_line(error)
            raise UserError(f"{self.folder}: cannot be written ({reason})") from error

    def restore(self) -> int | None:
        """Restores the newest undamaged checkpoint. Prints a warning for each damaged one.

        Returns:
            Its iteration; None if there is no checkpoint yet.

        Raises:
            UserError: if there are checkpoints, but none of them can be read.
        """
        for iteration in reversed(self.iterations()):
            path = self.folder / f"ckpt-{iteration}"
            try:
                self.state.restore(path).assert_consumed()
            except (tf.errors.OpError, ValueError, AssertionError) as error:
                print(f"warning: {path} is damaged and is skipped ({first_line(error)})")
                continue
            return iteration
        if self.iterations():
            raise UserError(f"{self.folder}: no checkpoint can be read")
        return None


class ScheduleState(tf.train.experimental.PythonState):
    """A schedule's `state()` as a part of a TensorFlow checkpoint."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule

    def serialize(self) -> str:
        """The state as JSON text."""
        return json.dumps(self.schedule.state())

    def deserialize(self, text: str) -> None:
        """Restores what `serialize` gave."""
        self.schedule.restore(json.loads(text))
