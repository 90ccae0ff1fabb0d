"""What happens around the training steps: evaluation, figures, logs, checkpoints, signals."""

import contextlib
import csv
import math
import signal
import time

import keras
import numpy as np
import tensorflow as tf

from . import plots
from .evaluation import SHOWN
from .images import write_atomically
from .metrics import COLLAPSED_BELOW, uniform_since

LOSSES = ("generator", "content", "color", "texture", "tv", "guide", "color_disc", "texture_disc")
EVALUATION = (
    "psnr",
    "ssim",
    "distance",
    "collapse_score",
    "correlation",
    "mean_red",
    "mean_green",
    "mean_blue",
)

COLUMNS = ("iteration", "seconds", "turn", "balance", *LOSSES, *EVALUATION)


@contextlib.contextmanager
def averaged_weights(model):
    """Puts the moving average of the generators' weights in their place for a while.

    Args:
        model: a compiled `WESPE`; without `use_ema` in its optimizer nothing changes.
    """
    optimizer = getattr(model.generator_optimizer, "inner_optimizer", model.generator_optimizer)
    if not optimizer.use_ema or int(optimizer.iterations) == 0:
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

    Evaluates before the first iteration, at the end of every epoch, and when the run ends
    between two. Every evaluation updates `generator.keras`, the figures and the checkpoint.

    Args:
        run: the `RunFolder`.
        validation: the `Validation`.
        iterations: length of the run.
        title: of the figures.
    """

    def __init__(self, run, validation, iterations, title):
        super().__init__()
        self.run = run
        self.validation = validation
        self.iterations = iterations
        self.title = title
        self.iteration = 0
        self.evaluations = []
        self.history = {name: [] for name in ("iteration", "balance", *LOSSES)}

    def on_train_begin(self, logs=None):
        self.start = time.monotonic()
        self.log_file = open(self.run.path / "log.csv", "w", newline="", encoding="utf-8")
        self.log = csv.DictWriter(self.log_file, COLUMNS)
        self.log.writeheader()
        self.events = tf.summary.create_file_writer(str(self.run.path / "tensorboard"))
        self.row = {"iteration": 0}
        self._evaluate()
        self._write_row()

    def on_train_batch_end(self, batch, logs=None):
        if self.row["iteration"] > 0:
            self._write_row()
        self.iteration += 1
        losses = {name: float(logs[name]) for name in LOSSES if name in logs}
        schedule = {"turn": self.model.turn, "balance": self.model.schedule.current}
        self.row = {"iteration": self.iteration, **schedule, **losses}
        for name, values in self.history.items():
            values.append(self.row.get(name, math.nan))
        with self.events.as_default(step=self.iteration):
            for name, value in losses.items():
                tf.summary.scalar(f"loss/{name}", value)
        if self.iteration == self.iterations:
            self.model.stop_training = True

    def on_epoch_end(self, epoch, logs=None):
        values = self._evaluate()
        logs.update({k: values[k] for k in ("psnr", "ssim", "distance") if k in values})

    def on_train_end(self, logs=None):
        if self.row["iteration"] > 0:
            self._write_row()
        self.log_file.close()
        self.events.close()

    def _write_row(self):
        self.row["seconds"] = round(time.monotonic() - self.start, 3)
        self.log.writerow(
            {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in self.row.items()}
        )
        self.log_file.flush()

    def _evaluate(self):
        with averaged_weights(self.model):
            enhanced = self.validation.enhance(self.model.generator)
            self.run.save_generator(self.model.generator)
        values = self.validation.evaluate(enhanced)
        self.evaluations.append({"iteration": self.iteration, **values})
        self.row.update(values)
        self.run.save_checkpoint(self.model, self.iteration)
        self._draw(enhanced[:SHOWN], values)
        if values["collapse_score"] < COLLAPSED_BELOW:
            print(
                f"\ncollapse score {values['collapse_score']:.3f} at iteration {self.iteration}: "
                "the enhanced pictures are nearly uniform"
            )
        return values

    def _draw(self, enhanced, values):
        source, target = self.validation.source[:SHOWN], self.validation.target[:SHOWN]
        rows = {"source": source, "enhanced": enhanced, "target": target}
        if not self.validation.paired:
            rows["target (other photos)"] = rows.pop("target")
        quality = f", {values['psnr']:.2f} dB PSNR" if "psnr" in values else ""
        title = f"{self.title}, iteration {self.iteration}{quality}"
        figures = {f"samples_{self.iteration:06d}": plots.sample_figure(rows, title)}
        if self.iteration:
            scores = [(e["iteration"], e["collapse_score"]) for e in self.evaluations]
            collapse = uniform_since(*zip(*scores))
            figures["losses"] = plots.loss_figure(self.history, target, enhanced, title, collapse)
        for name, figure in figures.items():
            path = self.run.path / "figures" / f"{name}.png"
            write_atomically(path, plots.to_png(figure))
        with self.events.as_default(step=self.iteration):
            for name, value in values.items():
                tf.summary.scalar(f"validation/{name}", value)
            for name, pictures in rows.items():
                tf.summary.image(name, np.asarray(pictures), max_outputs=SHOWN)
        self.events.flush()


class StopOnSignal(keras.callbacks.Callback):
    """Ends the run after the current iteration on SIGINT (Ctrl-C) or SIGTERM.

    Attributes:
        received: number of the signal, or None.
    """

    received = None

    def on_train_begin(self, logs=None):
        self.previous = {
            number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)
        }

    def _stop(self, number, frame):
        self.received = number
        self.model.stop_training = True
        print("\nstopping after this iteration; what the run has will be saved")
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def on_train_batch_end(self, batch, logs=None):
        # fit resets stop_training when it begins, which may be after the signal.
        if self.received is not None:
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        for number, handler in self.previous.items():
            signal.signal(number, handler)
