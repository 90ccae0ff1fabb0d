"""The index of a TensorFlow checkpoint, against TensorFlow's own reader."""

import struct

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

from wespe_tf.errors import UserError
from wespe_tf.weights import tf1_index as bundle
from wespe_tf.weights.tf1_checkpoint import load_checkpoint
from wespe_tf.weights.tf1_index import read_index


@pytest.fixture
def prefix(tmp_path):
    """A checkpoint of variables whose names begin alike, of several shapes and dtypes."""
    variables = {f"generator/W{k}": np.zeros((k, 300), np.float32) for k in range(1, 40)}
    variables |= {"generator": np.float64(1), "a": np.zeros((0, 2), np.int8), "b": np.ones(3, bool)}
    tf.raw_ops.SaveV2(
        prefix=str(tmp_path / "model"),
        tensor_names=list(variables),
        shape_and_slices=[""] * len(variables),
        tensors=list(variables.values()),
    )
    return tmp_path / "model"


def test_says_what_tensorflow_says(prefix):
    reader = tf.train.load_checkpoint(str(prefix))
    shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    expected = {name: (dtypes[name], tuple(shape)) for name, shape in shapes.items()}
    assert read_index(f"{prefix}.index") == expected and len(expected) == 42


def damage(index, rng, count):
    """Changes bytes of the block of names and shapes, and makes its checksum fit again."""
    (end, _), _ = bundle._handle(index, len(index) - bundle.FOOTER)
    block = np.frombuffer(index[: end - 5], np.uint8).copy()
    block[rng.integers(0, len(block), count)] ^= rng.integers(1, 256, count, np.uint8)
    below = block.tobytes() + index[end - 5 : end - 4]
    return below + struct.pack("<I", int(masked_crc32c(below))) + index[end:]


def test_right_checksums_on_wrong_entries(prefix, rng):
    """TensorFlow itself would end the process on most of these."""
    path = prefix.with_name("model.index")
    whole = path.read_bytes()
    refused = 0
    for _ in range(60):
        path.write_bytes(damage(whole, rng, 4))
        with pytest.raises(UserError) as caught:
            load_checkpoint(prefix)
        assert "\n" not in str(caught.value)
        refused += "a damaged index" in str(caught.value)
    assert refused > 20


@pytest.mark.parametrize("length", [0, 47, 48, 500])
def test_ends_early(prefix, length):
    path = prefix.with_name("model.index")
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match="not the index of a checkpoint, or cut off"):
        read_index(path)
