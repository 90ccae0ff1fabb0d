"""Runs .tflite files on this machine, with the results that a phone will have."""

import functools
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..errors import UserError, optional
from ..images.places import at_least, patches_at
from . import memory
from .picture import Framed
from .tiles import WHOLE, Inner, PhotoEnhancer, Plan, in_windows
from .windows import windows

SUFFIX = ".tflite"
# If tiles are exact, photos larger than this are enhanced in windows with this side, in pixels.
TILE = 512
# Bytes that a pass takes for each pixel and channel of the graph's widest layer (docs/PHONES.md).
FOOTPRINT = 45.0


# Mean and variance of the inputs of an adaptive file's norms, (1, norms, 1, width) float32 each.
Moments = tuple[np.ndarray, np.ndarray]


class LiteRTModel:
    """A generator that `export_tflite.py` wrote, run by the LiteRT interpreter.

    Tiles are exact if no norm measures the tile, because the norms are frozen, or their moments
    (mean and variance) are an input. The JSON file beside the model says so. Then larger photos are
    enhanced in overlapping windows, else whole. An adaptive file has a second signature, `measure`.
    It computes the moments from patches of the photo.

    Args:
        path: path of the .tflite file.

    Attributes:
        shape: (height, width) that the graph takes, or None for any.
        io: dtype of the graph's input and output, `"float32"` or `"uint8"`.
        margin: pixels by which windows must overlap on each side; None if only whole photos give
            the right result.
        adaptive: whether the moments of the whole photo are an input of the graph.

    Raises:
        UserError: if there is no such file, or it does not turn one picture into another.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        with optional("export", f"model={path}"):
            from ai_edge_litert.interpreter import Interpreter
        self.open = functools.partial(Interpreter, str(path), num_threads=os.cpu_count())
        try:
            self.interpreter = self.open()
            inputs = self.interpreter.get_input_details()
            outputs = self.interpreter.get_output_details()
            signatures = self.interpreter.get_signature_list()
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(f"model={path}: not a readable {SUFFIX} file") from error
        self.adaptive = {"enhance", "measure"} <= set(signatures)
        self.inputs = {t["name"]: t["index"] for t in inputs}
        pictures = [t for t in inputs if not self.adaptive or t["name"] == "photo"]
        shapes = [tuple(t["shape_signature"]) for t in (*pictures, *outputs)]
        self.io = np.dtype(pictures[0]["dtype"]).name if pictures else None
        if (
            len(pictures) != 1
            or len(outputs) != 1
            or any(len(s) != 4 or s[0] != 1 or s[3] != 3 for s in shapes)
            or self.io not in ("float32", "uint8")
            or pictures[0]["dtype"] != outputs[0]["dtype"]
            or self.adaptive
            and not {"mean", "variance"} <= set(self.inputs)
        ):
            raise UserError(
                f"model={path}: expected one (1, height, width, 3) input and output of float32 or "
                "uint8"
            )
        self.input, self.output = pictures[0]["index"], outputs[0]["index"]
        height, width = shapes[0][1:3]
        self.shape = None if -1 in (height, width) else (int(height), int(width))
        self.margin, self.patches = _described(self.path, self.adaptive)
        self.allocated: tuple | None = None

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        """Enhances pictures that have the same size.

        Args:
            pictures: (N, H, W, 3) float32 array in [0, 1].

        Returns:
            float32 array of the same shape. The bytes of a uint8 graph are divided by 255.

        Raises:
            UserError: if the graph does not take this size.
        """
        return np.stack([self._enhance(picture) for picture in pictures])

    def _enhance(self, picture: np.ndarray) -> np.ndarray:
        result = np.empty_like(picture)
        picture, moments = self.filled(picture), self.measure(picture)
        height, width = picture.shape[:2]
        window = self.window(height, width, TILE)
        for each in windows(height, width, window, self.margin or 0):
            (top, left), (first, end, start, last) = each.outer, each.inner
            tile = picture[top : top + window[0], left : left + window[1]]
            target = result[first:end, start:last]
            enhanced = self.run_float(tile, moments)[each.cut()]
            target[:] = enhanced[: target.shape[0], : target.shape[1]]
        return result

    def filled(self, photo: np.ndarray) -> np.ndarray:
        """A photo. If it is smaller than the file's tiles, it is mirrored at its edges."""
        if self.margin is None:
            return photo
        return at_least(photo, self.shape or (1, 1))

    def measure(self, photo: np.ndarray) -> Moments | None:
        """The moments of a photo for an adaptive file; None for other files.

        Each call of the graph measures 32 patches. Then the moments of all calls are pooled.

        Args:
            photo: (H, W, 3) array of float32 in [0, 1] or of integers.
        """
        if self.patches is None:
            return None
        count, side, places = self.patches
        # An interpreter of its own: arrays of a signature's results may point into its memory.
        run, found = self.open().get_signature_runner("measure"), []
        for batch in np.split(places, len(places) // count):
            patches = as_float(patches_at(photo, batch, side))
            moments = run(patches=self._taken(patches))
            found.append([moments[name].astype(np.float64) for name in ("mean", "variance")])
        means, variances = np.moveaxis(np.array(found), 1, 0)
        pooled = means.mean(axis=0), variances.mean(axis=0) + means.var(axis=0)
        return tuple(moments.astype(np.float32) for moments in pooled)

    def window(self, height: int, width: int, side: int) -> tuple[int, int]:
        """Size of the windows in which a photo is enhanced. It is the photo's own for one pass.

        Args:
            height: height of the photo.
            width: width of the photo.
            side: largest side of the windows in pixels, if the graph takes any.

        Returns:
            (height, width).

        Raises:
            UserError: if the graph does not take photos of this size.
        """
        if self.margin is None or self.shape == (height, width):
            return height, width
        window = self.shape or (min(side, height), min(side, width))
        least = 2 * self.margin
        if all(p == w or least < p < w for p, w in zip(window, (height, width))):
            return window
        if self.shape is not None:
            self._refuse(height, width)
        return height, width

    def run_float(self, picture: np.ndarray, moments: Moments | None = None) -> np.ndarray:
        """One pass over an (H, W, 3) float32 array in [0, 1]. The result has about this range."""
        size = picture.shape[:2]
        if self.shape not in (None, size):
            self._refuse(*size)
        result = self.run(self._taken(picture), moments)
        return result / np.float32(255 if self.io == "uint8" else 1)

    def _taken(self, picture: np.ndarray) -> np.ndarray:
        return np.rint(picture * 255).astype(np.uint8) if self.io == "uint8" else picture

    def run(self, picture: np.ndarray, moments: Moments | None = None) -> np.ndarray:
        """Runs the graph.

        Args:
            picture: (H, W, 3) array of the graph's dtype and, if it is fixed, of its size.
            moments: for an adaptive file, see `measure`.

        Returns:
            Array of the same shape and dtype.

        Raises:
            UserError: if the graph cannot take this size.
        """
        if self.allocated != picture.shape:
            try:
                if self.shape is None:
                    self.interpreter.resize_tensor_input(self.input, (1, *picture.shape))
                self.interpreter.allocate_tensors()
            except (ValueError, RuntimeError) as error:
                raise UserError(
                    f"model={self.path}: cannot take {size_text(picture.shape)}"
                ) from error
            self.allocated = picture.shape
        self.interpreter.set_tensor(self.input, picture[None])
        for name, values in zip(("mean", "variance"), moments or ()):
            self.interpreter.set_tensor(self.inputs[name], values)
        self.interpreter.invoke()
        return self.interpreter.get_tensor(self.output)[0]

    def _refuse(self, height: int, width: int) -> None:
        assert self.shape is not None
        smaller = "" if self.margin is None else " or smaller"
        raise UserError(
            f"model={self.path}: takes photos of {size_text(self.shape)}{smaller}, this one has "
            f"{size_text((height, width))}"
        )


class LiteRTEnhancer(PhotoEnhancer):
    """Enhances photos with a .tflite file, without a mirror image beyond their edges.

    Args:
        path: path of the .tflite file.
    """

    runtime = "tflite"

    def __init__(self, path: str | Path):
        self.model = LiteRTModel(path)
        tensors = self.model.interpreter.get_tensor_details()
        width = max(int(t["shape"][-1]) for t in tensors if len(t["shape"]) == 4)
        self.bytes_per_pixel = FOOTPRINT * width

    def plan(self, photo: np.ndarray, mode: str = "auto", memory_limit: str | float = 1.5) -> Plan:
        """How to enhance a photo, see `PhotoEnhancer`. `mode` is ignored: the file decides."""
        limit = memory.memory_limit(memory_limit)
        height, width = self.model.filled(photo).shape[:2]
        margin = self.model.margin or 0
        pixels = memory.room_of_pass(limit, photo.nbytes) / self.bytes_per_pixel
        side = min(TILE, max(int(np.sqrt(max(pixels, 0))), 4 * margin))
        window = self.model.window(height, width, side)
        held = window[0] * window[1]
        if held > pixels:
            needed = memory.limit_needed(photo.nbytes, held * self.bytes_per_pixel)
            remedy = "" if self.model.margin else "; a file with adaptive norms works in tiles"
            raise UserError(
                f"memory_limit={limit:g}: too little for {size_text((height, width))} "
                f"pixels by {self.model.path}, expected at least "
                f"{np.ceil(100 * needed) / 100:g}{remedy}"
            )
        return WHOLE if window == (height, width) else Plan("streamed", max(window) - 2 * margin)

    def parts(self, picture: Framed, plan: Plan) -> Iterator[tuple[Inner, np.ndarray]]:
        photo, moments = self.model.filled(picture.photo), self.model.measure(picture.photo)
        filled, margin = Framed(photo, 0), self.model.margin or 0
        side = plan.side + 2 * margin
        shape = filled.shape if plan == WHOLE else self.model.window(*filled.shape, side)

        def run(tile: np.ndarray) -> np.ndarray:
            return self.model.run_float(tile[0], moments)[None]

        return in_windows(filled, shape, margin, run)

    def release(self) -> None:
        """Frees nothing: the interpreter keeps its tensors."""


def as_float(photo: np.ndarray) -> np.ndarray:
    """Pixels as float32 in [0, 1]. Floats are returned as they are, integers are scaled."""
    if photo.dtype.kind == "f":
        return photo
    return photo.astype(np.float32) / np.iinfo(photo.dtype).max


def _described(path: Path, adaptive: bool) -> tuple[int | None, tuple[int, int, np.ndarray] | None]:
    """Reads the JSON file beside a model.

    Returns:
        The margin if tiles are exact, else None; and for an adaptive file (number of patches in a
        call, their side, (N, 2) places), else None.
    """
    file = path.with_suffix(".json")
    try:
        described = json.loads(file.read_text(encoding="utf-8"))
        margin = int(described["margin"]) if described["tiles_exact"] else None
        if not adaptive:
            return margin, None
        count, side = described["measure"]["input"]["shape"][:2]
        places = np.array(described["measure"]["places"], np.float64).reshape(-1, count, 2)
        return margin, (count, side, places.reshape(-1, 2))
    except FileNotFoundError as error:
        if not adaptive:
            return None, None
        raise UserError(f"{file}: missing; it says how {path.name} measures a photo") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        more = ", and where its patches lie" if adaptive else ""
        raise UserError(f"{file}: expected tiles_exact and margin of {path.name}{more}") from error


def size_text(shape: tuple[int, ...]) -> str:
    """The text "width×height" for a shape (height, width, …)."""
    return f"{shape[1]}×{shape[0]}"
