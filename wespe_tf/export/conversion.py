"""Converts generators to .tflite files, with TensorFlow's converter and LiteRT's quantizer."""

import contextlib
import functools
import io
import re
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import flatbuffers
import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.tools import flatbuffer_utils
from ai_edge_quantizer import calibrator, qtyping, quantizer
from ai_edge_quantizer.algorithm_manager import AlgorithmName

from ..images.places import patches_at, spread
from ..models.generator import Generator
from .portable import BATCH, ENHANCE, MEASURE, MOMENTS, PATCH, Adaptive, Portable, moments

FORMATS = ("float32", "float16", "dynamic", "int8")


class Converter:
    """Makes the .tflite files of a generator. Each graph is converted only once.

    Args:
        generator: from `portable`.
        shape: (height, width) that the graph takes, None for any.
        photos: for int8, a sequence of (1, H, W, 3) float32 arrays in [0, 1] whose activations set
            the scales. They may have other sizes than `shape`.
        adaptive: whether the norms' moments are an input of the graph, see `Adaptive`.
    """

    def __init__(
        self,
        generator: Generator,
        shape: tuple | None = None,
        photos: Sequence[np.ndarray] = (),
        adaptive: bool = False,
    ):
        self.generator = generator
        self.shape = shape
        self.photos = photos
        self.graph = Adaptive if adaptive else Portable
        self.converted: dict[tuple, bytes] = {}

    def __call__(self, form: str, io: str = "float32") -> bytes:
        """The content of a file.

        Args:
            form: one of `FORMATS`. float16 has kernels of 16 bits, see `half`. dynamic and int8
                have kernels of 8 bits with a scale for each output channel, except the first and
                the last kernel. int8 also has activations of 8 bits. All else stays in float32.
                (The converter's own float16 would also round the norms' parameters.)
            io: dtype of the input and the output, see `Portable`.
        """
        content = self._converted(self.shape, io)
        if form != "float32":
            ranges = self._ranges if form == "int8" else None
            content = _quantized(content, self.generator, form, ranges)
        return _compact(content)

    @functools.cached_property
    def _ranges(self) -> dict[str, Any]:
        """Ranges of the float32 graph's tensors over the photos.

        This graph takes photos of any size. In other graphs, the tensors have the same names.
        """
        return _calibrated(self._converted(None, "float32"), self._shown())

    def _shown(self) -> dict[str, list[dict[str, np.ndarray]]]:
        """Inputs for the calibration: signature → list of its inputs by name."""
        shown = {ENHANCE: [{"photo": photo} for photo in self.photos]}
        if self.graph is Adaptive:
            for inputs in shown[ENHANCE]:
                inputs |= dict(zip(MOMENTS, moments(self.generator, inputs["photo"])))
            places = spread(BATCH)
            shown[MEASURE] = [
                {"patches": patches_at(photo[0], places, PATCH)} for photo in self.photos
            ]
        return shown

    def _converted(self, shape: tuple[int, int] | None, io: str) -> bytes:
        """The content of a file with weights in float32, and with our names."""
        if (shape, io) not in self.converted:
            self.converted[shape, io] = _convert(self.graph(self.generator, io), shape)
        return self.converted[shape, io]


def _convert(graph: Portable, shape: tuple[int, int] | None) -> bytes:
    """The content of a .tflite file in float32, from a `Portable`."""
    signatures = graph.signatures(shape)
    archive = keras.export.ExportArchive()
    archive.track(graph.generator)
    for name, (function, inputs) in signatures.items():
        archive.add_endpoint(name, function, inputs)
    with tempfile.TemporaryDirectory() as folder, _silence():
        archive.write_out(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[*signatures])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        return _named(converter.convert())


