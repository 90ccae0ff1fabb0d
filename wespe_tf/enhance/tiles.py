"""A photo through a generator in one pass or in tiles that agree, within a bound on memory."""

import dataclasses

import numpy as np

from ..errors import UserError
from ..models.staged import Staged, Statistics, affine, norms, reach
from .memory import limit_needed, room_of_pass
from .runtimes import choose_runtime
from .windows import STEP, spread, windows


def enhance(model, photo):
    """Enhances a photo: in one pass, or in tiles where that would take more than 1.5 GB.

    Args:
        model: a built `Generator`, run by Keras in float32, or an `Enhancer`, which is quicker for
            several photos.
        photo: (H, W, 3) uint8 or uint16 array.

    Returns:
        Array of the same shape and dtype.

    Raises:
        UserError: for a photo so large that not even small tiles fit beside it.
    """
    enhancer = model if isinstance(model, Enhancer) else Enhancer(model, choose_runtime("keras"))
    return enhancer(photo, enhancer.plan(photo))


# `fast` takes the norms' statistics from patches of this side, pixels: many small ones tell more of
# a photo than few large ones, or than a smaller copy. They come in batches, each spread over the
# whole photo and normalized by its own statistics; errors of the batches average out.
PATCH, BATCH, BATCHES = 48, 32, 14
# Least side of the tiles of a plan, and the largest that they have with their margins: of all sides
# the fastest here, in the processor's cache.
SMALLEST_SIDE, LARGEST_WINDOW = 64, 320


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a photo is enhanced.

    Attributes:
        mode: `"whole"`: in one pass; `"fast"`: in tiles, with the norms' statistics from a sample
            of the photo; `"exact"`: in tiles, with those of the photo itself, which takes a pass
            over the photo for each norm.
        side: of the tiles, pixels.
    """

    mode: str
    side: int = 512

    def __str__(self):
        return self.mode if self.mode == "whole" else f"{self.mode}, tiles of {self.side}"


WHOLE = Plan("whole")


class Enhancer:
    """A generator readied for photos of any size.

    Args:
        generator: a built `Generator` in float32.
        runtime: a `Runtime`, by default the fastest here.
        reflect: whether photos are continued by reflection beyond their edges, so that the zero
            padding of the convolutions leaves no frame; the authors' code does not.
    """

    def __init__(self, generator, runtime=None, reflect=True):
        self.runtime = runtime or choose_runtime()
        self.generator = self.runtime.prepare(generator)
        self.reach = reach(generator)
        self.frame = self.reach if reflect else 0
        self.norms = norms(generator)
        self.bytes_per_pixel = self.runtime.footprint * generator.width
        self.ready = {}

    def plan(self, photo, mode="auto", memory_limit=1.5):
        """How to enhance a photo within a bound on the memory of the whole process.

        Args:
            photo: (H, W, 3) array.
            mode: `"auto"` for `"whole"` where that fits the bound, else `"fast"`; or a mode, see
                `Plan`, which is taken whether it fits or not.
            memory_limit: GB.

        Returns:
            A `Plan`.

        Raises:
            UserError: if not even small tiles fit.
        """
        height, width = (length + 2 * self.frame for length in photo.shape[:2])
        pixels = room_of_pass(memory_limit, photo.nbytes) / self.bytes_per_pixel
        small = min(height, width) < PATCH
        if mode == "whole" or mode == "auto" and (height * width <= pixels or small):
            return WHOLE
        if mode == "auto":
            mode = "fast"
        sample = BATCH * PATCH**2 if mode == "fast" else 0
        least = sample + (SMALLEST_SIDE + 2 * self.reach + STEP) ** 2
        if pixels < least:
            needed = limit_needed(photo.nbytes, least * self.bytes_per_pixel)
            raise UserError(
                f"memory_limit={memory_limit:g}: too little for {photo.shape[1]}×{photo.shape[0]} "
                f"pixels, expected at least {np.ceil(100 * needed) / 100:g}"
            )
        window = min(int(np.sqrt(pixels - sample)), LARGEST_WINDOW) // STEP * STEP
        return Plan(mode, window - 2 * self.reach)

    def __call__(self, photo, plan=WHOLE, strength=1.0, result=None):
        """Enhances a photo.

        Args:
            photo: (H, W, 3) uint8 or uint16 array.
            plan: a `Plan`.
            strength: share of the enhanced photo in the result, in [0, 1]; the rest is the input.
            result: array for the result, of the photo's shape and dtype; a new one if None.

        Returns:
            `result`.
        """
        picture = _Framed(photo, self.frame)
        if plan.mode == "whole" or min(picture.shape) < PATCH:
            shape, places = windows(*picture.shape, max(picture.shape), 0)
            run = self._ready("whole")
        else:
            shape, places = windows(*picture.shape, plan.side, self.reach)
            if plan.mode == "fast":
                affines = self._of_sample(picture)
            else:
                affines = self._of_photo(picture, shape, places)
            staged, mask = self._ready(None), np.ones((1, *shape, 1), np.float32)

            def run(tile):
                return staged(tile, affines, mask)

        result = np.empty_like(photo) if result is None else result
        for window in places:
            tile = picture.cut(window.outer, shape)
            enhanced = np.clip(run(tile), 0.0, 1.0)
            if strength != 1.0:
                enhanced = strength * enhanced + (1.0 - strength) * tile
            picture.place(result, enhanced[0][window.cut()], window.inner)
        return result

    def release(self):
        """Frees what the networks keep between photos, at the price of compiling them again."""
        for network in self.ready.values():
            network.release()

    def _of_sample(self, picture):
        """Gains and offsets of all norms, measured on patches all over a framed photo."""
        run = self._ready("statistics")
        room = np.array(picture.shape) - PATCH + 1
        corners = (spread(BATCHES * BATCH) * room).astype(int)
        found = []
        for batch in np.split(corners, BATCHES):
            patches = [picture.cut(corner, (PATCH, PATCH)) for corner in batch]
            found.append(run(np.concatenate(patches)))
        means, variances = np.moveaxis(np.array(found, np.float64), 2, 0)
        return self._affines(means.mean(axis=0), variances.mean(axis=0) + means.var(axis=0))

    def _of_photo(self, picture, shape, places):
        """Gains and offsets of all norms, measured on a framed photo norm by norm, in tiles."""
        means, variances = np.zeros((2, len(self.norms), self.generator.width))
        for stage, norm in enumerate(self.norms):
            affines = self._affines(means, variances)
            if norm is None:
                continue
            run, found = self._ready(stage), []
            for window in places:
                mask = np.zeros((1, *shape, 1), np.float32)
                mask[0][window.cut()] = 1
                moments = run(picture.cut(window.outer, shape), affines, mask)[0]
                found.append((mask.sum(dtype=np.float64), *moments.astype(np.float64)))
            run.release()
            means[stage], variances[stage] = _pooled(found)
        return self._affines(means, variances)

    def _affines(self, means, variances):
        """Gains and offsets, (1, norms, 2, width) float32, from moments, (norms, width)."""
        return np.stack([affine(*each) for each in zip(self.norms, means, variances)])[None]

    def _ready(self, what):
        """A network made ready once: "whole", "statistics", or `Staged` at a stage."""
        if what not in self.ready:
            free, width = (1, None, None, 3), self.generator.width
            if what == "whole":
                model, shapes = self.generator, [free]
            elif what == "statistics":
                margin = reach(self.generator, norms_only=True)
                model, shapes = Statistics(self.generator, margin), [(None, None, None, 3)]
            else:
                model = Staged(self.generator, what)
                shapes = [free, (1, len(self.norms), 2, width), (1, None, None, 1)]
            self.ready[what] = self.runtime.ready(model, shapes)
        return self.ready[what]


class _Framed:
    """A photo continued by reflection, of which no copy is made.

    Attributes:
        shape: height and width with the frame.
    """

    def __init__(self, photo, frame):
        self.photo, self.frame = photo, frame
        self.rows, self.columns = (
            np.pad(np.arange(length), frame, mode="symmetric") for length in photo.shape[:2]
        )
        self.shape = len(self.rows), len(self.columns)

    def cut(self, corner, shape):
        """(1, h, w, 3) float32 in [0, 1] from (top, left)."""
        (top, left), (height, width) = corner, shape
        rows, columns = self.rows[top : top + height], self.columns[left : left + width]
        tile = self.photo[rows[:, None], columns].astype(np.float32)
        tile /= np.iinfo(self.photo.dtype).max
        return tile[None]

    def place(self, result, tile, inner):
        """Writes a tile that covers `inner` of the framed photo, as far as it is of the photo."""
        top, bottom, left, right = (place - self.frame for place in inner)
        height, width = self.photo.shape[:2]
        rows = slice(max(0, -top), max(0, min(bottom, height) - top))
        columns = slice(max(0, -left), max(0, min(right, width) - left))
        tile = tile[rows, columns]
        if tile.size:
            largest = np.iinfo(result.dtype).max
            above, beside = max(top, 0), max(left, 0)
            result[above : above + tile.shape[0], beside : beside + tile.shape[1]] = np.rint(
                tile * largest
            )


def _pooled(parts):
    """Mean and variance of all pixels from (count, mean, squared distance) of parts of them."""
    counts, means, squares = (np.stack(values) for values in zip(*parts))
    total = counts.sum()
    mean = (counts[:, None] * means).sum(axis=0) / total
    distances = squares.sum(axis=0) + (counts[:, None] * (means - mean) ** 2).sum(axis=0)
    return mean, distances / total
