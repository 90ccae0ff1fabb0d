"""Runs a photo through a generator within a memory limit: whole, or in parts of equal result."""

import abc
import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..errors import UserError
from ..models.generator import Generator
from ..models.staged import reach, stages
from ..progress import progress
from . import memory
from .picture import Framed, has_color, remove_color
from .runtimes import Runtime, choose_runtime
from .stream import DELAY, streamed
from .strips import BUFFERS, LEAST_ROWS, Store, strip_starts
from .windows import STEP, window_shape, windows

# Smallest side of a plan's tiles, and largest side with their margins. The latter is the fastest of
# all sides, because such a tile fits into the processor's cache. Wide margins need a larger one.
SMALLEST_SIDE, LARGEST_WINDOW = 64, 320

Inner = tuple[int, int, int, int]


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a photo is enhanced.

    Attributes:
        mode: `"whole"`: in one pass; `"streamed"`: in parts, with the same result.
        side: side of the tiles in pixels, if the parts are tiles; else 0.
        rows: rows of a strip, if the network runs stage by stage; else 0.
        in_memory: number of strips that stay in memory between stages.
        in_file: number of strips in a temporary file.
        on_disk: size of that file in bytes.
    """

    mode: str
    side: int = 0
    rows: int = 0
    in_memory: int = 0
    in_file: int = 0
    on_disk: int = 0

    def __str__(self) -> str:
        parts = f", tiles of {self.side}" if self.side else ""
        parts += f", strips of {self.rows} rows" if self.rows else ""
        return self.mode + parts + (f", {self.on_disk / 1e9:.1f} GB on disk" * bool(self.on_disk))


WHOLE = Plan("whole")


class PhotoEnhancer(abc.ABC):
    """Enhances photos of any size. Subclasses run the network, and decide how to divide a photo.

    Attributes:
        runtime: what computes; its text is printed.
        frame: width in pixels of the mirror image that continues a photo beyond its edges.
    """

    runtime: Any
    frame = 0

    @abc.abstractmethod
    def plan(self, photo: np.ndarray, mode: str = "auto", memory_limit: str | float = 1.5) -> Plan:
        """How to enhance a photo within a limit on the memory of the whole process.

        Args:
            photo: (H, W, 3) array.
            mode: `"auto"`: `"whole"` if that fits into the limit, else `"streamed"`; or a mode,
                see `Plan`, which is used even if it does not fit.
            memory_limit: GB, or `"auto"`, see `memory.memory_limit`.

        Raises:
            UserError: if not even small parts fit.
        """

    @abc.abstractmethod
    def parts(self, picture: Framed, plan: Plan) -> Iterator[tuple[Inner, np.ndarray]]:
        """The enhanced photo part by part.

        Yields:
            (top, bottom, left, right) of a part in the framed photo, and the part, (h, w, 3)
            float32, not clipped. The part may be overwritten when the next one is computed.
        """

    def __call__(
        self, photo: np.ndarray, plan: Plan = WHOLE, result: np.ndarray | None = None
    ) -> np.ndarray:
        """Enhances a photo. A photo without any color stays without color.

        Args:
            photo: (H, W, 3) uint8 or uint16 array.
            plan: a `Plan`.
            result: array for the result, of the photo's shape and dtype; a new one if None.

        Returns:
            `result`.
        """
        picture = Framed(photo, self.frame)
        result = np.empty_like(photo) if result is None else result
        for inner, part in self.parts(picture, plan):
            picture.place(result, part, inner)
        if not has_color(photo):
            remove_color(result)
        return result

    @abc.abstractmethod
    def release(self) -> None:
        """Frees what is kept between photos. The next photo then takes longer."""


def in_windows(
    picture: Framed,
    shape: tuple[int, int],
    margin: int,
    run: Callable[[np.ndarray], np.ndarray],
) -> Iterator[tuple[Inner, np.ndarray]]:
    """`PhotoEnhancer.parts` for a network whose results depend only on nearby pixels.

    Args:
        picture: the photo.
        shape: (height, width) of the windows.
        margin: see `windows.windows`.
        run: function of (1, height, width, 3) float32 pictures in [0, 1] that enhances them.
    """
    found = windows(*picture.shape, shape, margin)
    for window in progress(
        found, desc="tiles", delay=DELAY, leave=False, disable=len(found) < 2 or None
    ):
        yield window.inner, run(picture.cut(window.outer, shape))[0][window.cut()]


class Enhancer(PhotoEnhancer):
    """A generator that is prepared for photos of any size.

    Args:
        generator: a built `Generator` in float32.
        runtime: a `Runtime`; by default the fastest one here.
        reflect: whether photos are continued by their mirror image beyond their edges. Without it,
            as in the authors' code, the zero padding of the convolutions leaves a frame.
    """

    def __init__(
        self, generator: Generator, runtime: Runtime | None = None, reflect: bool = True
    ) -> None:
        self.runtime = runtime or choose_runtime()
        self.generator = self.runtime.prepare(generator)
        self.reach = reach(generator)
        self.frame = self.reach if reflect else 0
        self.stages = stages(self.generator)
        # Without a norm that measures the photo, tiles are independent of each other.
        self.local = not any(stage.measures for stage in self.stages)
        self.network: Any = None
        self.stage_networks: list[Any] = []

    def plan(self, photo: np.ndarray, mode: str = "auto", memory_limit: str | float = 1.5) -> Plan:
        height, width = (length + 2 * self.frame for length in photo.shape[:2])
        limit = memory.memory_limit(memory_limit)
        room = memory.room_of_pass(limit, photo.nbytes)
        pass_bytes = self.runtime.footprint * self.generator.width * height * width
        if mode == "whole" or mode == "auto" and pass_bytes <= room:
            return WHOLE
        least, plan = (self._tiles if self.local else self._strips)(height, width, room)
        if plan is None:
            needed = memory.limit_needed(photo.nbytes, least)
            raise UserError(
                f"memory_limit={limit:g}: too little for {photo.shape[1]}×{photo.shape[0]} "
                f"pixels, expected at least {np.ceil(100 * needed) / 100:g}"
            )
        return plan

    def _tiles(self, height: int, width: int, room: float) -> tuple[float, Plan | None]:
        """Bytes that the smallest tiles need, and a plan with tiles for `room` bytes."""
        pixel = self.runtime.footprint * self.generator.width
        smallest = SMALLEST_SIDE + 2 * self.reach + STEP
        least = smallest**2 * pixel
        if room < least:
            return least, None
        window = min(int(np.sqrt(room / pixel)), max(LARGEST_WINDOW, smallest)) // STEP * STEP
        return least, Plan("streamed", side=window - 2 * self.reach)

    def _strips(self, height: int, width: int, room: float) -> tuple[float, Plan | None]:
        """Bytes that the lowest strips need, and a plan with strips for `room` bytes."""
        row = width * self.generator.width * self.runtime.value_bytes

        def needs(rows: int, buffers: int) -> float:
            pixels = (rows + 2) * width * self.generator.width
            work = self.runtime.stages_bytes + pixels * self.runtime.stage_footprint
            return work + buffers * rows * row

        rows = max(LEAST_ROWS, min(self.runtime.strip_pixels // width, height))
        while rows > LEAST_ROWS and needs(rows, BUFFERS) > room:
            rows = max(LEAST_ROWS, rows // 2)
        rows, starts = strip_starts(height, rows)
        strip, wanted = rows * row, 2 * len(starts) + 4
        in_memory = int(max(0, room - needs(rows, 0)) // strip)
        if in_memory >= wanted:
            return 0, Plan("streamed", rows=rows, in_memory=wanted)
        least = needs(rows, BUFFERS)
        if room < least:
            return least, None
        in_memory = int((room - least) // strip)
        in_file = wanted - in_memory
        return least, Plan("streamed", 0, rows, in_memory, in_file, in_file * strip)

    def parts(self, picture: Framed, plan: Plan) -> Iterator[tuple[Inner, np.ndarray]]:
        if plan.rows:
            return self._in_strips(picture, plan)
        if self.network is None:
            self.network = self.runtime.ready(self.generator)
        shape = window_shape(*picture.shape, plan.side, self.reach) if plan.side else picture.shape
        return in_windows(picture, shape, self.reach if plan.side else 0, self.network)

    def _in_strips(self, picture: Framed, plan: Plan) -> Iterator[tuple[Inner, np.ndarray]]:
        if not self.stage_networks:
            self.stage_networks = [self.runtime.stage(each, self.generator) for each in self.stages]
        height, width = picture.shape
        rows, starts = strip_starts(height, plan.rows)
        shape = 1, rows, width, self.generator.width
        dtype = np.dtype(np.uint16 if self.runtime.value_bytes == 2 else np.float32)
        with Store(shape, dtype, plan.in_memory, plan.in_file) as store:
            networks = self.stage_networks
            parts = streamed(picture, self.stages, networks, store, starts)
            with contextlib.closing(parts):  # Closed before the store, which its threads use.
                for top, part in parts:
                    yield (top, top + rows, 0, width), part[0]

    def release(self) -> None:
        if self.network is not None:
            self.network.release()
        self.stage_networks = []


def enhance(model: Generator | Enhancer, photo: np.ndarray) -> np.ndarray:
    """Enhances a photo: in one pass, or in parts if the process would take more than 1.5 GB.

    Args:
        model: a built `Generator`, which Keras runs in float32; or an `Enhancer`, which is faster
            for several photos.
        photo: (H, W, 3) uint8 or uint16 array.

    Returns:
        Array of the same shape and dtype.

    Raises:
        UserError: if the photo is so large that not even small parts fit into the limit.
    """
    enhancer = model if isinstance(model, Enhancer) else Enhancer(model, choose_runtime("keras"))
    return enhancer(photo, enhancer.plan(photo))
