"""Computes a stage of a generator on strips of a photo, with OpenVINO or Keras."""

import dataclasses
import threading
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from ..models.generator import Generator
from ..models.staged import Stage
from .fused import SplitHead, split

# Orders of axes.
CHANNELS_FIRST, CHANNELS_LAST = np.array([0, 3, 1, 2]), np.array([0, 2, 3, 1])


@dataclasses.dataclass
class Rows:
    """A strip, with the rows above and below it that a convolution needs.

    Attributes:
        above: array with as many rows as the stage's margin.
        strip: array.
        below: array of the same shape as `above`.
    """

    above: np.ndarray
    strip: np.ndarray
    below: np.ndarray


@dataclasses.dataclass
class Work:
    """The inputs of a stage for one strip, and the arrays for its outputs.

    Attributes:
        x: `Rows` of the output of the stage before. For the first stage: the photo's rows with
            margin, (1, H, W, 3) float32 in [0, 1], with zeros beyond the photo.
        waiting: `Rows` of the waiting tensor, if the stage joins; else None.
        affine: (2, width) float32, gain and offset of the norm of `Stage.before`, if there is one.
        inside: (H,) float32 for the rows with margin: 1 within the photo, 0 beyond it.
        pilot: (width,) float32, subtracted from the output of a stage that measures. Sums of values
            near zero lose fewer digits.
        result: array for the stage's output.
        keep: array for the convolution's input, if it will wait for a join; else None.
    """

    x: Any
    waiting: Rows | None
    affine: np.ndarray
    inside: np.ndarray
    pilot: np.ndarray
    result: np.ndarray
    keep: np.ndarray | None


class StageNetwork(Protocol):
    """A prepared stage. Call it with a `Work`, from up to `at_once` threads at the same time.

    If the stage measures, it returns the sums of the output and of its squares along each row,
    (2, rows, width) float64; else None. The last stage's result is (1, rows, columns, 3) float32.
    `release` frees the memory that is kept between calls; with `graph`, also the compiled graph.

    Attributes:
        at_once: the best number of strips to work on at the same time.
    """

    at_once: int

    def __call__(self, work: Work) -> np.ndarray | None: ...

    def release(self, graph: bool) -> None: ...


