"""What computes a stage of a generator on strips of a photo: by OpenVINO, or by Keras."""

import dataclasses
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from ..models.generator import Generator
from ..models.staged import Stage
from .fused import SplitHead, split


@dataclasses.dataclass
class Rows:
    """A strip with the rows above and below it that a convolution looks at.

    Attributes:
        above: array of as many rows as the stage's margin.
        strip: array.
        below: array as `above`.
    """

    above: np.ndarray
    strip: np.ndarray
    below: np.ndarray


@dataclasses.dataclass
class Work:
    """What a stage computes of, for one strip.

    Attributes:
        x: `Rows` of what the stage before gave; for the first stage the photo's rows with margin,
            (1, H, W, 3) float32 in [0, 1], zeros beyond the photo.
        waiting: `Rows` of what waits, if the stage joins.
        affine: (2, width) float32, gain and offset of the norm before, if there is one.
        inside: (H,) float32 for the rows with margin: 1 within the photo, 0 beyond it.
        pilot: (width,) float32, taken from what a stage that measures gives.
        result: array for what the stage gives.
        keep: array for what will wait, or None.
    """

    x: Any
    waiting: Rows | None
    affine: np.ndarray
    inside: np.ndarray
    pilot: np.ndarray
    result: np.ndarray
    keep: np.ndarray | None


class StageNetwork(Protocol):
    """A stage made ready; call it with a `Work`.

    It returns sums over each row of what it gives and of its squares, (2, rows, width) float64, if
    it measures; None if not. The last stage's result is (1, rows, columns, 3) float32.
    """

    def __call__(self, work: Work) -> np.ndarray | None: ...

    def release(self) -> None: ...


class OpenVINOStage:
    """A stage as an OpenVINO graph of strips (1, channels, rows, columns).

    Args:
        stage: of what `fused.prepare` returns.
        generator: the same generator.
        core: `openvino.Core`.
        options: for compiling.
        half: whether strips are bfloat16, kept as uint16; else float32.
    """

    axis = 2

    def __init__(
        self, stage: Stage, generator: Generator, core: Any, options: dict[str, Any], half: bool
    ):
        self.stage, self.generator = stage, generator
        self.core, self.options, self.half = core, options, half
        self.shape: tuple[int, ...] | None = None
        self.request: Any = None

    @staticmethod
    def strip_shape(rows: int, columns: int, width: int) -> tuple[int, ...]:
        """Shape of a strip's array."""
        return 1, width, rows, columns

    def __call__(self, work: Work) -> np.ndarray | None:
        rows = len(work.inside) - 2 * self.stage.margin
        columns = work.x.strip.shape[3] if isinstance(work.x, Rows) else work.x.shape[2]
        if self.shape != (rows, columns):
            self.compiled = self.core.compile_model(self._graph(rows, columns), "CPU", self.options)
            self.request, self.shape = self.compiled.create_infer_request(), (rows, columns)
        inputs = self._inputs(work)  # kept until the end: tensors share their memory
        for number, array in enumerate(inputs):
            self.request.set_input_tensor(number, self._tensor(array))
        results = [] if self.stage.last else [work.result]
        results += [] if work.keep is None else [work.keep]
        for number, array in enumerate(results):
            self.request.set_output_tensor(number, self._tensor(array))
        self.request.infer()
        if self.stage.last:
            picture = self.request.get_output_tensor(0).data
            work.result[:] = np.moveaxis(picture, 1, 3)
        if not self.stage.measures:
            return None
        sums, norms = (
            self.request.get_output_tensor(len(results) + k).data[0].T.astype(np.float64)
            for k in (0, 1)
        )
        return np.stack([sums, norms**2])

    def release(self) -> None:
        """Frees what is kept between calls, but the compiled graph."""
        if self.request is not None:
            self.compiled.release_memory()

    def _inputs(self, work: Work) -> list[np.ndarray]:
        if isinstance(work.x, Rows):
            found = [work.x.above, work.x.strip, work.x.below]
        else:
            found = [self._photo(work.x)]
        if work.waiting is not None:
            found += [work.waiting.above, work.waiting.strip, work.waiting.below]
        if self.stage.before is not None:
            found += [row.reshape(1, -1, 1, 1) for row in work.affine]
        if isinstance(work.x, Rows):
            found.append(work.inside.reshape(1, 1, -1, 1))
        if self.stage.measures:
            found.append(work.pilot.reshape(1, -1, 1, 1))
        return found

    def _photo(self, photo: np.ndarray) -> np.ndarray:
        """The first convolution's input, planar."""
        if isinstance(self.stage.step.conv, SplitHead):
            both = split(photo)
            photo = np.concatenate([both[..., ::2], both], axis=3)
        return np.ascontiguousarray(np.moveaxis(photo, 3, 1))

    def _tensor(self, array: np.ndarray) -> Any:
        from openvino import Tensor, Type

        if array.dtype == np.uint16:
            return Tensor(array, array.shape, Type.bf16)
        return Tensor(array, shared_memory=True)

    def _graph(self, rows: int, columns: int) -> Any:
        """The stage for strips of one size."""
        import openvino
        from openvino import opset13 as op

        stage, width, margin = self.stage, self.generator.width, self.stage.margin
        strip_type = openvino.Type.bf16 if self.half else openvino.Type.f32
        inputs: list[Any] = []

        def given(shape: list[int], kind: Any = openvino.Type.f32) -> Any:
            inputs.append(op.parameter(shape, kind))
            return inputs[-1]

        def given_rows() -> Any:
            parts = [given([1, width, n, columns], strip_type) for n in (margin, rows, margin)]
            return op.convert(op.concat(parts, 2), "f32")

        kernel, bias = stage.step.conv.get_weights()
        if stage.first:
            x = given([1, kernel.shape[2], rows + 2 * margin, columns])
        else:
            x = given_rows()
            waiting = given_rows() if stage.joins else None
            gain, offset = (
                (given([1, width, 1, 1]), given([1, width, 1, 1])) if stage.before else (None, None)
            )
            x = stage.enter(x, waiting, gain, offset, op.relu)
        entered = x
        if not stage.first:
            x = op.multiply(x, given([1, 1, rows + 2 * margin, 1]))
        x = op.convolution(
            x,
            op.constant(np.ascontiguousarray(kernel.transpose(3, 2, 0, 1), np.float32)),
            [1, 1],
            [0, margin],
            [0, margin],
            [1, 1],
        )
        x = op.add(x, op.constant(np.asarray(bias, np.float32).reshape(1, -1, 1, 1)))
        if stage.last:
            scale, middle = (op.constant(np.float32(v)) for v in (self.generator.tanh_scale, 0.5))
            outputs = [op.add(op.multiply(op.tanh(x), scale), middle)]
        elif stage.measures:
            x = op.subtract(x, given([1, width, 1, 1]))
            outputs = [op.convert(x, strip_type)]
        else:
            outputs = [op.convert(op.relu(x), strip_type)]
        if stage.keeps:
            inner = op.slice(entered, [margin], [margin + rows], [1], [2])
            outputs.append(op.convert(inner, strip_type))
        if stage.measures:
            outputs += [op.reduce_sum(x, [3], False), op.reduce_l2(x, [3], False)]
        return openvino.Model(outputs, inputs)


