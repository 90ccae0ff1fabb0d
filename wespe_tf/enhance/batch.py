"""Photos enhanced one after another, read and written by threads of their own."""

import collections
import dataclasses
import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from ..errors import UserError, first_line
from ..files import make_folder
from ..images.decoding import to_8_bits
from ..images.photo import Photo, pixel_bytes, read_photo, write_photo
from ..images.picture import read_picture
from ..metrics import quality
from .blend import blend
from .memory import COPIES, Budget, limit_of_photo, memory_limit, room_of_photos
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
    size: tuple
    plan: Plan
    runtime: Runtime
    seconds: float
    score: tuple | None

    def numbers(self):
        """Size, plan, runtime, seconds and scores as one line."""
        parts = [f"{self.size[0]}×{self.size[1]}", str(self.plan), str(self.runtime)]
        parts.append(f"{self.seconds:.1f} s")
        if self.score is not None:
            parts.append("PSNR {:.2f} dB   SSIM {:.4f}".format(*self.score))
        return "   ".join(parts)


class Batch:
    """Photos enhanced one after another; the next is read and the last written meanwhile.

    Attributes:
        records: a `Record` of every photo that is done.
        failures: what went wrong with every other one.
    """

    def __init__(self, config, enhancer, several):
        self.config, self.enhancer, self.several = config, enhancer, several
        self.limit = memory_limit(config.memory_limit)
        self.budget = Budget(room_of_photos(self.limit))
        self.records, self.failures = [], []

    def run(self, tasks):
        """Enhances photos; a failure ends it only where there is one photo altogether."""
        writing = None
        with (
            ThreadPoolExecutor(1) as reader,
            ThreadPoolExecutor(1) as writer,
            tqdm(total=len(tasks), unit="photo", disable=len(tasks) < 2) as bar,
            self.budget,
        ):
            for reading in _one_ahead(reader, self._read, tasks):
                done = self._guarded(self._enhance, reading)
                # Here and in `_one_ahead` nothing keeps a photo alive that has been given back.
                del reading
                self._guarded(_settle, writing)
                writing = writer.submit(self._write, *done) if done else None
                if done:
                    bar.write(f"{done[0].task.path}: {done[0].numbers()}")
                del done
                bar.update()
            self._guarded(_settle, writing)

    def _guarded(self, function, *arguments):
        """What a function returns, or None where it fails by a `UserError`, which is kept."""
        try:
            return function(*arguments)
        except UserError as error:
            if not self.several:
                raise
            self.failures.append(str(error))  # The error itself would keep its photo.

    def _read(self, task):
        """A photo with its result's place beside it."""
        size, limit = pixel_bytes(task.path), self.limit
        needed = limit_of_photo(size)
        if needed > limit and self.config.mode != "whole":
            raise UserError(
                f"{task.path}: memory_limit={limit:g} is too little, expected at least "
                f"{np.ceil(100 * needed) / 100:g}"
            )
        share = COPIES * size
        self.budget.take(share)
        try:
            photo = read_photo(task.path)
            height, width = photo.pixels.shape[:2]
            both = np.empty((height, 2 * width, 3), photo.pixels.dtype)
            both[:, :width] = photo.pixels
            return task, dataclasses.replace(photo, pixels=both[:, :width]), both, share
        except BaseException:
            self.budget.give_back(share)
            raise

    def _enhance(self, reading):
        """A `Record`, and the photo with its result beside it."""
        task, photo, both, share = reading.result()
        try:
            height, width = photo.pixels.shape[:2]
            plan = self.enhancer.plan(photo.pixels, self.config.mode, self.limit)
            start = time.monotonic()
            enhanced = both[:, width:]
            self.enhancer(photo.pixels, plan, enhanced)
            blend(
                *(photo.pixels, enhanced),
                *(self.config.strength, self.config.tone, self.config.detail),
            )
            seconds = time.monotonic() - start
            if share > self.budget.size:
                self.enhancer.release()  # Writing so large a photo takes the networks' room.
            score = _score(task, enhanced)
        except RUNTIME_ERRORS as error:
            self.budget.give_back(share)
            reason = first_line(error)
            raise UserError(f"{task.path}: cannot be enhanced ({reason})") from error
        except BaseException:
            self.budget.give_back(share)
            raise
        record = Record(task, (width, height), plan, self.enhancer.runtime, seconds, score)
        return record, photo, both, share

    def _write(self, record, photo, both, share):
        """Writes the results, and keeps the record of a photo of which they are there."""
        try:
            path = result_path(record.task, self.config)
            beside = before_after_path(record.task, self.config)
            make_folder(path.parent)
            if self.config.overwrite or not os.path.isfile(beside):
                write_photo(beside, Photo(both))
            enhanced = both[:, record.size[0] :]
            # Last: a photo of which it is there is done.
            write_photo(path, dataclasses.replace(photo, pixels=enhanced), self.config.quality)
            self.records.append(record)
        finally:
            self.budget.give_back(share)


def _one_ahead(pool, function, arguments):
    """Futures of `function` of each argument, the next one begun while one is worked on."""
    futures = collections.deque()
    for argument in arguments:
        futures.append(pool.submit(function, argument))
        if len(futures) == 2:
            yield futures.popleft()
    while futures:
        yield futures.popleft()


def _settle(future):
    if future is not None:
        future.result()


def _score(task, enhanced):
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
