"""Runs and reads .tflite files: what a phone will compute, seen here."""

import json
import os
from pathlib import Path

import numpy as np

from ..errors import UserError, optional
from .memory import limit_needed, room_of_pass
from .tiles import WHOLE, Plan
from .windows import spans

SUFFIX = ".tflite"
# Side of the windows in which larger photos are enhanced where tiles are exact, pixels.
TILE = 512
# Bytes that a pass holds for a pixel and a channel of the graph's widest layer, docs/PHONES.md.
FOOTPRINT = 45.0


class LiteRTModel:
    """A generator that `export_tflite.py` wrote, run by the LiteRT interpreter.

    A file whose tiles are exact (its norms are frozen, as the JSON file beside it says) enhances
    larger photos in overlapping windows, others whole.

    Args:
        path: of the .tflite file.

    Attributes:
        shape: (height, width) that the graph takes, or None where they are free.
        io: dtype of the graph's input and output, `"float32"` or `"uint8"`.
        margin: pixels by which windows must overlap on each side, None where only whole photos
            give the right result.

    Raises:
        UserError: if there is no such file, or it does not turn one picture into another.
    """

    def __init__(self, path):
        self.path = Path(path)
        with optional("export", f"model={path}"):
            from ai_edge_litert.interpreter import Interpreter
        try:
            self.interpreter = Interpreter(str(path), num_threads=os.cpu_count())
            inputs, outputs = (
                self.interpreter.get_input_details(),
                self.interpreter.get_output_details(),
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(f"model={path}: not a readable {SUFFIX} file") from error
        signatures = [tuple(t["shape_signature"]) for t in (*inputs, *outputs)]
        self.io = np.dtype(inputs[0]["dtype"]).name if inputs else None
        if (
            len(inputs) != 1
            or len(outputs) != 1
            or any(len(s) != 4 or s[0] != 1 or s[3] != 3 for s in signatures)
            or self.io not in ("float32", "uint8")
            or inputs[0]["dtype"] != outputs[0]["dtype"]
        ):
            raise UserError(
                f"model={path}: expected one (1, height, width, 3) input and output of float32 or "
                "uint8"
            )
        self.input, self.output = inputs[0]["index"], outputs[0]["index"]
        height, width = signatures[0][1:3]
        self.shape = None if -1 in (height, width) else (int(height), int(width))
        self.margin = _margin(self.path)
        self.allocated = None

    def __call__(self, pictures, training=False):
        """Enhances pictures of any one size.

        Args:
            pictures: (N, H, W, 3) float32 array in [0, 1].
            training: as Keras models have it; only False.

        Returns:
            float32 array of the same shape; of a uint8 graph the bytes divided by 255.

        Raises:
            UserError: if the graph does not take this size.
        """
        if training:
            raise ValueError(f"{self.path}: can only be run, not trained")
        return np.stack([self._enhance(picture) for picture in pictures])

    def _enhance(self, picture):
        window = self.window(*picture.shape[:2], TILE)
        result = np.empty_like(picture)
        for outer, inner, cut in self.pieces(*picture.shape[:2], window):
            result[inner] = self.run_float(picture[outer])[cut]
        return result

    def window(self, height, width, side):
        """Size of the windows in which a photo is enhanced, its own where one pass does it.

        Args:
            height: of the photo.
            width: of the photo.
            side: of the windows at most where the graph takes any, pixels.

        Returns:
            (height, width).

        Raises:
            UserError: if the graph does not take photos of this size.
        """
        if self.margin is None or self.shape == (height, width):
            return height, width
        window = self.shape or (min(side, height), min(side, width))
        if min(window) > 2 * self.margin and window[0] <= height and window[1] <= width:
            return window
        if self.shape is not None:
            self._refuse(height, width)
        return height, width

    def pieces(self, height, width, window):
        """Slices of every window in the photo, of what it answers for, and of that in the window.

        Args:
            height: of the photo.
            width: of the photo.
            window: (height, width) of the windows.
        """
        for top, first_row, last_row in spans(height, window[0], self.margin or 0):
            for left, first, last in spans(width, window[1], self.margin or 0):
                outer = np.s_[top : top + window[0], left : left + window[1]]
                inner = np.s_[first_row:last_row, first:last]
                yield (
                    outer,
                    inner,
                    np.s_[first_row - top : last_row - top, first - left : last - left],
                )

    def run_float(self, picture):
        """One pass over an (H, W, 3) float32 array in [0, 1]; about the same range comes out."""
        size = picture.shape[:2]
        if self.shape not in (None, size):
            self._refuse(*size)
        if self.io == "uint8":
            picture = np.rint(picture * 255).astype(np.uint8)
        return self.run(picture) / np.float32(255 if self.io == "uint8" else 1)

    def run(self, picture):
        """What the graph itself gives.

        Args:
            picture: (H, W, 3) array of the graph's dtype and, where it is fixed, size.

        Returns:
            Array of the same shape and dtype.
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
        self.interpreter.invoke()
        return self.interpreter.get_tensor(self.output)[0]

    def _refuse(self, height, width):
        larger = "" if self.margin is None else " or larger"
        raise UserError(
            f"model={self.path}: takes photos of {size_text(self.shape)}{larger}, this one has "
            f"{size_text((height, width))}"
        )


class LiteRTEnhancer:
    """A .tflite file where an `Enhancer` is expected; photos' edges are as the file has them.

    Args:
        path: of the .tflite file.
    """

    runtime = "tflite"

    def __init__(self, path):
        self.model = LiteRTModel(path)
        tensors = self.model.interpreter.get_tensor_details()
        width = max(int(t["shape"][-1]) for t in tensors if len(t["shape"]) == 4)
        self.bytes_per_pixel = FOOTPRINT * width

    def plan(self, photo, mode, memory_limit):
        """How the file enhances a photo; there is no choice: `whole`, with frozen norms `fast`.

        Args:
            photo: (H, W, 3) array.
            mode: `"auto"`.
            memory_limit: GB.

        Returns:
            A `Plan`.

        Raises:
            UserError: if that does not fit the bound on memory, or the graph not the photo.
        """
        height, width = photo.shape[:2]
        margin = self.model.margin or 0
        pixels = room_of_pass(memory_limit, photo.nbytes) / self.bytes_per_pixel
        side = min(TILE, max(int(np.sqrt(max(pixels, 0))), 4 * margin))
        window = self.model.window(height, width, side)
        if np.prod(window) > pixels:
            needed = limit_needed(photo.nbytes, np.prod(window) * self.bytes_per_pixel)
            remedy = "" if self.model.margin else "; a file with frozen norms works in tiles"
            raise UserError(
                f"memory_limit={memory_limit:g}: too little for {size_text((height, width))} "
                f"pixels by {self.model.path}, expected at least "
                f"{np.ceil(100 * needed) / 100:g}{remedy}"
            )
        return WHOLE if window == (height, width) else Plan("fast", min(window) - 2 * margin)

    def __call__(self, photo, plan, strength, result):
        """Enhances a photo, see `Enhancer`."""
        height, width = photo.shape[:2]
        largest = np.iinfo(photo.dtype).max
        side = plan.side + 2 * (self.model.margin or 0)
        window = (height, width) if plan == WHOLE else self.model.window(height, width, side)
        for outer, inner, cut in self.model.pieces(height, width, window):
            tile = photo[outer].astype(np.float32) / largest
            enhanced = np.clip(self.model.run_float(tile), 0.0, 1.0)
            enhanced = strength * enhanced + (1.0 - strength) * tile
            result[inner] = np.rint(enhanced[cut] * largest)

    def release(self):
        """Frees nothing: the interpreter keeps its tensors."""


def _margin(path):
    """The margin that the JSON file beside a model names for exact tiles, or None."""
    try:
        described = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        return int(described["margin"]) if described["tiles_exact"] else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path.with_suffix('.json')}: expected tiles_exact and margin of {path.name}"
        ) from error


def size_text(shape):
    return f"{shape[1]}×{shape[0]}"
