"""Runs a photo through a generator stage by stage, so that each norm sees the whole photo.

An instance norm must know the whole photo before it can pass on the first pixel. So each
convolution runs over the whole photo in strips. Its results are kept, and the sums for their mean
and variance are added up. The next stage begins with the norm. A strip needs only as much of its
neighbors as one convolution sees.
"""

import collections
import dataclasses
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import keras
import numpy as np
from tqdm import tqdm

from ..models.staged import Stage, affine
from ..progress import progress
from .picture import Framed
from .stage_networks import Rows, StageNetwork, Work
from .strips import Store, Strip

# The progress bar appears only if a photo takes longer than this, in seconds.
DELAY = 2
# After photos with more pixels, no graph is kept for the next photo. In OpenVINO, the graphs of all
# stages keep up to 0.5 GB. Compiling them takes a fiftieth of the time of such a photo, or less.
LARGE = 6e6


def streamed(
    picture: Framed,
    stages: Sequence[Stage],
    networks: Sequence[Any],
    store: Store,
    starts: list[int],
) -> Generator[tuple[int, np.ndarray], None, None]:
    """Enhances a photo.

    Args:
        picture: the photo.
        stages: stages of the generator.
        networks: a `StageNetwork` for each stage.
        store: a store for strips as wide as the photo.
        starts: first row of each strip, see `strips.strip_starts`.

    Yields:
        First row of a strip, and the enhanced strip, (1, height of the store's strips, width, 3)
        float32, from top to bottom.
    """
    total = len(stages) * len(starts)
    with (
        ThreadPoolExecutor(networks[0].at_once) as pool,
        progress(total=total, desc="strips", delay=DELAY, leave=False) as bar,
    ):
        run = _Run(picture, pool, store, starts, bar)
        for stage, network in zip(stages, networks):
            if stage.last:
                yield from run.pictures(stage, network)
            else:
                run.work(stage, network)
            network.release(graph=picture.shape[0] * picture.shape[1] > LARGE)


@dataclasses.dataclass
class _Job:
    """A strip that is being computed.

    Attributes:
        number: number of the strip.
        taken: strips that are read for it.
        work: inputs and outputs.
        result: strip for the stage's output; None for the last stage.
        keep: strip for the convolution's input, if it will wait for a join; else None.
        sums: what the network will return.
    """

    number: int
    taken: list[Strip]
    work: Work
    result: Strip | None
    keep: Strip | None
    sums: Future[np.ndarray | None]


