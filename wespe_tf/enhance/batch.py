"""Enhances photos one after another. Other threads read and write them."""

import collections
import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from ..config.schema import TestConfig
from ..errors import UserError
from ..files import make_folder
from ..images.decoding import to_8_bits
from ..images.photo import Photo, pixel_bytes, read_photo, write_photo
from ..images.picture import read_picture
from ..metrics import quality
from ..progress import progress
from .blend import blend
from .memory import COPIES, Budget, limit_of_photo, memory_limit, room_of_photos
from .origins import Origins
from .runtimes import Runtime, enhancing
from .tasks import Task, before_after_path, result_path
from .tiles import Plan


@dataclasses.dataclass
class Record:
    """Facts about an enhanced photo.

    Attributes:
        task: `Task`.
        size: (width, height) in pixels.
        plan: `Plan` by which it was enhanced.
        runtime: `Runtime` that computed it, or the text "tflite".
        seconds: time that it took, without reading and writing.
        score: (PSNR in dB, SSIM) against the target, or None.
    """

    task: Task
    size: tuple[int, int]
    plan: Plan
    runtime: Runtime
    seconds: float
    score: tuple[float, float] | None

    def numbers(self) -> str:
        """Size, plan, runtime, seconds and scores as one line."""
        parts = [f"{self.size[0]}×{self.size[1]}", str(self.plan), str(self.runtime)]
        parts.append(f"{self.seconds:.1f} s")
        if self.score is not None:
            parts.append("PSNR {:.2f} dB   SSIM {:.4f}".format(*self.score))
        return "   ".join(parts)


@dataclasses.dataclass
class _Work:
    """A photo on its way through the threads.

    Attributes:
        task: `Task`.
        photo: `Photo`.
        both: (H, 2W, 3) array: the pixels of `photo`, and beside them room for the result.
        origin: identity of the photo, see `Origins.photo`.
        held: gives the photo's share of the memory back when it is closed.
    """

    task: Task
    photo: Photo
    both: np.ndarray
    origin: dict
    held: contextlib.ExitStack