def _named(content: bytes) -> bytes:
    """Gives our names to the inputs and outputs of a model's signatures.

    The quantizer needs different names in a file. So those of `measure` begin with `measure_`.
    """
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    for signature in model.signatureDefs:
        tensors = model.subgraphs[signature.subgraphIndex].tensors
        for end in (*signature.inputs, *signature.outputs):
            own = b"" if signature.signatureKey == ENHANCE.encode() else b"measure_"
            tensors[end.tensorIndex].name = own + end.name
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _with_half_kernels(content: bytes) -> bytes:
    """A float32 model whose convolutions have kernels of `half`, which the quantizer only casts."""
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    for graph in model.subgraphs:
        for operator in graph.operators:
            if flatbuffer_utils.opcode_to_name(model, operator.opcodeIndex) == "CONV_2D":
                tensor = graph.tensors[operator.inputs[1]]
                stored = model.buffers[tensor.buffer]
                kernel = np.frombuffer(bytes(stored.data), np.float32).reshape(tensor.shape)
                stored.data = np.frombuffer(half(kernel).tobytes(), np.uint8)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def half(kernel: np.ndarray) -> np.ndarray:
    """Rounds a kernel to values of float16, so that its sums over all places stay.

    In a smooth part of a picture, all places of a kernel see nearly the same value. So the rounding
    errors of a large kernel add up there. Of each pair of channels, the weight closest to 0 makes
    up for the errors of the others. float16 has the finest steps there.

    Args:
        kernel: (outputs, height, width, inputs) float32 array.

    Returns:
        float32 array of the same shape.
    """
    exact = kernel.reshape(len(kernel), -1, kernel.shape[-1])
    rounded = exact.astype(np.float16).astype(np.float32)
    smallest = np.abs(exact).argmin(axis=1, keepdims=True)
    errors = np.sum(exact - rounded, axis=1, keepdims=True)
    made_up = (np.take_along_axis(rounded, smallest, axis=1) + errors).astype(np.float16)
    np.put_along_axis(rounded, smallest, made_up.astype(np.float32), axis=1)
    return rounded.reshape(kernel.shape)


def _calibrated(content: bytes, shown: dict[str, list[dict[str, np.ndarray]]]) -> dict[str, Any]:
    """The ranges of a float32 model's tensors, as means over all inputs.

    The quantizer's own moving average would hardly depend on photos after the first one.
    """
    with _silence():
        runs = calibrator.Calibrator(
            content,
            mode=calibrator.CalibrationMode.CALIBRATION_PROFILER_BASED,
            qsv_update_func=_listed,
        )
        for signature, inputs in shown.items():
            runs.calibrate({signature: inputs}, None)
    return {
        name: {end: np.mean(values, keepdims=True) for end, values in ends.items()}
        for name, ends in runs.get_model_qsvs().items()
    }


def _quantized(
    content: bytes, generator: Generator, form: str, ranges: dict[str, Any] | None
) -> bytes:
    """Quantizes a float32 model with LiteRT's quantizer, with a number of bits for each layer."""
    found = quantizer.Quantizer(_with_half_kernels(content) if form == "float16" else content)
    conv = qtyping.TFLOperationName.CONV_2D
    if form == "float16":
        half = qtyping.OpQuantizationConfig(
            weight_tensor_config=qtyping.TensorQuantizationConfig(
                num_bits=16, dtype=qtyping.TensorDataType.FLOAT
            ),
            compute_precision=qtyping.ComputePrecision.FLOAT,
            explicit_dequantize=True,
        )
        found.update_quantization_recipe(".*", conv, half, AlgorithmName.FLOAT_CASTING)
    elif form == "int8":
        found.add_static_config(".*", conv, activation_num_bits=8, weight_num_bits=8)
    else:
        found.add_dynamic_config(".*", conv, num_bits=8)
    if form != "float16":
        # The first and the last kernel stay in float32. Kernels of 16 bits would take 60 kB less,
        # but then a browser could not use its fast kernels.
        ends = "|".join(re.escape(layer.name) for layer in (generator.head, generator.to_rgb))
        found.update_quantization_recipe(
            rf"(^|[/;])({ends})(_\d+)?/", conv, algorithm_key=AlgorithmName.NO_QUANTIZE
        )
    with _silence():
        return bytes(found.quantize(ranges).quantized_model)


class _Sharing(flatbuffers.Builder):
    """Writes equal lists only once, even if several tables point to them.

    The content of a buffer begins at a multiple of 16 bytes, as the format's schema demands.
    """

    def __init__(self) -> None:
        super().__init__(2**20)
        self.written: dict[Any, Any] = {}

    def StartVector(self, size: int, count: int, alignment: int) -> Any:
        return super().StartVector(size, count, 16 if size == 1 else alignment)

    def CreateNumpyVector(self, values: np.ndarray) -> Any:
        key = values.dtype, values.tobytes()
        if key not in self.written:
            self.written[key] = super().CreateNumpyVector(values)
        return self.written[key]


def _compact(content: bytes) -> bytes:
    """The same model with equal lists written once. This makes an 8-bit file a tenth smaller."""
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    for tensor in (tensor for graph in model.subgraphs for tensor in graph.tensors):
        tensor.shape = np.array(tensor.shape, np.int32)
        if tensor.quantization is not None and tensor.quantization.scale is None:
            tensor.quantization = None
    builder = _Sharing()
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _listed(known: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Lists the ranges of several photos."""
    return {end: np.concatenate([known[end], new[end]]) for end in ("min", "max")}


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Hides progress bars and notes of the converters. Errors are still raised."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
