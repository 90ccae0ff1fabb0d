"""Callbacks around the training steps: evaluation, figures, logs, checkpoints, signals."""

import contextlib
import gc
import math
import signal
import time
from array import array
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ..errors import UserError
from ..files import write_atomically
from ..metrics.collapse import COLLAPSED_BELOW, uniform_since
from ..models.wespe import WESPE
from ..progress import say
from . import figures
from .checkpoints import Checkpoints, Log
from .loop import diverged
from .run_folder import RunFolder
from .schedule import Schedule
from .validation import SHOWN, Validation

Logs = dict[str, Any] | None

EVALUATION = (
    "psnr",
    "ssim",
    "distance",
    "collapse_score",
    "correlation",
    "mean_red",
    "mean_green",
    "mean_blue",
    "detail_ratio",
    "flat_noise_ratio",
)


def log_columns(losses: Iterable[str]) -> tuple[str, ...]:
    """Columns of `log.csv`.

    Args:
        losses: names of a model's losses, see `WESPE.loss_names`.
    """
    return ("iteration", "seconds", "turn", "balance", *losses, *EVALUATION)


@contextlib.contextmanager
def averaged_weights(model: WESPE) -> Iterator[None]:
    """Replaces the generators' weights by their moving average, inside a `with` block.

    Args:
        model: a compiled `WESPE`. Nothing changes if its optimizer has no `use_ema`.
    """
    optimizer = getattr(model.generator_optimizer, "inner_optimizer", model.generator_optimizer)
    if not optimizer.use_ema or int(keras.ops.convert_to_numpy(optimizer.iterations)) == 0:
        yield
        return
    variables = model.generator_variables
    kept = [keras.ops.convert_to_numpy(v) for v in variables]
    for variable, average in zip(variables, optimizer._model_variables_moving_average):
        variable.assign(average)
    try:
        yield
    finally:
        for variable, value in zip(variables, kept):
            variable.assign(value)


