"""Generators to .tflite files: Keras's own export, LiteRT's quantizer, readable names."""

import contextlib
import io
import re
import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.tools import flatbuffer_utils
from ai_edge_quantizer import calibrator, qtyping, quantizer
from ai_edge_quantizer.algorithm_manager import AlgorithmName

from .portable import Portable

FORMATS = ("float32", "float16", "dynamic", "int8")
SIGNATURE, INPUT, OUTPUT = "enhance", "photo", "enhanced"


def convert(generator, form, shape=None, dtype="float32", photos=()):
    """A generator as a .tflite file.

    Args:
        generator: see `models.portable.portable`.
        form: one of `FORMATS`. float16 has kernels of 16 bits. dynamic and int8 have kernels of 8
            bits, a scale for each output channel; the first and the last have 16 bits, and
            compute in float32. All else stays in float32, where the converter's own float16 would
            round the norms' parameters and the scale of bytes too.
        shape: (height, width) that the graph takes, None for any.
        dtype: of what goes in and out, see `Portable`.
        photos: for int8 a sequence of (1, H, W, 3) float32 arrays in [0, 1] whose activations set
            the scales; they may have other sizes than `shape`.

    Returns:
        The file's content, bytes.
    """
    content = _exported(generator, shape, dtype)
    if form == "float32":
        return content
    quantize = _Quantizer(generator, form)
    if form == "int8":
        # A free graph takes photos of any size, and its tensors have the fixed one's names.
        free = content if shape is None else _exported(generator, None, dtype)
        quantize.calibrate(free, photos if dtype == "float32" else map(_to_bytes, photos))
    return quantize(content)


def _exported(generator, shape, dtype):
    """The content of Keras's export in float32, with our names."""
    signature = keras.InputSpec(shape=(1, *(shape or (None, None)), 3), dtype=dtype, name=INPUT)
    model = Portable(generator, dtype, name="portable")  # Tensors are called after it.
    model(np.zeros((1, 32, 32, 3), dtype))  # An export wants a model that has been called.
    with tempfile.TemporaryDirectory() as folder, _silence():
        path = Path(folder) / "model.tflite"
        model.export(
            path,
            format="litert",
            input_signature=[signature],
            verbose=False,
            target_spec={"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]},
        )
        return _named(path.read_bytes())


def _named(content):
    """A model whose signature and tensors at both ends have our names, not generated ones."""
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    (signature,), (graph,) = model.signatureDefs, model.subgraphs
    signature.signatureKey = SIGNATURE.encode()
    for name, end in ((INPUT, signature.inputs), (OUTPUT, signature.outputs)):
        graph.tensors[end[0].tensorIndex].name = name.encode()
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


class _Quantizer:
    """LiteRT's quantizer, told how many bits each layer of a generator may have."""

    def __init__(self, generator, form):
        self.form = form
        ends = "|".join(re.escape(conv.name) for conv in (generator.head, generator.to_rgb))
        self.halves = ".*" if form == "float16" else rf"/({ends})(_\d+)?/"
        self.ranges = None

    def calibrate(self, content, photos):
        """Runs a float32 model on photos and keeps its tensors' ranges, the mean over photos.

        The quantizer's own moving average would forget all photos but the first.
        """
        with _silence():
            runs = calibrator.Calibrator(
                content,
                mode=calibrator.CalibrationMode.CALIBRATION_PROFILER_BASED,
                qsv_update_func=_listed,
            )
            runs.calibrate({SIGNATURE: [{INPUT: photo} for photo in photos]}, None)
        self.ranges = {
            name: {end: np.mean(values, keepdims=True) for end, values in ends.items()}
            for name, ends in runs.get_model_qsvs().items()
        }

    def __call__(self, content):
        """The quantized content of a float32 model."""
        with _silence():
            return bytes(self._of(content).quantize(self.ranges).quantized_model)

    def _of(self, content):
        found = quantizer.Quantizer(content)
        conv = qtyping.TFLOperationName.CONV_2D
        if self.form == "int8":
            found.add_static_config(".*", conv, activation_num_bits=8, weight_num_bits=8)
        elif self.form == "dynamic":
            found.add_dynamic_config(".*", conv, num_bits=8)
        half = qtyping.OpQuantizationConfig(
            weight_tensor_config=qtyping.TensorQuantizationConfig(
                num_bits=16, dtype=qtyping.TensorDataType.FLOAT
            ),
            compute_precision=qtyping.ComputePrecision.FLOAT,
            explicit_dequantize=True,
        )
        found.update_quantization_recipe(self.halves, conv, half, AlgorithmName.FLOAT_CASTING)
        return found


def _listed(known, new):
    """Ranges of several photos, one after another."""
    return {end: np.concatenate([known[end], new[end]]) for end in ("min", "max")}


def _to_bytes(photo):
    return np.rint(photo * 255).astype(np.uint8)


@contextlib.contextmanager
def _silence():
    """Progress bars and notes of the converters go nowhere; errors are raised all the same."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
