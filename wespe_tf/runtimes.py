"""What runs a network on this machine: Keras or OpenVINO behind one small interface.

A runtime turns a model of NumPy arrays into a function of NumPy arrays. OpenVINO is several times
faster on a CPU, most of all on one with bfloat16 units; Keras runs everywhere.
"""

import functools
import tempfile

import keras
import numpy as np
import tensorflow as tf

from .errors import UserError


def choose_runtime(name="auto", precision="auto"):
    """The function that readies models for a runtime.

    Args:
        name: `"keras"`, `"openvino"`, or `"auto"`: Keras where there is a GPU, OpenVINO on a CPU.
        precision: `"float32"`, `"bfloat16"` or `"auto"`: for OpenVINO what suits the processor,
            bfloat16 where it has units for it; for Keras float32.

    Returns:
        Function of (model, shapes of its inputs, None for a free side) that returns a function of
        as many float32 arrays.

    Raises:
        UserError: for Keras in bfloat16.
    """
    if name == "auto":
        name = "keras" if tf.config.list_physical_devices("GPU") else "openvino"
    if name == "keras":
        if precision == "bfloat16":
            raise UserError("runtime=keras: computes in float32; runtime=openvino has bfloat16")
        return with_keras
    return functools.partial(with_openvino, precision=precision)


def with_keras(model, shapes):
    """`model` as a TensorFlow graph, which frees intermediate results as soon as it can."""

    @tf.function(reduce_retracing=True, autograph=False)
    def run(inputs):
        return model(inputs)

    def call(*arrays):
        tensors = [tf.convert_to_tensor(array) for array in arrays]
        return run(tensors if len(shapes) > 1 else tensors[0]).numpy()

    return call


def with_openvino(model, shapes, precision="auto"):
    """`model` compiled by OpenVINO for this machine's processor."""
    import openvino  # Takes a second, and nothing else here needs it.

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
        core = openvino.Core()
        hint = {"float32": "f32", "bfloat16": "bf16"}.get(precision)
        options = {} if hint is None else {"INFERENCE_PRECISION_HINT": hint}
        compiled = core.compile_model(core.read_model(f"{folder}/model.xml"), "CPU", options)

    def call(*arrays):
        return compiled(list(arrays))[0]

    return call
