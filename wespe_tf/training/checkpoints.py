"""What a run keeps on disk so that it can go on as if it had never stopped."""

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

# What a checkpoint holds of a `WESPE`.
PARTS = (
    "generator",
    "inverse_generator",
    "color_discriminator",
    "texture_discriminator",
    "generator_optimizer",
    "discriminator_optimizer",
)


class Log(tf.train.experimental.PythonState):
    """`log.csv`: on disk line by line, and whole in every checkpoint, which brings it back.

    Args:
        path: of the file.
        columns: names in its first line.
    """

    def __init__(self, path: str | Path, columns: Sequence[str]) -> None:
        self.path = Path(path)
        self.columns = columns
        self.restored = b""

    def open(self) -> None:
        """Writes the file anew with what a checkpoint brought back; other lines are added to it.

        Raises:
            UserError: if it cannot be written.
        """
        write_atomically(self.path, self.restored)
        with self._written():
            # Unbuffered: what could not be written would fail again at the end.
            self.file = open(self.path, "ab", buffering=0)
        if self.restored:
            # An older version may have known fewer.
            self.columns = self.restored.decode().splitlines()[0].split(",")
        else:
            self.write({name: name for name in self.columns})

    def write(self, row: Mapping[str, Any]) -> None:
        """Adds a line.

        Args:
            row: dictionary from columns to what they hold; the others stay empty.

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
        """How many the file tells of, whatever else it holds."""
        lines = self.path.read_bytes().splitlines() if self.path.exists() else []
        return max(0, len(lines) - 2)  # Of names, and of the evaluation before the first one.

    def close(self) -> None:
        """Closes the file."""
        self.file.close()

    def rows(self) -> list[dict[str, str]]:
        """The lines that a checkpoint brought back, as dictionaries of text."""
        return list(csv.DictReader(self.restored.decode().splitlines()))

    def serialize(self) -> bytes:
        """What the file holds, which in memory would grow with the run."""
        return self.path.read_bytes()

    def deserialize(self, content: bytes) -> None:
        """Restores what `serialize` gave; the file is as it was until `open`."""
        self.restored = content

    @contextlib.contextmanager
    def _written(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written ({error.strerror})") from error


class Checkpoints:
    """Everything that a run needs to go on as if it had never stopped.

    Networks, both optimizers with their moments and moving averages, the schedule, the log, and the
    random state of label smoothing. What the data streams give follows from the iteration alone.

    They are `checkpoints/ckpt-<iteration>` in the run folder, found by these names: TensorFlow's
    list of them, `checkpoints/checkpoint`, may be lost or old.

    Args:
        run: path of the run folder.
        model: a compiled and built `WESPE`.
        schedule: see `wespe_tf.training.schedule`.
        log: the run's `Log`.
        keep: how many stay, the best one besides.
    """

    def __init__(
        self, run: str | Path, model: WESPE, schedule: Schedule, log: Log, keep: int
    ) -> None:
        # By variables: of layers in lists TensorFlow would find those that an optimizer trains, not
        # the running statistics.
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
        """Of the checkpoints that are there, in order."""
        found = (re.fullmatch(r"ckpt-(\d+)\.index", p.name) for p in self.folder.glob("*.index"))
        return sorted(int(match[1]) for match in found if match)

    def save(self, iteration: int, best: int | None = None) -> None:
        """Writes a checkpoint, and drops those that need not stay once it is there.

        Args:
            iteration: that it is of; what is of later ones was passed over, and goes.
            best: iteration whose checkpoint stays, however old.

        Raises:
            UserError: if it cannot be written; the earlier ones stay.
        """
        self.state.save_counter.assign(iteration - 1)  # From which `save` counts on.
        try:
            self.state.save(str(self.folder / "ckpt"))
            until_now = [number for number in self.iterations() if number <= iteration]
            for number in set(self.iterations()) - {best, *until_now[-self.keep :]}:
                # The index last, by which what a kill leaves is found the next time.
                for path in sorted(self.folder.glob(f"ckpt-{number}.*")):
                    path.unlink()
        except (tf.errors.OpError, OSError) as error:
            reason = first_line(error)
            raise UserError(f"{self.folder}: cannot be written ({reason})") from error

    def restore(self) -> int | None:
        """Restores the newest checkpoint that is whole, and says so of those that are not.

        Returns:
            Its iteration; None where no checkpoint was written yet.

        Raises:
            UserError: if there are checkpoints and none of them can be read.
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
            raise UserError(f"{self.folder}: no checkpoint that can be read")
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
