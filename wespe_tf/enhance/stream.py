"""A photo through a generator stage by stage, so that a norm sees the whole of it.

Instance norm must know a whole photo before it passes on the first pixel. So each convolution is
worked off over the whole photo in strips, what it gives is kept, and its moments are added up; the
next one begins with the norm. No strip needs more of its neighbors than one convolution sees.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import keras
import numpy as np

from ..models.staged import Stage, affine
from .stage_networks import Rows, StageNetwork, Work
from .strips import Store, Strip


class Picture(Protocol):
    """A photo of which parts can be cut."""

    shape: tuple[int, int]

    def cut(self, corner: tuple[int, int], shape: tuple[int, int]) -> np.ndarray: ...


def streamed(
    picture: Picture,
    stages: Sequence[Stage],
    networks: Sequence[Any],
    store: Store,
    rows: int,
    starts: list[int],
) -> Iterator[tuple[int, np.ndarray]]:
    """Enhances a photo.

    Args:
        picture: the photo.
        stages: of the generator.
        networks: a `StageNetwork` for each.
        store: for strips of `rows` rows.
        rows: of the strips.
        starts: first row of each strip, see `strips.strip_starts`.

    Yields:
        First row of a strip, and the strip enhanced, (1, rows, width, 3) float32; as the last stage
        comes to them.
    """
    run = _Run(picture, networks[0].axis, store, rows, starts)
    for stage, network in zip(stages, networks):
        if stage.last:
            yield from run.pictures(stage, network)
        else:
            run.work(stage, network)
        network.release()


class _Run:
    """The state between two stages.

    Attributes:
        current: strips of what the last stage gave; empty before the first stage.
        waiting: strips of what waits beside it.
        affine: (2, channels) float32 of the norm that comes next.
    """

    def __init__(
        self, picture: Picture, axis: int, store: Store, rows: int, starts: list[int]
    ) -> None:
        self.picture, self.axis, self.store = picture, axis, store
        self.rows, self.starts = rows, starts
        self.current: list[Strip] = []
        self.waiting: list[Strip] = []
        channels = store.shape[1 if axis == 2 else 3]
        self.affine = np.zeros((2, channels), np.float32)

    def work(self, stage: Stage, network: StageNetwork) -> None:
        """A stage over the whole photo."""
        pilot = np.zeros_like(self.affine[0])
        if stage.measures:
            pilot = self._pilot(stage, network)
        moments = Moments()
        given, kept = [], []
        for k, x, waiting in self._strips(stage):
            result = self.store.take()
            keep = self.store.take() if stage.keeps else None
            sums = network(self._work(stage, k, x, waiting, pilot, result, keep))
            self.store.put(result)
            given.append(result)
            if keep is not None:
                self.store.put(keep)
                kept.append(keep)
            if sums is not None:
                moments.add(sums[:, : self._own_rows(k)], self.picture.shape[1])
        if stage.step.part == "branch":
            self.waiting = kept if stage.keeps else self.current
        self.current = given
        if stage.measures:
            self.affine = moments.affine(stage, pilot)

    def pictures(self, stage: Stage, network: StageNetwork) -> Iterator[tuple[int, np.ndarray]]:
        """The last stage over the whole photo."""
        result = np.empty((1, self.rows, self.picture.shape[1], 3), np.float32)
        for k, x, waiting in self._strips(stage):
            network(self._work(stage, k, x, waiting, self.affine[0], result, None))
            yield self.starts[k], result

    def _work(
        self,
        stage: Stage,
        k: int,
        x: Any,
        waiting: Rows | None,
        pilot: np.ndarray,
        result: Any,
        keep: Strip | None,
    ) -> Work:
        first = self.starts[k] - stage.margin
        rows = np.arange(first, first + self.rows + 2 * stage.margin)
        inside = ((rows >= 0) & (rows < self.picture.shape[0])).astype(np.float32)
        target: Any = result.array if isinstance(result, Strip) else result
        kept = None if keep is None else keep.array
        return Work(x, waiting, self.affine, inside, pilot, target, kept)

    def _own_rows(self, k: int) -> int:
        """Rows of a strip that are not the next one's too."""
        return self.starts[k + 1] - self.starts[k] if k + 1 < len(self.starts) else self.rows

    def _pilot(self, stage: Stage, network: StageNetwork) -> np.ndarray:
        """Means of what a stage gives of the strip in the middle, (width,) float32.

        Sums of squares of what is left when they are taken away lose no digits.
        """
        k = len(self.starts) // 2
        x = self._window(self.current, stage.margin, k)
        waiting = self._window(self.waiting, stage.margin, k) if stage.joins else None
        strip = self.store.take()
        keep = self.store.take() if stage.keeps else None
        nothing = np.zeros_like(self.affine[0])
        sums = network(self._work(stage, k, x, waiting, nothing, strip, keep))
        for used in (strip, keep):
            if used is not None:
                self.store.free(used)
        assert sums is not None
        return (sums[0].mean(axis=0) / self.picture.shape[1]).astype(np.float32)

    def _strips(self, stage: Stage) -> Iterator[tuple[int, Any, Rows | None]]:
        """Number, what the stage takes and what waits, of every strip; old ones are given up."""
        if stage.first:
            for k in range(len(self.starts)):
                yield k, self._photo(stage.margin, k), None
            return
        keep_current = stage.step.part == "branch" and not stage.keeps
        currents = self._rows(self.current, stage.margin, keep_current)
        if stage.joins:
            waitings = self._rows(self.waiting, stage.margin, False)
            # Strict: both are to come to their ends, where the last strips are given up.
            for k, (x, waiting) in enumerate(zip(currents, waitings, strict=True)):
                yield k, x, waiting
        else:
            for k, x in enumerate(currents):
                yield k, x, None

    def _photo(self, margin: int, k: int) -> np.ndarray:
        """Rows of the photo with margin, zeros beyond it."""
        height, width = self.picture.shape
        first, end = self.starts[k] - margin, self.starts[k] + self.rows + margin
        top, bottom = max(0, first), min(height, end)
        part = self.picture.cut((top, 0), (bottom - top, width))
        return np.pad(part, ((0, 0), (top - first, end - bottom), (0, 0), (0, 0)))

    def _rows(self, strips: list[Strip], margin: int, keep: bool) -> Iterator[Rows]:
        """Every strip with its margin, in order; behind it they are closed or given up."""
        above = self._part(None, 0, margin)
        for k, strip in enumerate(strips):
            for soon in strips[k + 1 : k + 3]:
                self.store.fetch(soon)
            array = self.store.get(strip)
            yield Rows(above, array, self._below(strips, margin, k))
            if k + 1 < len(strips):
                above = self._part(array, self._own_rows(k) - margin, margin)
            if keep:
                self.store.close(strip)
            else:
                self.store.free(strip)

    def _window(self, strips: list[Strip], margin: int, k: int) -> Rows:
        """Copies of one strip and its margin."""
        above = self._part(None, 0, margin)
        if k > 0:
            array = self.store.get(strips[k - 1])
            above = self._part(array, self._own_rows(k - 1) - margin, margin)
            self.store.close(strips[k - 1])
        array = self._part(self.store.get(strips[k]), 0, self.rows)
        self.store.close(strips[k])
        below = self._below(strips, margin, k)
        if k + 1 < len(strips):
            self.store.close(strips[k + 1])
        return Rows(above, array, below)

    def _below(self, strips: list[Strip], margin: int, k: int) -> np.ndarray:
        if k + 1 == len(strips):
            return self._part(None, 0, margin)
        return self._part(self.store.get(strips[k + 1]), self.rows - self._own_rows(k), margin)

    def _part(self, array: np.ndarray | None, first: int, count: int) -> np.ndarray:
        """A copy of some rows of a strip, or zeros."""
        if array is None:
            shape = list(self.store.shape)
            shape[self.axis] = count
            return np.zeros(shape, self.store.dtype)
        where = [slice(None)] * 4
        where[self.axis] = slice(first, first + count)
        return array[tuple(where)].copy()


class Moments:
    """Mean and variance of every channel, added up in float64."""

    def __init__(self) -> None:
        self.pixels = 0
        self.sums: np.ndarray | float = 0.0

    def add(self, sums: np.ndarray, columns: int) -> None:
        """Adds rows.

        Args:
            sums: (2, rows, channels) float64: sums of values and of squares along each row.
            columns: pixels of a row.
        """
        self.pixels += sums.shape[1] * columns
        self.sums = self.sums + sums.sum(axis=1)

    def affine(self, stage: Stage, pilot: np.ndarray) -> np.ndarray:
        """Gain and offset of a stage's norm for values from which `pilot` has been taken.

        Returns:
            (2, channels) float32 array.
        """
        mean, squares = np.asarray(self.sums) / self.pixels
        variance = np.maximum(squares - mean**2, 0.0)
        found = keras.ops.convert_to_numpy(affine(stage.step.norm, mean + pilot, variance))
        return np.stack([found[0], found[1] + found[0] * pilot]).astype(np.float32)
