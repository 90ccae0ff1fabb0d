"""Keeps arrays as large as a photo, with many channels, as strips in memory and in a file."""

import os
import queue
import shutil
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from io import FileIO
from typing import Self

import numpy as np

from ..errors import UserError, first_line

# Strips in use at the same time: two that are computed, each with a waiting strip and two results;
# the next two strips of both arrays, which are being read; and four that are being written.
BUFFERS = 16
# Fewest rows of a strip. This is more than the largest margin, so a strip needs only its neighbors.
LEAST_ROWS = 5


def strip_starts(length: int, rows: int) -> tuple[int, list[int]]:
    """Strips that cover a picture. All have the same height, and overlap by one row at most.

    Args:
        length: rows of the picture.
        rows: most rows of a strip; more if strips would otherwise be lower than `LEAST_ROWS`.

    Returns:
        Number of rows of a strip, and the first row of each strip.
    """
    count = -(-length // rows)
    if -(-length // count) < LEAST_ROWS:
        count = max(1, count - 1)
    rows = -(-length // count)
    return rows, [k * (length - rows) // max(1, count - 1) for k in range(count)]


def temporary_folder() -> str:
    """The folder for large temporary files: TMPDIR, or /var/tmp, because /tmp may be in memory."""
    if not os.environ.get("TMPDIR") and os.access("/var/tmp", os.W_OK):
        return "/var/tmp"
    return tempfile.gettempdir()


class Strip:
    """A strip of a `Store`.

    Attributes:
        array: its values while they are in memory, or None.
        place: its number in the file, or None if it stays in memory.
    """

    def __init__(self, array: np.ndarray | None, place: int | None):
        self.array, self.place = array, place
        self.work: Future[None] | None = None


class Store:
    """Room for strips of one shape: in memory up to a limit, then in a temporary file.

    The file has no name, so it disappears with the process, even after a crash. A thread reads and
    writes it, in the order of the calls. Use it in a `with` statement.

    Args:
        shape: shape of a strip.
        dtype: dtype of its values.
        in_memory: number of strips that may stay in memory.
        in_file: number of strips that the file has room for.

    Raises:
        UserError: if the disk has too little room, before anything is written.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, in_memory: int, in_file: int):
        self.shape, self.dtype = shape, dtype
        self.size = int(np.prod(shape)) * dtype.itemsize
        self.allowed = in_memory
        self.idle: list[np.ndarray] = []
        self.places = list(range(in_file))
        self.folder = temporary_folder()
        self.file: FileIO | None = None
        if in_file:
            check_room(self.folder, in_file * self.size)
            self.file = tempfile.TemporaryFile(dir=self.folder, buffering=0)
        self.buffers: queue.SimpleQueue[np.ndarray] = queue.SimpleQueue()
        for _ in range(BUFFERS if in_file else 0):
            self.buffers.put(np.empty(shape, dtype))
        self.thread = ThreadPoolExecutor(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.thread.shutdown(cancel_futures=True)
        if self.file is not None:
            self.file.close()

    def take(self) -> Strip:
        """Gives a strip to fill; call `put` when it is full."""
        if self.idle:
            return Strip(self.idle.pop(), None)
        if self.allowed:
            self.allowed -= 1
            return Strip(np.empty(self.shape, self.dtype), None)
        return Strip(self.buffers.get(), self.places.pop())

    def put(self, strip: Strip) -> None:
        """Keeps a strip that has been filled."""
        if strip.place is not None:
            array, strip.array = _array(strip), None
            strip.work = self.thread.submit(self._write, array, strip.place)

    def fetch(self, strip: Strip) -> None:
        """Begins to read a strip that will be needed soon."""
        if strip.array is None and strip.place is not None:
            self._settle(strip)
            strip.array = self.buffers.get()
            strip.work = self.thread.submit(self._read, strip.array, strip.place)

    def get(self, strip: Strip) -> np.ndarray:
        """Gives a strip's array to read; call `close` or `free` afterwards."""
        self.fetch(strip)
        self._settle(strip)
        return _array(strip)

    def close(self, strip: Strip) -> None:
        """Ends `get` or `fetch`; the strip can be read again later."""
        if strip.place is not None and strip.array is not None:
            self._settle(strip)
            self.buffers.put(strip.array)
            strip.array = None

    def free(self, strip: Strip) -> None:
        """Ends the use of a strip for good."""
        if strip.place is None:
            self.idle.append(_array(strip))
        else:
            self.close(strip)
            self.places.append(strip.place)

    @staticmethod
    def _settle(strip: Strip) -> None:
        if strip.work is not None:
            work, strip.work = strip.work, None
            work.result()

    def _descriptor(self) -> int:
        assert self.file is not None
        return self.file.fileno()

    def _write(self, array: np.ndarray, place: int) -> None:
        content, offset = array.data.cast("B"), place * self.size
        try:
            while content:
                done = os.pwrite(self._descriptor(), content, offset)
                content, offset = content[done:], offset + done
        except OSError as error:
            raise UserError(
                f"temporary file in {self.folder}: cannot be written ({first_line(error)})"
            ) from error
        finally:
            self.buffers.put(array)

    def _read(self, array: np.ndarray, place: int) -> None:
        content, offset = array.data.cast("B"), place * self.size
        while content:
            done = os.preadv(self._descriptor(), [content], offset)
            if not done:
                raise UserError(f"temporary file in {self.folder}: ends too early")
            content, offset = content[done:], offset + done


def _array(strip: Strip) -> np.ndarray:
    assert strip.array is not None
    return strip.array


def check_room(folder: str, size: int) -> None:
    """Raises a `UserError` if a disk has less room than this."""
    free = shutil.disk_usage(folder).free
    if free < size:
        raise UserError(
            f"mode=streamed: needs {size / 1e9:.1f} GB on the disk of {folder}, which has "
            f"{free / 1e9:.1f} free; set TMPDIR to another folder, or memory_limit to more memory"
        )
