"""The training loop, on one device or on several."""

import math
import statistics
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

import keras
import tensorflow as tf
from tqdm import tqdm

from ..data.batches import reading_errors
from ..errors import UserError
from ..progress import say
from .schedule import DynamicBalance, Schedule, Simultaneous

# The smallest normal float16 number. With a smaller loss scale, losses would be rounded to zero.
LEAST_SCALE = 2.0**-14


def fit(
    model: Any,
    data: Iterable,
    iterations: int,
    epoch: int,
    callbacks: Iterable[keras.callbacks.Callback] = (),
    schedule: Schedule | None = None,
    first: int = 0,
) -> bool:
    """Trains like `keras.Model.fit`, but under any strategy and with a schedule.

    Keras's `fit` fails under `MultiWorkerMirroredStrategy`. Each process calls its own callbacks.
    If one of them sets `model.stop_training`, all processes stop after that iteration.

    Args:
        model: has `train_step`; made in the scope of the current strategy. Before each step, its
            attribute `turn` is set to the side that trains.
        data: batches, as `training_data` returns them.
        iterations: number of the last iteration.
        epoch: iterations between two calls of `on_epoch_end`.
        callbacks: their `logs` are losses, averaged over all devices.
        schedule: see `wespe_tf.training.schedule`; `Simultaneous` by default.
        first: number of iterations that are already done. It does not shift the epochs.

    Returns:
        Whether a callback stopped the training, in this process or another one.

    Raises:
        UserError: if data cannot be read, a loss is not finite, or a loss scale is too small.
    """
    strategy = model.distribute_strategy
    schedule = schedule or Simultaneous()
    steps: dict[str, Callable] = {}
    told = keras.callbacks.CallbackList(
        list(callbacks),
        model=model,
        epochs=-(-iterations // epoch),
        steps=min(epoch, iterations),
    )
    model.stop_training = False
    anyone = _make_vote(strategy)
    batches = iter(data)
    told.on_train_begin()
    logs: dict[str, float] = {}
    stopped = False
    with reading_errors():
        for begin in range(first - first % epoch, iterations if first < iterations else 0, epoch):
            number = begin // epoch
            told.on_epoch_begin(number)
            for batch in range(max(first - begin, 0), min(epoch, iterations - begin)):
                told.on_train_batch_begin(batch)
                model.turn = schedule.turn()
                if model.turn not in steps:
                    steps[model.turn] = _compile(model, strategy)
                logs = {name: float(value) for name, value in steps[model.turn](batches).items()}
                _check_finite(logs, begin + batch + 1)
                _check_scales(model, begin + batch + 1)
                if isinstance(schedule, DynamicBalance):
                    schedule.observe(*_of_each_side(logs, model.discriminators))
                told.on_train_batch_end(batch, logs)
                stopped = anyone(model.stop_training)
                if stopped:
                    break
            told.on_epoch_end(number, logs)
            if stopped:
                break
    told.on_train_end(logs)
    return stopped


class Progress(keras.callbacks.Callback):
    """Shows the losses beside a run's progress bar, and prints the scores.

    Args:
        bar: from `progress`, for the iterations of the warm start and the training together.
    """

    def __init__(self, bar: tqdm) -> None:
        super().__init__()
        self.bar = bar
        self.first = bar.n
        self.begun = time.monotonic()
        self.count = 0
        self.values: dict[str, float] = {}

    def begin(self, what: str) -> None:
        """Sets the name of the phase that begins, and forgets the losses of the last one."""
        self.bar.set_description_str(what)
        self.values = {}

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Shows the losses. A side that did not train keeps its last loss."""
        self.count += 1
        self.values |= self.shown(logs or {}, getattr(self.model, "discriminators", ["texture"]))
        self.bar.set_postfix({k: f"{v:.4g}" for k, v in self.values.items()}, refresh=False)
        self.bar.update()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Prints scores and the time that is left."""
        scores = [
            f"{name} {logs[name]:.4g}"
            for name in ("psnr", "ssim", "distance")
            if logs and name in logs
        ]
        if scores:
            # `bar.n` does not count while the bar is hidden.
            rest = self.bar.total - self.first - self.count
            seconds = (time.monotonic() - self.begun) * rest / max(1, self.count)
            left = tqdm.format_interval(seconds)
            say(f"evaluation: {', '.join(scores)}; {left} left")

    @staticmethod
    def shown(logs: dict[str, float], discriminators: Collection[str]) -> dict[str, float]:
        """The losses that the bar shows, under short names.

        Args:
            logs: all losses.
            discriminators: names of the discriminators that are trained.
        """
        names = {"loss": "loss", "generator": "G"}
        names |= {f"{name}_disc": f"D {name}" for name in discriminators}
        return {short: logs[name] for name, short in names.items() if name in logs}


def _compile(model: Any, strategy: tf.distribute.Strategy) -> Callable:
    """A function that trains one step on the next batch, and returns the devices' mean losses."""

    @tf.function
    def step(batches: Iterator) -> dict[str, tf.Tensor]:
        values = strategy.run(model.train_step, args=(next(batches),))
        return {k: strategy.reduce("mean", v, axis=None) for k, v in values.items()}

    return step


def _make_vote(strategy: tf.distribute.Strategy) -> Callable[[bool], bool]:
    """A function that all processes call with True or False. It tells whether any gave True."""
    if strategy.num_replicas_in_sync == 1:
        return bool

    @tf.function
    def votes(wanted: tf.Tensor) -> tf.Tensor:
        return strategy.reduce("sum", strategy.run(lambda: tf.cast(wanted, tf.float32)), axis=None)

    return lambda wanted: float(votes(tf.constant(wanted))) > 0


def diverged(iteration: int, found: str) -> UserError:
    """The `UserError` for losses or weights that are NaN or infinite. It says what to try.

    Args:
        iteration: number of the iteration in which this was noticed.
        found: what is wrong.
    """
    return UserError(
        f"iteration {iteration}: {found}; the last checkpoint is kept. Try a smaller "
        "learning_rate= or discriminator_learning_rate=, or precision=float32"
    )


def _check_finite(losses: dict[str, float], iteration: int) -> None:
    for name, value in losses.items():
        if not math.isfinite(value):
            raise diverged(iteration, f"the loss {name} is {value}")


def _check_scales(model: Any, iteration: int) -> None:
    """Raises an error if a loss scale is too small. An overflow of float16 gradients halves it."""
    for side in ("generator", "discriminator"):
        optimizer = getattr(model, f"{side}_optimizer", None)
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            scale = float(optimizer.dynamic_scale)
            if scale < LEAST_SCALE:
                found = f"the gradients of the {side}s overflow, even at the loss scale {scale:g}"
                raise diverged(iteration, found)


def _of_each_side(
    losses: dict[str, float], discriminators: Collection[str]
) -> tuple[float | None, float | None]:
    """The two losses that a schedule observes: the generators', and the discriminators' mean.

    Args:
        losses: all losses.
        discriminators: names of the discriminators that are trained.
    """
    known = [losses[f"{name}_disc"] for name in discriminators if f"{name}_disc" in losses]
    return losses.get("generator"), statistics.fmean(known) if known else None