class OpenVINOStage:
    """A stage as an OpenVINO graph of strips (1, rows, columns, channels).

    OpenVINO's convolutions also keep the channels of a pixel together, so no data are reordered.

    Args:
        stage: a stage of `generator`.
        generator: from `fused.prepare`.
        core: `openvino.Core`.
        options: options for compiling.
        half: whether strips are bfloat16, stored as uint16; else float32.
    """

    # Two strips at once, each on half of the cores. Then cores wait less for each other.
    at_once = 2

    def __init__(
        self, stage: Stage, generator: Generator, core: Any, options: dict[str, Any], half: bool
    ):
        self.stage, self.generator = stage, generator
        self.core, self.half = core, half
        self.options = {**options, "NUM_STREAMS": str(self.at_once)}
        self.shape: tuple[int, ...] | None = None
        self.compiled: Any = None
        self.idle: list[Any] = []
        self.lock = threading.Lock()

    def __call__(self, work: Work) -> np.ndarray | None:
        with self.lock:
            request = self._request(work)
        inputs = self._inputs(work)  # Kept until the end, because tensors share their memory.
        for number, array in enumerate(inputs):
            request.set_input_tensor(number, self._tensor(array))
        results = [work.result] if work.keep is None else [work.result, work.keep]
        for number, array in enumerate(results):
            request.set_output_tensor(number, self._tensor(array))
        request.infer()
        found = None
        if self.stage.measures:
            sums, norms = (
                request.get_output_tensor(len(results) + k).data[0].T.astype(np.float64)
                for k in (0, 1)
            )
            found = np.stack([sums, norms**2])
        self.idle.append(request)
        return found

    def release(self, graph: bool) -> None:
        self.idle.clear()
        if graph:  # Only this frees the working memory of its threads.
            self.compiled, self.shape = None, None
        elif self.compiled is not None:
            self.compiled.release_memory()

    def _request(self, work: Work) -> Any:
        """An idle request of the graph for strips of this size."""
        shape = work.result.shape[1:3]
        if self.shape != shape:
            self.idle.clear()
            self.compiled = self.core.compile_model(self._graph(*shape), "CPU", self.options)
            self.shape = shape
        return self.idle.pop() if self.idle else self.compiled.create_infer_request()

    def _inputs(self, work: Work) -> list[np.ndarray]:
        found = []
        for rows in (work.x, work.waiting):
            if isinstance(rows, Rows):
                found += [rows.above, rows.strip, rows.below]
        if not found:
            found = [self._photo(work.x)]
        else:
            margin = self.stage.margin
            edges = work.inside[:margin], work.inside[len(work.inside) - margin :]
            found += [edge.reshape(1, -1, 1, 1) for edge in edges]
        if self.stage.before is not None:
            found += list(work.affine)
        if self.stage.measures:
            found.append(work.pilot.reshape(1, -1, 1, 1))
        return found

    def _photo(self, photo: np.ndarray) -> np.ndarray:
        """The first convolution's input."""
        if not isinstance(self.stage.step.conv, SplitHead):
            return np.ascontiguousarray(photo)
        both = split(photo)
        return np.concatenate([both[..., ::2], both], axis=3)

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
        heights = (margin, rows, margin)
        inputs: list[Any] = []

        def given(shape: list[int], kind: Any = openvino.Type.f32) -> Any:
            inputs.append(op.parameter(shape, kind))
            return inputs[-1]

        def given_rows() -> list[Any]:
            parts = [given([1, height, columns, width], strip_type) for height in heights]
            return [op.convert(part, "f32") for part in parts]

        kernel, bias = (np.asarray(array, np.float32) for array in stage.step.conv.get_weights())
        if stage.first:
            entered = []
            x = given([1, rows + 2 * margin, columns, kernel.shape[2]])
        else:
            # Each part has its own operators, which write straight into the joined tensor.
            parts = given_rows()
            waiting = given_rows() if stage.joins else [None] * 3
            inside = [given([1, margin, 1, 1]), None, given([1, margin, 1, 1])]
            gain, offset = (given([width]), given([width])) if stage.before else (None, None)
            entered = [stage.enter(*pair, gain, offset, op.relu) for pair in zip(parts, waiting)]
            masked = [
                part if mask is None else op.multiply(part, mask)
                for part, mask in zip(entered, inside)
            ]
            x = op.concat(masked, 1)
        x = op.convolution(
            op.transpose(x, op.constant(CHANNELS_FIRST)),
            op.constant(np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))),
            [1, 1],
            [0, margin],
            [0, margin],
            [1, 1],
        )
        x = op.add(x, op.constant(bias.reshape(1, -1, 1, 1)))
        if stage.measures:
            x = op.subtract(x, given([1, width, 1, 1]))
        result = op.transpose(x, op.constant(CHANNELS_LAST))
        if stage.last:
            scale, middle = (op.constant(np.float32(v)) for v in (self.generator.tanh_scale, 0.5))
            picture = op.add(op.multiply(op.tanh(result), scale), middle)
            return openvino.Model([picture if self.generator.has_tanh else result], inputs)
        outputs = [op.convert(result if stage.measures else op.relu(result), strip_type)]
        if stage.keeps:
            outputs.append(op.convert(entered[1], strip_type))
        if stage.measures:
            sums = [op.reduce_sum(x, [3], False), op.reduce_l2(x, [3], False)]
            if self.half:
                # OpenVINO computes all that follows the last product in float32, and would first
                # copy the convolution's output to float32. So a product comes last.
                identity = op.constant(np.eye(rows, dtype=np.float32))
                sums = [op.matmul(of_rows, identity, False, False) for of_rows in sums]
            outputs += sums
        return openvino.Model(outputs, inputs)


class KerasStage:
    """A stage as a TensorFlow graph of float32 strips (1, rows, columns, channels).

    Args:
        stage: a stage of `generator`.
        generator: a built `Generator`.
    """

    at_once = 1

    def __init__(self, stage: Stage, generator: Generator):
        self.stage, self.generator = stage, generator
        self.graph = tf.function(self._run, reduce_retracing=True, autograph=False)

    def __call__(self, work: Work) -> np.ndarray | None:
        x = _joined(work.x)
        waiting = x[:, :0] if work.waiting is None else _joined(work.waiting)
        results = self.graph(x, waiting, work.affine, work.inside, work.pilot)
        found = [keras.ops.convert_to_numpy(result) for result in results]
        work.result[:] = found[0]
        if work.keep is not None:
            work.keep[:] = found[1]
        return found[-1].astype(np.float64) if self.stage.measures else None

    def release(self, graph: bool) -> None:
        """Does nothing: no memory is kept between calls."""

    def _run(self, x: Any, waiting: Any, affine: Any, inside: Any, pilot: Any) -> list[Any]:
        stage, margin = self.stage, self.stage.margin
        entered = stage.enter(x, waiting, affine[0], affine[1], ops.relu)
        inner = slice(margin, -margin or None)
        # Moments are measured in float32, even if the generator computes in bfloat16.
        x = ops.cast(stage.step.conv(entered * inside[:, None, None])[:, inner], "float32")
        if stage.last:
            return [self.generator.finish(x)]
        x = x - pilot if stage.measures else ops.relu(x)
        outputs = [x]
        if stage.keeps:
            outputs.append(entered[:, inner])
        if stage.measures:
            sums = ops.stack([ops.sum(x[0], axis=1), ops.sum(ops.square(x[0]), axis=1)])
            outputs.append(sums)
        return outputs


def _joined(x: Rows | np.ndarray) -> np.ndarray:
    return np.concatenate([x.above, x.strip, x.below], axis=1) if isinstance(x, Rows) else x