class _Run:
    """The state between two stages.

    Attributes:
        current: strips of the last stage's output; empty before the first stage.
        waiting: strips of the tensor that waits for a join.
        bar: progress bar, which counts every strip of every stage.
        affine: (2, channels) float32, gain and offset of the next norm.
    """

    def __init__(
        self,
        picture: Framed,
        pool: ThreadPoolExecutor,
        store: Store,
        starts: list[int],
        bar: tqdm,
    ) -> None:
        self.picture, self.pool, self.store, self.bar = picture, pool, store, bar
        self.rows, self.starts = store.shape[1], starts
        self.current: list[Strip] = []
        self.waiting: list[Strip] = []
        self.affine = np.zeros((2, store.shape[3]), np.float32)

    def work(self, stage: Stage, network: StageNetwork) -> None:
        """Runs a stage over the whole photo."""
        pilot = np.zeros_like(self.affine[0])
        if stage.measures:
            pilot = self._pilot(stage, network)
        moments = Moments()
        given: list[Any] = []
        kept: list[Any] = []
        for job in self._jobs(stage, network, pilot):
            given.append(job.result)
            kept.append(job.keep)
            sums = job.sums.result()
            if sums is not None:
                moments.add(sums[:, : self._own_rows(job.number)], self.picture.shape[1])
        if stage.step.part == "branch":
            self.waiting = kept if stage.keeps else self.current
        self.current = given
        if stage.measures:
            self.affine = moments.affine(stage, pilot)

    def pictures(self, stage: Stage, network: StageNetwork) -> Iterator[tuple[int, np.ndarray]]:
        """Runs the last stage over the whole photo."""
        for job in self._jobs(stage, network, self.affine[0]):
            yield self.starts[job.number], job.work.result

    def _jobs(self, stage: Stage, network: StageNetwork, pilot: np.ndarray) -> Iterator[_Job]:
        """Yields every strip in order, when it is done. Frees its input, unless that will wait."""
        keeps_current = stage.step.part == "branch" and not stage.keeps
        lanes = [_Lane(self.store, self.current, stage.margin)] if not stage.first else []
        lanes += [_Lane(self.store, self.waiting, stage.margin)] if stage.joins else []
        running: collections.deque[_Job] = collections.deque()

        def done() -> _Job:
            job = running.popleft()
            job.sums.result()
            for strip in (job.result, job.keep):
                if strip is not None:
                    self.store.put(strip)
            for strip in job.taken:
                self.store.close(strip) if keeps_current else self.store.free(strip)
            self.bar.update()
            return job

        for k in range(len(self.starts)):
            own = self._own_rows(k)
            inputs: list[Any] = [lane.open(k, own) for lane in lanes]
            inputs = inputs or [self._photo(stage.margin, k)]
            result = None if stage.last else self.store.take()
            keep = self.store.take() if stage.keeps else None
            work = self._work(stage, k, inputs, pilot, result, keep)
            taken = [lane.strips[k] for lane in lanes]
            running.append(_Job(k, taken, work, result, keep, self.pool.submit(network, work)))
            if len(running) == network.at_once:
                yield done()
        while running:
            yield done()

    def _work(
        self,
        stage: Stage,
        k: int,
        inputs: list[Any],
        pilot: np.ndarray,
        result: Strip | None,
        keep: Strip | None,
    ) -> Work:
        first = self.starts[k] - stage.margin
        rows = np.arange(first, first + self.rows + 2 * stage.margin)
        inside = ((rows >= 0) & (rows < self.picture.shape[0])).astype(np.float32)
        x, waiting = inputs if len(inputs) == 2 else (inputs[0], None)
        target = None if result is None else result.array
        if target is None:
            target = np.empty((1, self.rows, self.picture.shape[1], 3), np.float32)
        kept = None if keep is None else keep.array
        return Work(x, waiting, self.affine, inside, pilot, target, kept)

    def _own_rows(self, k: int) -> int:
        """Number of rows of a strip that are not in the next strip, too."""
        return self.starts[k + 1] - self.starts[k] if k + 1 < len(self.starts) else self.rows

    def _pilot(self, stage: Stage, network: StageNetwork) -> np.ndarray:
        """Means of a stage's output for the strip in the middle, (width,) float32; approximate.

        When these are subtracted first, sums of squares lose no digits.
        """
        k = len(self.starts) // 2
        taken = [self.current[k], self.waiting[k]] if stage.joins else [self.current[k]]
        around = _no_rows(self.store, stage.margin)
        inputs = [Rows(around, self.store.get(strip), around) for strip in taken]
        result, keep = self.store.take(), self.store.take() if stage.keeps else None
        nothing = np.zeros_like(self.affine[0])
        sums = network(self._work(stage, k, inputs, nothing, result, keep))
        for strip in (result, keep):
            if strip is not None:
                self.store.free(strip)
        for strip in taken:
            self.store.close(strip)
        assert sums is not None
        return (sums[0].mean(axis=0) / self.picture.shape[1]).astype(np.float32)

    def _photo(self, margin: int, k: int) -> np.ndarray:
        """Rows of the photo with margin, with zeros beyond the photo."""
        height, width = self.picture.shape
        first, end = self.starts[k] - margin, self.starts[k] + self.rows + margin
        top, bottom = max(0, first), min(height, end)
        part = self.picture.cut((top, 0), (bottom - top, width))
        return np.pad(part, ((0, 0), (top - first, end - bottom), (0, 0), (0, 0)))


class _Lane:
    """Opens the strips of an array one after another, each with rows of its neighbors.

    Args:
        store: store of the strips.
        strips: all strips of an array as large as the photo.
        margin: number of rows of each neighbor.
    """

    def __init__(self, store: Store, strips: list[Strip], margin: int):
        self.store, self.strips, self.margin = store, strips, margin
        self.above = _no_rows(store, margin)

    def open(self, k: int, own: int) -> Rows:
        """Opens a strip. Afterwards, close or free it.

        Args:
            k: its number.
            own: number of its rows that are not in the next strip, too.
        """
        for soon in self.strips[k + 1 : k + 3]:
            self.store.fetch(soon)
        array, above = self.store.get(self.strips[k]), self.above
        self.above = array[:, own - self.margin : own].copy()
        if k + 1 == len(self.strips):
            return Rows(above, array, _no_rows(self.store, self.margin))
        first = array.shape[1] - own
        below = self.store.get(self.strips[k + 1])[:, first : first + self.margin].copy()
        return Rows(above, array, below)


def _no_rows(store: Store, count: int) -> np.ndarray:
    """Zeros that stand for rows beyond the photo."""
    return np.zeros((1, count, *store.shape[2:]), store.dtype)


class Moments:
    """Mean and variance of every channel, from sums in float64."""

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
        """Gain and offset of a stage's norm for values from which `pilot` was subtracted.

        Returns:
            (2, channels) float32 array.
        """
        mean, squares = np.asarray(self.sums) / self.pixels
        variance = np.maximum(squares - mean**2, 0.0)
        found = keras.ops.convert_to_numpy(affine(stage.step.norm, mean + pilot, variance))
        return np.stack([found[0], found[1] + found[0] * pilot]).astype(np.float32)
