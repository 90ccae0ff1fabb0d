"""Runs a network on this machine, with Keras or OpenVINO, behind one small interface.

OpenVINO is several times as fast on a CPU, especially with units for bfloat16. Keras runs
everywhere.
"""

import contextlib
import dataclasses
import functools
import importlib.util
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from ..errors import UserError, first_line, optional
from ..models.generator import Generator
from .fused import prepare, split
from .stage_networks import KerasStage, OpenVINOStage

# OpenVINO's names for precisions.
HINTS = {"float32": "f32", "bfloat16": "bf16"}


@dataclasses.dataclass(frozen=True)
class Runtime:
    """A way to run networks.

    Attributes:
        name: `"keras"` or `"openvino"`.
        precision: `"float32"` or `"bfloat16"`.
        footprint: bytes of memory that a pass needs for each pixel and each channel.
        ready: function of a generator that returns a `Network`.
        prepare: function from a `Generator` to the one that `ready` takes.
        stage: function of (stage, generator) that returns a `StageNetwork`.
        value_bytes: bytes of a value between two stages.
        stage_footprint: bytes of memory that a stage needs for each pixel and channel of a strip.
        stages_bytes: bytes of memory that all prepared stages need in addition.
        strip_pixels: pixels of a strip, if memory allows.
    """

    name: str
    precision: str
    footprint: float
    ready: Callable[[Generator], "Network"]
    prepare: Callable[[Generator], Generator] = lambda generator: generator
    stage: Callable = KerasStage
    value_bytes: int = 4
    stage_footprint: float = 48.0
    stages_bytes: float = 0.0
    strip_pixels: int = 1 << 17

    def __str__(self) -> str:
        return f"{self.name}, {self.precision}"


@contextlib.contextmanager
def enhancing(path: str | Path) -> Iterator[None]:
    """A context in which a runtime enhances the photo at `path`.

    Raises:
        UserError: if the runtime cannot, mostly because there is too little memory.
    """
    try:
        yield
    except (RuntimeError, MemoryError, tf.errors.OpError) as error:
        raise UserError(f"{path}: cannot be enhanced ({first_line(error)})") from error


def choose_runtime(name: str = "auto", precision: str = "auto") -> Runtime:
    """The `Runtime` that the settings ask for.

    Args:
        name: `"keras"`, `"openvino"`, or `"auto"`: Keras with a GPU, OpenVINO without; if OpenVINO
            is not installed, Keras, and a line says so.
        precision: `"float32"`, `"bfloat16"` or `"auto"`: for OpenVINO bfloat16 if the processor
            has units for it; for Keras float32.

    Raises:
        UserError: for bfloat16 with Keras, or on a processor without units for it; for
            `"tflite"`, which needs a .tflite file; if OpenVINO is not installed.
    """
    if name == "tflite":
        raise UserError("runtime=tflite: expected a .tflite file, such as export_tflite.py writes")
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
        functools.partial(
            OpenVINOStage,
            core=core,
            options={"INFERENCE_PRECISION_HINT": HINTS[precision]},
            half=precision == "bfloat16",
        ),
        value_bytes=2 if precision == "bfloat16" else 4,
        stage_footprint=32.0 if precision == "bfloat16" else 60.0,
        stages_bytes=170e6,
        strip_pixels=1 << 15,
    )


def import_openvino() -> Any:
    """Imports OpenVINO, which takes a moment and which only this runtime needs.

    Its telemetry is switched off. It would report to OpenVINO's makers from a forked process.
    TensorFlow does not survive a fork: the process may hang, and keep its parent from ending.
    """
    modules: dict[str, Any] = sys.modules
    modules.setdefault("openvino_telemetry", None)
    with optional("openvino", "runtime=openvino"):
        import openvino

    return openvino


@functools.cache
def _installed() -> str:
    """The fastest runtime for a CPU that is installed. If that is Keras, prints a hint, once."""
    if importlib.util.find_spec("openvino"):
        return "openvino"
    print('Keras computes; OpenVINO is faster on a CPU: pip install "wespe_tf[openvino]"')
    return "keras"


# Measured on photos, with compiled networks. Between two layers, a value takes 4 or 2 bytes.
KERAS_FOOTPRINT = 14.0
OPENVINO_FOOTPRINTS = {"float32": 24.0, "bfloat16": 14.0}


class Network(Protocol):
    """A prepared generator: call it with (1, H, W, 3) float32 pictures in [0, 1]."""

    def __call__(self, pictures: np.ndarray) -> np.ndarray: ...

    def release(self) -> None: ...


class KerasNetwork:
    """A generator as a TensorFlow graph, which frees intermediate results as soon as it can.

    Args:
        generator: a built `Generator`.
    """

    def __init__(self, generator: Generator):
        self.graph = tf.function(lambda pictures: generator(pictures), reduce_retracing=True)

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        return self.graph(pictures).numpy()

    def release(self) -> None:
        """Does nothing: no memory is kept between calls."""


class OpenVINONetwork:
    """A generator that is compiled for this processor and for the size of its first picture.

    If the size changes, it is compiled again. With free sizes, it would be slower and need more
    memory.

    Args:
        generator: from `fused.prepare`; for bfloat16, it takes `split` pictures.
        core: `openvino.Core`.
        precision: `"float32"` or `"bfloat16"`.
    """

    def __init__(self, generator: Generator, core: Any, precision: str):
        self.splits = precision == "bfloat16"
        channels = 6 if self.splits else 3
        # A model must have been called before it can be exported.
        generator(np.zeros((1, 32, 32, channels), np.float32))
        signature = [keras.InputSpec(shape=(1, None, None, channels), dtype="float32")]
        with tempfile.TemporaryDirectory() as folder:
            generator.export(
                f"{folder}/model.xml", format="openvino", input_signature=signature, verbose=False
            )
            self.network = core.read_model(f"{folder}/model.xml")
        self.core = core
        self.options = {"INFERENCE_PRECISION_HINT": HINTS[precision]}
        self.compiled: Any = None
        self.shape: tuple[int, ...] | None = None

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        if self.splits:
            pictures = split(pictures)
        if self.compiled is None or pictures.shape != self.shape:
            self.release()
            self.network.reshape(list(pictures.shape))
            self.compiled = self.core.compile_model(self.network, "CPU", self.options)
            self.shape = pictures.shape
        return self.compiled(pictures)[0].copy()

    def release(self) -> None:
        """Frees the compiled network and its tensors."""
        self.compiled = None
