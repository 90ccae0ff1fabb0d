"""Schedules: they decide whether the generators, the discriminators or both train next.

The training loop calls `turn()` before each iteration. After it, a `DynamicBalance` gets the
losses through `observe`. `current` names the schedule's state. A checkpoint keeps `state()`.
"""

import collections
import re
from typing import Any

from ..config.schema import TrainConfig
from ..errors import UserError
from ..models.wespe import BOTH, DISCRIMINATORS, GENERATORS


class Simultaneous:
    """Both sides train in every iteration."""

    current = ""

    def turn(self) -> str:
        """Who trains in the next iteration: `BOTH`."""
        return BOTH

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps: nothing."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from a `state()`."""


class Alternating:
    """Repeats: g iterations of the generators, then d iterations of the discriminators.

    Args:
        generator_steps: g, at least 0.
        discriminator_steps: d, at least 0; g + d is at least 1.
    """

    current = ""

    def __init__(self, generator_steps: int, discriminator_steps: int) -> None:
        self.generator_steps = generator_steps
        self.period = generator_steps + discriminator_steps
        self.position = 0

    def turn(self) -> str:
        """Who trains in the next iteration: `GENERATORS` or `DISCRIMINATORS`."""
        side = GENERATORS if self.position < self.generator_steps else DISCRIMINATORS
        self.position = (self.position + 1) % self.period
        return side

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps: the position in the period of g + d iterations."""
        return {"position": self.position}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from a `state()`."""
        self.position = state["position"]


class DynamicBalance:
    """The report's dynamic balance (REPRODUCTION.md): the side that is behind trains more.

    An epoch begins in the state "start". From its iteration `begin` on, the state follows from each
    side's mean over its last `WINDOW` losses:

        "generators behind"   if the generators' mean is above its threshold
        "discriminators ahead"   otherwise, if the discriminators' mean is below its threshold
        "discriminators behind"   otherwise

    The state stays as it is until both sides have a loss. Each state has its own ratio of g to d
    iterations. By default the ratio starts from its beginning when the state changes.

    Args:
        begin: iterations of an epoch before the first decision.
        epoch: iterations of an epoch, or None for a single epoch without end.
        by_iteration: as in the report's code, the generators train in iteration i of the epoch if
            i mod (g + d) < g.
    """

    WINDOW = 5
    GENERATOR_THRESHOLD, DISCRIMINATOR_THRESHOLD = 0.015, 0.55
    RATIOS = {
        "start": (1, 2),
        "generators behind": (1, 0),
        "discriminators ahead": (3, 1),
        "discriminators behind": (1, 3),
    }

    def __init__(
        self, begin: int = 20, epoch: int | None = None, by_iteration: bool = False
    ) -> None:
        self.begin = begin
        self.epoch = epoch
        self.by_iteration = by_iteration
        self.losses: dict[str, collections.deque[float]] = {
            side: collections.deque(maxlen=self.WINDOW) for side in (GENERATORS, DISCRIMINATORS)
        }
        self._begin_epoch()

    def turn(self) -> str:
        """Who trains in the next iteration: `GENERATORS` or `DISCRIMINATORS`."""
        if self.iteration == self.epoch:
            self._begin_epoch()
        if self.iteration >= self.begin and all(self.losses.values()):
            state = self._decide()
            if state != self.current:
                self._enter(state)
        if self.by_iteration:
            self.ratio.position = self.iteration % self.ratio.period
        self.iteration += 1
        return self.ratio.turn()

    def observe(
        self, generator_loss: float | None = None, discriminator_loss: float | None = None
    ) -> None:
        """Stores the losses of an iteration.

        Args:
            generator_loss: the generators' loss, or None if they did not train.
            discriminator_loss: mean loss of the discriminators, or None if they did not train.
        """
        for side, loss in ((GENERATORS, generator_loss), (DISCRIMINATORS, discriminator_loss)):
            if loss is not None:
                self.losses[side].append(float(loss))

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps: a dictionary that JSON can hold."""
        return {
            "current": self.current,
            "iteration": self.iteration,
            "ratio": self.ratio.state(),
            "losses": {side: list(values) for side, values in self.losses.items()},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from a `state()`."""
        self._enter(state["current"])
        self.iteration = state["iteration"]
        self.ratio.restore(state["ratio"])
        for side, values in state["losses"].items():
            self.losses[side].clear()
            self.losses[side].extend(values)

    def _begin_epoch(self) -> None:
        """Enters the state "start" and counts iterations from 0. The losses are kept."""
        self.iteration = 0
        self._enter("start")

    def _decide(self) -> str:
        generators, discriminators = (sum(values) / len(values) for values in self.losses.values())
        if generators > self.GENERATOR_THRESHOLD:
            return "generators behind"
        if discriminators < self.DISCRIMINATOR_THRESHOLD:
            return "discriminators ahead"
        return "discriminators behind"

    def _enter(self, state: str) -> None:
        self.current = state
        self.ratio = Alternating(*self.RATIOS[state])


Schedule = Simultaneous | Alternating | DynamicBalance


def make_schedule(config: TrainConfig) -> Schedule:
    """The schedule that the setting `schedule` names.

    Raises:
        UserError: if the setting `ratio` is not of the form 1:2.
    """
    if config.schedule == "simultaneous":
        return Simultaneous()
    if config.schedule == "alternating":
        return Alternating(*_ratio(config.ratio))
    return DynamicBalance(
        begin=config.balance_begin,
        epoch=config.balance_epoch,
        by_iteration=config.balance_turns == "by_iteration",
    )


def _ratio(text: str) -> tuple[int, int]:
    """The two numbers of the setting `ratio`, such as "1:2"."""
    found = re.fullmatch(r"(\d{1,4}):(\d{1,4})", text)
    if found is None or not int(found[1]) + int(found[2]):
        raise UserError(f"ratio={text}: expected generator:discriminator steps, such as 1:2")
    return int(found[1]), int(found[2])
