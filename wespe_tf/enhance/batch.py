"""Photos enhanced one after another, read and written by threads of their own."""

import collections
import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import tensorflow as tf

from ..config.schema import TestConfig
from ..errors import UserError, first_line
from ..files import make_folder
from ..images.decoding import to_8_bits
from ..images.photo import Photo, pixel_bytes, read_photo, write_photo
from ..images.picture import read_picture
from ..metrics import quality
from ..progress import progress
from .blend import blend
from .memory import COPIES, Budget, limit_of_photo, memory_limit, room_of_photos
from .origins import Origins
from .runtimes import Runtime
from .tasks import Task, before_after_path, result_path
from .tiles import Plan

# What runtimes raise where they cannot run a network, for want of memory above all.
RUNTIME_ERRORS = (RuntimeError, MemoryError, tf.errors.OpError)


@dataclasses.dataclass
class Record:
    """What is known of an enhanced photo.

    Attributes:
        task: `Task`.
        size: (width, height), pixels.
        plan: `Plan` by which it was enhanced.
        runtime: `Runtime` that did it.
        seconds: that it took, without reading and writing.
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
        origin: what tells the photo from others.
        held: gives the photo's share of the memory back when it is closed.
    """

    task: Task
    photo: Photo
    both: np.ndarray
    origin: dict
    held: contextlib.ExitStack


class Batch:
    """Photos enhanced one after another; the next is read and the last written meanwhile.

    Args:
        config: `TestConfig`.
        enhancer: as of `cli.make_enhancer`.
        origins: of the results.
        several: whether a bad photo does not end the work.

    Attributes:
        records: a `Record` of every photo that is done.
        failures: what went wrong with every other one.
    """

    def __init__(self, config: TestConfig, enhancer: Any, origins: Origins, several: bool):
        self.config, self.enhancer, self.several = config, enhancer, several
        self.origins = origins
        self.limit = memory_limit(config.memory_limit)
        self.budget = Budget(room_of_photos(self.limit))
        self.records: list[Record] = []
        self.failures: list[str] = []

    def run(self, tasks: list[Task]) -> None:
        """Enhances photos; a failure ends it only where there is one photo altogether."""
        writing = None
        with (
            ThreadPoolExecutor(1) as reader,
            ThreadPoolExecutor(1) as writer,
            progress(total=len(tasks), desc="photos", disable=len(tasks) < 2 or None) as bar,
            self.budget,
        ):
            for task, reading in zip(tasks, _one_ahead(reader, self._read, tasks)):
                done = self._guarded(task, self._enhance, reading)
                # Here and in `_one_ahead` nothing keeps a photo alive that has been given back.
                del reading
                self._guarded(None, _settle, writing)
                writing = writer.submit(self._write, *done) if done else None
                if done:
                    bar.write(f"{task.path}: {done[1].numbers()}")
                del done
                bar.update()
            self._guarded(None, _settle, writing)

    def _guarded(self, task: Task | None, function: Callable, argument: Any) -> Any:
        """What a function returns, or None where it fails by a `UserError`, which is kept.

        Args:
            task: whose photo the message names, if it does not yet; or None.
            function: of one argument.
            argument: for it.
        """
        try:
            return function(argument)
        except UserError as error:
            message = str(error)
        if task is not None and task.path not in message:
            message = f"{task.path}: {message}"
        if not self.several:
            raise UserError(message)
        self.failures.append(message)  # The error itself would keep its photo.

    def _read(self, task: Task) -> _Work:
        """A photo with its result's place beside it."""
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
        """The photo with its result beside it, and a `Record`."""
        work = reading.result()
        task, pixels = work.task, work.photo.pixels
        height, width = pixels.shape[:2]
        with work.held as held:
            try:
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
                    self.enhancer.release()  # Writing so large a photo takes the networks' room.
                score = _score(task, enhanced)
            except RUNTIME_ERRORS as error:
                reason = first_line(error)
                raise UserError(f"{task.path}: cannot be enhanced ({reason})") from error
            work.held = held.pop_all()
        runtime = self.enhancer.runtime
        return work, Record(task, (width, height), plan, runtime, seconds, score)

    def _write(self, work: _Work, record: Record) -> None:
        """Writes the results, and keeps the record of a photo of which they are there."""
        with work.held:
            path = result_path(work.task, self.config)
            beside = before_after_path(work.task, self.config)
            make_folder(path.parent)
            if not (os.path.isfile(beside) and self.origins.is_kept(path, work.origin)):
                write_photo(beside, Photo(work.both))
            enhanced = work.both[:, record.size[0] :]
            # Last: a photo of which it is there is done.
            photo = dataclasses.replace(work.photo, pixels=enhanced)
            write_photo(path, photo, self.config.quality)
            self.origins.add(path, work.origin)
            self.records.append(record)


def _one_ahead(
    pool: ThreadPoolExecutor, function: Callable[..., Any], arguments: Iterable[Any]
) -> Iterator[Future]:
    """Futures of `function` of each argument, the next one begun while one is worked on."""
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
    eight = to_8_bits(enhanced)
    return quality.psnr(eight, target), quality.ssim(eight, target)