class Recorder(keras.callbacks.Callback):
    """Counts iterations, writes `log.csv` and TensorBoard events, and evaluates.

    It evaluates before the first iteration and at the end of every epoch. Every evaluation updates
    `generator.keras`, the figures and the checkpoints. If its `distance` is the lowest so far, it
    also updates `generator_best.keras`.

    An evaluation writes its checkpoint last, when all other files are complete. A run that is
    killed before that writes the same files again when it is resumed.

    Args:
        run: the `RunFolder`.
        log: the run's `Log`.
        checkpoints: the run's `Checkpoints`, or None to write none.
        validation: the `Validation`.
        schedule: the run's schedule, see `wespe_tf.training.schedule`.
        title: title of the figures.
        resumed: iteration of the checkpoint from which the run continues, or None.
    """

    def __init__(
        self,
        run: RunFolder,
        log: Log,
        checkpoints: Checkpoints | None,
        validation: Validation,
        schedule: Schedule,
        title: str,
        resumed: int | None = None,
    ) -> None:
        super().__init__()
        self.run = run
        self.log = log
        self.checkpoints = checkpoints
        self.validation = validation
        self.schedule = schedule
        self.title = title
        self.resumed = resumed
        self.iteration = 0
        self.evaluations: list[dict[str, Any]] = []

    def on_train_begin(self, logs: Logs = None) -> None:
        self.losses = self.model.loss_names()
        # It grows with the run. Arrays take a quarter of the memory of lists.
        self.history: dict[str, Any] = {"iteration": array("q"), "balance": []}
        self.history |= {name: array("d") for name in self.losses}
        self.start = time.monotonic()
        self.row: dict[str, Any] | None = None
        with self._events_written():
            self.events = tf.summary.create_file_writer(str(self.run.path / "tensorboard"))
        self.log.open()
        if self.resumed is not None:
            self._recall(self.resumed, self.log.rows())
        else:
            self.row = {"iteration": 0}
            self._evaluate()

    def _recall(self, iteration: int, rows: list[dict[str, str]]) -> None:
        """Restores the history, the scores and the time from the log of an earlier process."""
        self.iteration = iteration
        self.start -= float(rows[-1]["seconds"])
        for row in rows:
            if row["collapse_score"]:
                scores = {name: float(row[name]) for name in EVALUATION if row.get(name)}
                self.evaluations.append({"iteration": int(row["iteration"]), **scores})
        for row in rows[1:]:
            values: dict[str, Any] = {n: float(row[n]) for n in self.losses if row[n]}
            values |= {"iteration": int(row["iteration"]), "balance": row["balance"]}
            for name, past in self.history.items():
                past.append(values.get(name, math.nan))

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        assert logs is not None
        self._write_row()
        self.iteration += 1
        losses = {name: float(logs[name]) for name in self.losses if name in logs}
        schedule = {"turn": self.model.turn, "balance": self.schedule.current}
        self.row = {"iteration": self.iteration, **schedule, **losses}
        for name, values in self.history.items():
            values.append(self.row.get(name, math.nan))
        with self._events_written():
            self._write_scalars("loss", losses)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        assert logs is not None
        values = self._evaluate()
        logs.update({k: values[k] for k in ("psnr", "ssim", "distance") if k in values})

    def on_train_end(self, logs: Logs = None) -> None:
        self.log.close()
        with self._events_written():
            self.events.close()

    def _write_row(self) -> None:
        if self.row is None:
            return
        self.row["seconds"] = f"{time.monotonic() - self.start:.3f}"
        self.log.write({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in self.row.items()})
        self.row = None

    def _write_scalars(self, group: str, values: Mapping[str, float]) -> None:
        # As NumPy's numbers: TensorFlow never frees Python numbers, which take 7 kB per iteration.
        with self.events.as_default(step=np.int64(self.iteration)):
            for name, value in values.items():
                tf.summary.scalar(f"{group}/{name}", np.float32(value))

    @contextlib.contextmanager
    def _events_written(self) -> Iterator[None]:
        try:
            yield
        except tf.errors.OpError as error:
            # The message is "{{node of the graph}} file; reason", and more lines.
            reason = error.message.partition("\n")[0].rpartition("; ")[2]
            path = self.run.path / "tensorboard"
            raise UserError(f"{path}: cannot be written ({reason})") from error

    def _evaluate(self) -> dict[str, float]:
        generator = self.model.generator
        weights = [*self.model.generator_variables, *self.model.discriminator_variables]
        if not all(np.isfinite(keras.ops.convert_to_numpy(w)).all() for w in weights):
            raise diverged(self.iteration, "a weight is not finite")
        with averaged_weights(self.model):
            enhanced = self.validation.enhance(generator)
            values = self.validation.evaluate(enhanced)
            self.evaluations.append({"iteration": self.iteration, **values})
            self.run.save_generator(generator)
            if values["distance"] <= min(e["distance"] for e in self.evaluations):
                self.run.save_generator(generator, "generator_best.keras")
        self.row = {**(self.row or {}), **values}
        self._draw(enhanced[:SHOWN], values)
        if values["collapse_score"] < COLLAPSED_BELOW:
            say(
                f"collapse score {values['collapse_score']:.3f} at iteration {self.iteration}: "
                "the enhanced pictures are nearly uniform"
            )
        self._write_row()
        if self.checkpoints is not None:
            best = min(self.evaluations, key=lambda e: e["distance"])
            self.checkpoints.save(self.iteration, best["iteration"])
        # Figures and saved networks contain reference cycles. Python frees these only now and then,
        # so that many of them would collect in memory.
        gc.collect()
        return values

    def _draw(self, enhanced: np.ndarray, values: dict[str, float]) -> None:
        source, target = self.validation.source[:SHOWN], self.validation.target[:SHOWN]
        rows = {"source": source, "enhanced": enhanced, "target": target}
        if not self.validation.paired:
            rows["target (other photos)"] = rows.pop("target")
        quality = f", {values['psnr']:.2f} dB PSNR" if "psnr" in values else ""
        title = f"{self.title}, iteration {self.iteration}{quality}"
        drawn = {f"samples_{self.iteration:06d}": figures.sample_figure(rows, title)}
        if self.iteration:
            scores = [(e["iteration"], e["collapse_score"]) for e in self.evaluations]
            collapse = uniform_since(*zip(*scores))
            drawn["losses"] = figures.loss_figure(self.history, target, enhanced, title, collapse)
        for name, figure in drawn.items():
            path = self.run.path / "figures" / f"{name}.png"
            write_atomically(path, figures.to_png(figure))
        with self._events_written():
            self._write_scalars("validation", values)
            with self.events.as_default(step=np.int64(self.iteration)):
                for name, pictures in rows.items():
                    tf.summary.image(name, np.asarray(pictures), max_outputs=SHOWN)
            self.events.flush()


class StopOnSignal(keras.callbacks.Callback):
    """Ends the run after the current iteration on SIGINT (Ctrl-C) or SIGTERM.

    Attributes:
        received: number of the signal, or None.
    """

    received: int | None = None

    def on_train_begin(self, logs: Logs = None) -> None:
        self.previous = {
            number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)
        }

    def _stop(self, number: int, frame: Any) -> None:
        self.received = number
        self.model.stop_training = True
        say("stopping after this iteration; what the run has will be saved")
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        # `fit` resets stop_training when it begins, and the signal may have come before that.
        if self.received is not None:
            self.model.stop_training = True

    def on_train_end(self, logs: Logs = None) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)