class KerasStage:
    """A stage as a TensorFlow graph of float32 strips (1, rows, columns, channels).

    Args:
        stage: of `generator`.
        generator: a built `Generator` in float32.
    """

    axis = 1

    def __init__(self, stage: Stage, generator: Generator):
        self.stage, self.generator = stage, generator
        self.graph = tf.function(self._run, reduce_retracing=True, autograph=False)

    @staticmethod
    def strip_shape(rows: int, columns: int, width: int) -> tuple[int, ...]:
        """Shape of a strip's array."""
        return 1, rows, columns, width

    def __call__(self, work: Work) -> np.ndarray | None:
        x = _joined(work.x)
        waiting = x[:, :0] if work.waiting is None else _joined(work.waiting)
        results = self.graph(x, waiting, work.affine, work.inside, work.pilot)
        found = [keras.ops.convert_to_numpy(result) for result in results]
        work.result[:] = found[0]
        if work.keep is not None:
            work.keep[:] = found[1]
        return found[-1].astype(np.float64) if self.stage.measures else None

    def release(self) -> None:
        """Frees what is kept between calls: nothing."""

    def _run(self, x: Any, waiting: Any, affine: Any, inside: Any, pilot: Any) -> list[Any]:
        stage, margin = self.stage, self.stage.margin
        entered = stage.enter(x, waiting, affine[0], affine[1], ops.relu)
        x = stage.step.conv(entered * inside[:, None, None])[:, margin:-margin]
        if stage.last:
            return [self.generator.finish(x)]
        x = x - pilot if stage.measures else ops.relu(x)
        outputs = [x]
        if stage.keeps:
            outputs.append(entered[:, margin:-margin])
        if stage.measures:
            sums = ops.stack([ops.sum(x[0], axis=1), ops.sum(ops.square(x[0]), axis=1)])
            outputs.append(sums)
        return outputs


def _joined(x: Rows | np.ndarray) -> np.ndarray:
    return np.concatenate([x.above, x.strip, x.below], axis=1) if isinstance(x, Rows) else x
