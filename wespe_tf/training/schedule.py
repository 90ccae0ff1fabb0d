"""Who trains next: the generators, the discriminators or both.

A schedule answers `turn()` before an iteration; a `DynamicBalance` is told the losses with
`observe` after it. `current` names its state, `state()` is what a checkpoint has to keep.
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
    """g iterations of the generators, then d of the discriminators, and again.

    Args:
        generator_steps: g, at least 0.
        discriminator_steps: d, at least 0; not both 0.
    """

    current = ""

    def __init__(self, generator_steps: int, discriminator_steps: int) -> None:
        if min(generator_steps, discriminator_steps) < 0 or generator_steps == 0 == (
            discriminator_steps
        ):
            raise ValueError("steps: expected two numbers from 0, one of them at least 1")
        self.generator_steps = generator_steps
        self.period = generator_steps + discriminator_steps
        self.position = 0

    def turn(self) -> str:
        """Who trains in the next iteration: `GENERATORS` or `DISCRIMINATORS`."""
        side = GENERATORS if self.position < self.generator_steps else DISCRIMINATORS
        self.position = (self.position + 1) % self.period
        return side

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps: how far the period has come."""
        return {"position": self.position}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from a `state()`."""
        self.position = state["position"]


class DynamicBalance:
    """The report's balance: whoever is behind trains more, judged by the latest losses.

    An epoch begins in state "start". From iteration `begin` of it on, with means over the last
    `window` losses of either side:

        "generators behind"   the generators' loss is above its threshold
        "discriminators ahead"   otherwise, if the discriminators' loss is below its threshold
        "discriminators behind"   otherwise

    Every state alternates in its own ratio, which begins anew when the state changes, or follows
    the number of the iteration: its turn is the generators' if i mod (g + d) < g. Without a loss
    of both sides so far, the state stays.

    Args:
        ratios: dictionary from state to (generator steps, discriminator steps).
        window: losses in a mean.
        begin: iterations of an epoch before the first decision.
        generator_threshold: see above.
        discriminator_threshold: see above; of the mean of the two discriminators.
        epoch: iterations of an epoch, or None for a single one.
        by_iteration: whether turns follow the number of the iteration in the epoch: report-code.
    """

    RATIOS = {
        "start": (1, 2),
        "generators behind": (1, 0),
        "discriminators ahead": (3, 1),
        "discriminators behind": (1, 3),
    }

    def __init__(
        self,
        ratios: dict[str, tuple[int, int]] | None = None,
        window: int = 5,
        begin: int = 20,
        generator_threshold: float = 0.015,
        discriminator_threshold: float = 0.55,
        epoch: int | None = None,
        by_iteration: bool = False,
    ) -> None:
        self.ratios = {**self.RATIOS, **(ratios or {})}
        self.begin = begin
        self.generator_threshold = generator_threshold
        self.discriminator_threshold = discriminator_threshold
        self.epoch = epoch
        self.by_iteration = by_iteration
        self.losses: dict[str, collections.deque[float]] = {
            side: collections.deque(maxlen=window) for side in (GENERATORS, DISCRIMINATORS)
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
        """Takes note of an iteration's losses.

        Args:
            generator_loss: of the generators, or None where they did not train.
            discriminator_loss: mean of the two discriminators', or None where they did not.
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
        """State "start", iterations counted anew; losses are kept."""
        self.iteration = 0
        self._enter("start")

    def _decide(self) -> str:
        generators, discriminators = (sum(values) / len(values) for values in self.losses.values())
        if generators > self.generator_threshold:
            return "generators behind"
        if discriminators < self.discriminator_threshold:
            return "discriminators ahead"
        return "discriminators behind"

    def _enter(self, state: str) -> None:
        self.current = state
        self.ratio = Alternating(*self.ratios[state])


Schedule = Simultaneous | Alternating | DynamicBalance


def make_schedule(config: TrainConfig) -> Schedule:
    """The schedule that a `TrainConfig` asks for.

    Args:
        config: `TrainConfig`.

    Raises:
        UserError: on a ratio that is not one.
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
