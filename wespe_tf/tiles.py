"""A photo through a generator in one pass or in tiles that agree, within a bound on memory."""

import dataclasses

import numpy as np

from .models.staged import Staged, Statistics, affine, norms, reach

# Pixels of the copy whose statistics `fast` takes for the photo's.
COPY_PIXELS = 1_000_000


@dataclasses.dataclass
class Window:
    """A tile: the `inner` part of the picture that it answers for, and the `outer` it looks at.

    Attributes:
        outer: (top, left), of a window of the tiling's size.
        inner: (top, bottom, left, right) in the picture.
    """

    outer: tuple
    inner: tuple

    def cut(self):
        """Slices of the inner part within the outer window."""
        top, bottom, left, right = self.inner
        above, beside = self.outer
        return slice(top - above, bottom - above), slice(left - beside, right - beside)


def windows(height, width, side, margin):
    """Tiles of a picture, all of one size, that together answer for every pixel once.

    Args:
        height: of the picture.
        width: of the picture.
        side: of the inner parts, pixels.
        margin: that an outer window has around its inner part, but at the picture's edges.

    Returns:
        (outer height, outer width), list of `Window`.
    """
    outer_height, outer_width = (min(side + 2 * margin, length) for length in (height, width))
    found = []
    for top in range(0, height, side):
        for left in range(0, width, side):
            bottom, right = min(top + side, height), min(left + side, width)
            above = min(max(top - margin, 0), height - outer_height)
            beside = min(max(left - margin, 0), width - outer_width)
            found.append(Window((above, beside), (top, bottom, left, right)))
    return (outer_height, outer_width), found


class Enhancer:
    """A generator readied for photos of any size.

    Args:
        generator: a built `Generator` in float32.
        runtime: see `runtimes.choose_runtime`.
        reflect: whether photos are continued by reflection beyond their edges, so that the zero
            padding of the convolutions leaves no frame; the authors' code does not.
    """

    def __init__(self, generator, runtime, reflect=True):
        self.generator = generator
        self.runtime = runtime
        self.reach = reach(generator)
        self.frame = self.reach if reflect else 0
        self.norms = norms(generator)
        self.ready = {}

    def __call__(self, photo, mode="whole", side=512, strength=1.0):
        """Enhances a photo.

        Args:
            photo: (H, W, 3) uint8 or uint16 array.
            mode: `"whole"`: in one pass; `"fast"`: in tiles, with the norms' statistics from a
                copy of a million pixels; `"exact"`: in tiles, with those of the photo itself,
                which takes a pass over the photo for each norm.
            side: of the tiles, pixels.
            strength: share of the enhanced photo in the result, in [0, 1]; the rest is the input.

        Returns:
            Array of the same shape and dtype.
        """
        picture = _Framed(photo, self.frame)
        if mode == "whole":
            shape, places = windows(*picture.shape, max(picture.shape), 0)
            run = self._compiled("whole")
        else:
            shape, places = windows(*picture.shape, side, self.reach)
            affines = self._of_copy(photo) if mode == "fast" else self._of_photo(picture, side)
            staged, mask = self._compiled(None), np.ones((1, *shape, 1), np.float32)

            def run(tile):
                return staged(tile, affines, mask)

        result = np.empty_like(photo)
        for window in places:
            tile = picture.cut(window.outer, shape)
            enhanced = np.clip(run(tile), 0.0, 1.0)
            if strength != 1.0:
                enhanced = strength * enhanced + (1.0 - strength) * tile
            picture.place(result, enhanced[0][window.cut()], window.inner)
        return result

    def _of_copy(self, photo):
        """Gains and offsets of all norms, measured on a smaller copy of a photo."""
        run = self._compiled("statistics")
        copy = _Framed(_smaller(photo, COPY_PIXELS), self.frame)
        moments = run(copy.cut((0, 0), copy.shape))[0]
        return np.stack([affine(norm, *pair) for norm, pair in zip(self.norms, moments)])[None]

    def _of_photo(self, picture, side):
        """Gains and offsets of all norms, measured on a framed photo norm by norm, in tiles."""
        shape, places = windows(*picture.shape, side, self.reach)
        affines = np.zeros((1, len(self.norms), 2, self.generator.width), np.float32)
        for stage, norm in enumerate(self.norms):
            found = []
            if norm is not None:
                run = self._compiled(stage)
                for window in places:
                    mask = np.zeros((1, *shape, 1), np.float32)
                    mask[0][window.cut()] = 1
                    mean, squares = run(picture.cut(window.outer, shape), affines, mask)[0]
                    found.append((mask.sum(), mean.astype(np.float64), squares.astype(np.float64)))
            affines[0, stage] = affine(norm, *_pooled(found, self.generator.width))
        return affines

    def _compiled(self, what):
        """A model made ready once: "whole", "statistics", or `Staged` at a stage."""
        if what not in self.ready:
            free, width = (1, None, None, 3), self.generator.width
            if what == "whole":
                model, shapes = self.generator, [free]
            elif what == "statistics":
                model, shapes = Statistics(self.generator), [free]
            else:
                model = Staged(self.generator, what)
                shapes = [free, (1, len(self.norms), 2, width), (1, None, None, 1)]
            self.ready[what] = self.runtime(model, shapes)
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


def _smaller(photo, pixels):
    """A copy of at most that many pixels, each the mean of a block."""
    factor = int(np.ceil(np.sqrt(photo.shape[0] * photo.shape[1] / pixels)))
    if factor == 1:
        return photo
    height, width = photo.shape[0] // factor, photo.shape[1] // factor
    copy = np.zeros((height, width, 3), np.float32)
    for row in range(factor):
        for column in range(factor):
            copy += photo[row::factor, column::factor][:height, :width]
    return np.rint(copy / factor**2).astype(photo.dtype)


def _pooled(parts, width):
    """Mean and variance of all pixels from (count, mean, squared distance) of parts of them."""
    if not parts:
        return np.zeros(width), np.ones(width)
    counts, means, squares = (np.stack(values) for values in zip(*parts))
    total = counts.sum()
    mean = (counts[:, None] * means).sum(axis=0) / total
    distances = squares.sum(axis=0) + (counts[:, None] * (means - mean) ** 2).sum(axis=0)
    return mean, distances / total