class Batch:
    """Enhances a photo while the next one is read and the last one is written.

    Args:
        config: `TestConfig`.
        enhancer: from `cli.make_enhancer`.
        origins: origins of the results.
        several: whether there are several photos; then a bad one does not end the work.

    Attributes:
        records: a `Record` for every photo that is done.
        failures: an error message for every photo that failed.
    """

    def __init__(self, config: TestConfig, enhancer: Any, origins: Origins, several: bool):
        self.config, self.enhancer, self.several = config, enhancer, several
        self.origins = origins
        self.limit = memory_limit(config.memory_limit)
        self.budget = Budget(room_of_photos(self.limit))
        self.records: list[Record] = []
        self.failures: list[str] = []

    def run(self, tasks: list[Task]) -> None:
        """Enhances photos. A failure ends the work only if there is a single photo."""
        writing = None
        with (
            ThreadPoolExecutor(1) as reader,
            ThreadPoolExecutor(1) as writer,
            progress(total=len(tasks), desc="photos", disable=len(tasks) < 2 or None) as bar,
            self.budget,
        ):
            for task, reading in zip(tasks, _one_ahead(reader, self._read, tasks)):
                done = self._guarded(task, self._enhance, reading)
                # Nothing here or in `_one_ahead` may keep a photo whose memory was given back.
                del reading
                self._guarded(None, _settle, writing)
                writing = writer.submit(self._write, *done) if done else None
                if done:
                    bar.write(f"{task.path}: {done[1].numbers()}")
                del done
                bar.update()
            self._guarded(None, _settle, writing)

    def _guarded(self, task: Task | None, function: Callable, argument: Any) -> Any:
        """Calls a function. If it raises a `UserError`, keeps the message and returns None.

        Args:
            task: if given, its photo is added to a message that does not name it.
            function: function of one argument.
            argument: this argument.
        """
        try:
            return function(argument)
        except UserError as error:
            message = str(error)
        if task is not None and task.path not in message:
            message = f"{task.path}: {message}"
        if not self.several:
            raise UserError(message)
        self.failures.append(message)  # The error itself would keep its photo in memory.

    def _read(self, task: Task) -> _Work:
        """Reads a photo, and makes room for its result beside it."""
        size, limit = pixel_bytes(task.path), self.limit
        needed = limit_of_photo(size)
        if needed > limit and self.config.mode != "whole":
            raise UserError(
                f"{task.path}: memory_limit={limit:g} is too little, expected at least "
                f"{np.ceil(100 * needed) / 100:g}"
            )
        with self.budget.share(COPIES * size) as held:
            origin = self.origins.photo(task.path)
            photo = read_photo(task.path)
            height, width = photo.pixels.shape[:2]
            both = np.empty((height, 2 * width, 3), photo.pixels.dtype)
            both[:, :width] = photo.pixels
            photo = dataclasses.replace(photo, pixels=both[:, :width])
            return _Work(task, photo, both, origin, held.pop_all())

    def _enhance(self, reading: Future) -> tuple[_Work, Record]:
        """Enhances a photo that has been read. Returns it with its result, and a `Record`."""
        work = reading.result()
        task, pixels = work.task, work.photo.pixels
        height, width = pixels.shape[:2]
        with work.held as held:
            with enhancing(task.path):
                plan = self.enhancer.plan(pixels, self.config.mode, self.limit)
                start = time.monotonic()
                enhanced = work.both[:, width:]
                self.enhancer(pixels, plan, enhanced)
                blend(
                    *(pixels, enhanced),
                    *(self.config.strength, self.config.tone, self.config.detail),
                )
                seconds = time.monotonic() - start
                if COPIES * pixels.nbytes > self.budget.size:
                    self.enhancer.release()  # Writing such a large photo needs this memory.
                score = _score(task, enhanced)
            work.held = held.pop_all()
        runtime = self.enhancer.runtime
        return work, Record(task, (width, height), plan, runtime, seconds, score)

    def _write(self, work: _Work, record: Record) -> None:
        """Writes the results, and then adds the record."""
        with work.held:
            path = result_path(work.task, self.config)
            beside = before_after_path(work.task, self.config)
            make_folder(path.parent)
            if not (os.path.isfile(beside) and self.origins.is_kept(path, work.origin)):
                write_photo(beside, Photo(work.both))
            enhanced = work.both[:, record.size[0] :]
            # Last: a photo is done if this result exists.
            photo = dataclasses.replace(work.photo, pixels=enhanced)
            write_photo(path, photo, self.config.quality)
            self.origins.add(path, work.origin)
            self.records.append(record)


def _one_ahead(
    pool: ThreadPoolExecutor, function: Callable[..., Any], arguments: Iterable[Any]
) -> Iterator[Future]:
    """A future of `function` for each argument. The next one runs while the caller uses one."""
    futures: collections.deque[Future] = collections.deque()
    for argument in arguments:
        futures.append(pool.submit(function, argument))
        if len(futures) == 2:
            yield futures.popleft()
    while futures:
        yield futures.popleft()


def _settle(future: Future) -> None:
    if future is not None:
        future.result()


def _score(task: Task, enhanced: np.ndarray) -> tuple[float, float] | None:
    """PSNR in dB and SSIM against the target, in 8 bits; None without one."""
    if task.target is None:
        return None
    target = read_picture(task.target)
    if target.shape != enhanced.shape:
        raise UserError(
            f"{task.target}: {target.shape[1]}×{target.shape[0]} pixels, but {task.path} has "
            f"{enhanced.shape[1]}×{enhanced.shape[0]}"
        )
    least = quality.SSIM_WINDOW
    if min(enhanced.shape[:2]) < least:
        raise UserError(
            f"{task.path}: too small for SSIM, expected at least {least}×{least} pixels"
        )
    eight = to_8_bits(enhanced)
    return quality.psnr(eight, target), quality.ssim(eight, target)
