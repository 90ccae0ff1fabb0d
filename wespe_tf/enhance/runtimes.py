"""What runs a network on this machine: Keras or OpenVINO behind one small interface.

OpenVINO is several times faster on a CPU, most of all on one with bfloat16 units; Keras runs
everywhere.
"""

import dataclasses
import functools
import importlib.util
import sys
import tempfile
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from ..errors import UserError, optional
from .fused import prepare, split

# Names that OpenVINO has for precisions.
HINTS = {"float32": "f32", "bfloat16": "bf16"}


@dataclasses.dataclass(frozen=True)
class Runtime:
    """A way to run networks.

    Attributes:
        name: `"keras"` or `"openvino"`.
        precision: `"float32"` or `"bfloat16"`.
        footprint: bytes that a generator's pass holds for a pixel and a channel of its width.
        ready: function of (model, shapes of its inputs) that returns a `KerasNetwork` or another
            with the same methods.
        prepare: function from a `Generator` to the one of which `ready`'s models are made.
    """

    name: str
    precision: str
    footprint: float
    ready: Callable
    prepare: Callable = lambda generator: generator

    def __str__(self):
        return f"{self.name}, {self.precision}"


def choose_runtime(name="auto", precision="auto"):
    """The `Runtime` that the settings ask for.

    Args:
        name: `"keras"`, `"openvino"`, or `"auto"`: OpenVINO on a CPU, Keras where there is a GPU or
            where OpenVINO is not installed, which is said.
        precision: `"float32"`, `"bfloat16"` or `"auto"`: for OpenVINO bfloat16 where the processor
            has units for it; for Keras float32.

    Raises:
        UserError: for bfloat16 with Keras, or on a processor without units for it, or for
            `"tflite"`, which runs files of its own.
    """
    if name == "tflite":
        raise UserError("runtime=tflite: expected a .tflite file, export_tflite.py writes them")
    if name == "auto":
        name = "keras" if tf.config.get_visible_devices("GPU") else _installed()
    if name == "keras":
        if precision == "bfloat16":
            raise UserError("runtime=keras: computes in float32; runtime=openvino has bfloat16")
        return Runtime("keras", "float32", KERAS_FOOTPRINT, KerasNetwork)
    core = import_openvino().Core()
    if precision != "float32":
        able = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision == "bfloat16" and not able:
            raise UserError("precision=bfloat16: this processor has no units for it")
        precision = "bfloat16" if able else "float32"
    return Runtime(
        "openvino",
        precision,
        OPENVINO_FOOTPRINTS[precision],
        functools.partial(OpenVINONetwork, core=core, precision=precision),
        functools.partial(prepare, splits=precision == "bfloat16"),
    )


def import_openvino():
    """The package, which takes a moment and which nothing else here needs.

    Without its telemetry: that reports to OpenVINO's makers from a process that it forks, which
    TensorFlow does not survive; such a process may stay for ever, and keep its parent from ending.
    """
    sys.modules.setdefault("openvino_telemetry", None)
    with optional("openvino", "runtime=openvino"):
        import openvino

    return openvino


@functools.cache
def _installed():
    """The fastest runtime for a CPU that is installed; says once where that is Keras."""
    if importlib.util.find_spec("openvino"):
        return "openvino"
    print('Keras computes; OpenVINO is faster on a CPU: pip install "wespe_tf[openvino]"')
    return "keras"


# Measured on photos, compiled networks included; between two layers a value takes 4 or 2 bytes.
KERAS_FOOTPRINT = 14.0
OPENVINO_FOOTPRINTS = {"float32": 24.0, "bfloat16": 14.0}


class KerasNetwork:
    """A model as a TensorFlow graph, which frees intermediate results as soon as it can.

    Called with float32 arrays, one for each input, it returns one.

    Args:
        model: Keras model.
        shapes: of its inputs, None for a free side.
    """

    def __init__(self, model, shapes):
        self.several = len(shapes) > 1
        self.graph = tf.function(lambda inputs: model(inputs), reduce_retracing=True)

    def __call__(self, *arrays):
        return self.graph(arrays if self.several else arrays[0]).numpy()

    def release(self):
        """Frees what is kept between calls: nothing."""


class OpenVINONetwork:
    """A model compiled for this machine's processor and for the shapes that it is called with.

    It is compiled again when they change: with free shapes it would be slower and hold more.
    Called with float32 arrays, one for each input, it returns one.

    Args:
        model: Keras model; for bfloat16 of `split` pictures.
        shapes: of its inputs, None for a free side; pictures come first.
        core: `openvino.Core`.
        precision: `"float32"` or `"bfloat16"`.
    """

    def __init__(self, model, shapes, core, precision):
        self.splits = precision == "bfloat16"
        if self.splits:
            shapes = [(*shapes[0][:-1], 6), *shapes[1:]]
        # An export wants a model that has been called.
        zeros = [np.zeros([side or 32 for side in shape], np.float32) for shape in shapes]
        model(zeros if len(shapes) > 1 else zeros[0])
        signature = [keras.InputSpec(shape=shape, dtype="float32") for shape in shapes]
        with tempfile.TemporaryDirectory() as folder:
            model.export(
                f"{folder}/model.xml",
                format="openvino",
                input_signature=[signature] if len(shapes) > 1 else signature,
                verbose=False,
            )
            self.network = core.read_model(f"{folder}/model.xml")
        self.core = core
        self.options = {"INFERENCE_PRECISION_HINT": HINTS[precision]}
        self.compiled, self.shapes = None, None

    def __call__(self, pictures, *others):
        arrays = [split(pictures) if self.splits else pictures, *others]
        shapes = [array.shape for array in arrays]
        if self.compiled is None or shapes != self.shapes:
            self.release()
            self.network.reshape(dict(zip(self.network.inputs, map(list, shapes))))
            self.compiled = self.core.compile_model(self.network, "CPU", self.options)
            self.shapes = shapes
        return self.compiled(arrays)[0].copy()

    def release(self):
        """Frees what is kept between calls: the compiled network and its tensors."""
        self.compiled = None
