"""The training loop: a step compiled once for each turn, on one device or on many."""

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

# The smallest normal number of float16: less than that and losses would vanish in turn.
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
    """Trains as `keras.Model.fit` does, under any strategy and with a schedule.

    Keras's own fails under `MultiWorkerMirroredStrategy`. Of `callbacks` each process calls its
    own; all of them stop after the iteration in which one asked for it (`model.stop_training`).

    Args:
        model: with `train_step`, made in the scope of the current strategy; its attribute `turn`
            says whose step that is.
        data: as `training_data` returns.
        iterations: number of the last one.
        epoch: iterations between two calls of `on_epoch_end`.
        callbacks: list of `keras.callbacks.Callback`; `logs` are losses, means over all devices.
        schedule: see `wespe_tf.training.schedule`; `Simultaneous` by default.
        first: iterations that are done already; epochs end where they would without.

    Returns:
        Whether it was stopped, by a callback of this process or of another one.

    Raises:
        UserError: if data cannot be read, a loss is not finite or a loss scale exhausted.
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
                    schedule.observe(*_of_each_side(logs))
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
    """Moves the bar of a run on, with the sum of each side's losses; scores get a line.

    Args:
        bar: as of `progress`, over the iterations of the warm start and of the training.
    """

    def __init__(self, bar: tqdm) -> None:
        super().__init__()
        self.bar = bar
        self.first = bar.n
        self.begun = time.monotonic()
        self.count = 0
        self.values: dict[str, float] = {}

    def begin(self, what: str) -> None:
        """Names what the bar shows from now on."""
        self.bar.set_description_str(what)
        self.values = {}

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Shows losses; of a side whose turn it is not, the last ones."""
        self.count += 1
        self.values |= self.shown(logs or {}, getattr(self.model, "discriminators", ["texture"]))
        self.bar.set_postfix({k: f"{v:.4g}" for k, v in self.values.items()}, refresh=False)
        self.bar.update()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Prints scores, and how long the run still takes."""
        scores = [
            f"{name} {logs[name]:.4g}"
            for name in ("psnr", "ssim", "distance")
            if logs and name in logs
        ]
        if scores:
            # A bar that is not shown does not count.
            rest = self.bar.total - self.first - self.count
            seconds = (time.monotonic() - self.begun) * rest / max(1, self.count)
            left = tqdm.format_interval(seconds)
            say(f"evaluation: {', '.join(scores)}; {left} left")

    @staticmethod
    def shown(logs: dict[str, float], discriminators: Collection[str]) -> dict[str, float]:
        """The losses that the bar shows, by short names.

        Args:
            logs: all losses.
            discriminators: names of those that are trained.
        """
        names = {"loss": "loss", "generator": "G"}
        names |= {f"{name}_disc": f"D {name}" for name in discriminators}
        return {short: logs[name] for name, short in names.items() if name in logs}


def _compile(model: Any, strategy: tf.distribute.Strategy) -> Callable:
    """A function from the batches' iterator to the losses of one step, means over all devices."""

    @tf.function
    def step(batches: Iterator) -> dict[str, tf.Tensor]:
        values = strategy.run(model.train_step, args=(next(batches),))
        return {k: strategy.reduce("mean", v, axis=None) for k, v in values.items()}

    return step


def _make_vote(strategy: tf.distribute.Strategy) -> Callable[[bool], bool]:
    """A function of whether this process wants something, to whether any process does."""
    if strategy.num_replicas_in_sync == 1:
        return bool

    @tf.function
    def votes(wanted: tf.Tensor) -> tf.Tensor:
        return strategy.reduce("sum", strategy.run(lambda: tf.cast(wanted, tf.float32)), axis=None)

    return lambda wanted: float(votes(tf.constant(wanted))) > 0


def diverged(iteration: int, found: str) -> UserError:
    """The `UserError` for numbers that are none any more, with what to try.

    Args:
        iteration: in which that was noticed.
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
    """With float16, a step whose gradients overflow is left out and the next one scaled less."""
    for side in ("generator", "discriminator"):
        optimizer = getattr(model, f"{side}_optimizer", None)
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            scale = float(optimizer.dynamic_scale)
            if scale < LEAST_SCALE:
                found = f"the loss scale of the {side}s is {scale:g}, their gradients overflow"
                raise diverged(iteration, found)


def _of_each_side(losses: dict[str, float]) -> tuple[float | None, float | None]:
    """Losses as a schedule observes them: the generators', the mean of the discriminators'."""
    discriminators = [value for name, value in losses.items() if name.endswith("_disc")]
    return losses.get("generator"), statistics.fmean(discriminators) if discriminators else None
