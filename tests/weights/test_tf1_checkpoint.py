"""The authors' checkpoints: their models' numbers, TensorFlow 1's Saver, and broken files."""

import contextlib

import numpy as np
import pytest
import tensorflow as tf
from keras.ops import convert_to_numpy as array

from tests.shared import SHARED, needs_shared
from wespe_tf.errors import UserError
from wespe_tf.models.generator import Generator
from wespe_tf.weights import tf1_checkpoint as reference
from wespe_tf.weights.tf1_checkpoint import is_checkpoint, load_checkpoint, save_checkpoint

v1 = tf.compat.v1
CHECKPOINTS = SHARED / "checkpoints" / "dped"


def drawn_generator(seed=0, **options):
    """A built generator whose every weight is drawn, so that no two are alike."""
    generator = Generator(**options)
    generator.build((None, None, None, 3))
    rng = np.random.default_rng(seed)
    for variable in generator.weights:
        variable.assign(rng.normal(0, 0.05, variable.shape))
    return generator


def weights(generator):
    return [array(variable) for variable in generator.weights]


def authors_graph(width=64, blocks=4):
    """The generator once more in TensorFlow 1, variables named and made in DPED code's order.

    Returns the placeholder of the input and the output, in the default graph.
    """

    def conv(x, k, size, outputs):
        kernel = tf.random.normal((size, size, x.shape[-1], outputs), 0, 0.05, seed=k)
        kernel = tf.Variable(kernel, name=f"W{k}")
        bias = tf.Variable(tf.random.normal((outputs,), 0, 0.1, seed=100 + k), name=f"b{k}")
        return tf.nn.conv2d(x, kernel, 1, "SAME") + bias

    def norm(x):
        mean, variance = tf.nn.moments(x, [1, 2], keepdims=True)
        shift = tf.Variable(tf.random.normal((width,), 0, 0.1))
        scale = tf.Variable(tf.random.normal((width,), 1, 0.1))
        return scale * (x - mean) / tf.sqrt(variance + 1e-3) + shift

    inputs = v1.placeholder(tf.float32, (None, 20, 24, 3))
    with v1.variable_scope("generator"):
        x = tf.nn.relu(conv(inputs, 1, 9, width))
        for k in range(2, 2 + 2 * blocks, 2):
            y = tf.nn.relu(norm(conv(x, k, 3, width)))
            x = tf.nn.relu(norm(conv(y, k + 1, 3, width))) + x
        k = 2 * blocks + 2
        x = tf.nn.relu(conv(x, k, 3, width))
        x = tf.nn.relu(conv(x, k + 1, 3, width))
        return inputs, tf.tanh(conv(x, k + 2, 9, 3)) * 0.58 + 0.5


@contextlib.contextmanager
def tensorflow_1():
    """A graph with classic variables and its session, as DPED code runs."""
    v1.disable_resource_variables()
    try:
        with tf.Graph().as_default(), v1.Session() as session:
            v1.set_random_seed(0)
            yield session
    finally:
        v1.enable_resource_variables()


@pytest.fixture
def pictures(rng):
    return rng.random((2, 20, 24, 3)).astype(np.float32)


class TestAuthorsModels:
    @needs_shared
    @pytest.mark.parametrize("camera", ["iphone_orig", "sony_orig"])
    def test_outputs_are_theirs(self, camera):
        with np.load(SHARED / "reference" / "dped_generator.npz") as stored:
            pictures = stored["input_uint8"].astype(np.float32) / 255
            expected = stored[camera]
        enhanced = array(load_checkpoint(CHECKPOINTS / camera)(pictures))
        np.testing.assert_allclose(enhanced, expected, rtol=0, atol=1e-5)

    @needs_shared
    def test_round_trip_keeps_every_bit_and_name(self, tmp_path):
        original = CHECKPOINTS / "iphone_orig"
        save_checkpoint(load_checkpoint(original), tmp_path / "copy")
        old, new = (tf.train.load_checkpoint(str(p)) for p in (original, tmp_path / "copy"))
        assert new.get_variable_to_shape_map() == old.get_variable_to_shape_map()
        assert new.get_variable_to_dtype_map() == old.get_variable_to_dtype_map()
        for name in old.get_variable_to_shape_map():
            assert new.get_tensor(name).tobytes() == old.get_tensor(name).tobytes()


class TestTensorFlow1:
    def test_its_saver_restores_what_is_saved_here(self, tmp_path, pictures):
        prefix = str(tmp_path / "iphone_iteration_1000.ckpt")
        generator = drawn_generator()
        save_checkpoint(generator, prefix)
        with tensorflow_1() as session:
            inputs, enhanced = authors_graph()
            v1.train.Saver().restore(session, prefix)
            output = session.run(enhanced, {inputs: pictures})
        np.testing.assert_allclose(output, array(generator(pictures)), rtol=0, atol=1e-5)

    @pytest.mark.parametrize("width, blocks", [(64, 4), (6, 2), (5, 0)])
    def test_what_its_saver_saved_is_read_here(self, tmp_path, pictures, width, blocks):
        with tensorflow_1() as session:
            inputs, enhanced = authors_graph(width, blocks)
            session.run(v1.global_variables_initializer())
            expected = session.run(enhanced, {inputs: pictures})
            path = str(tmp_path / "model.ckpt")
            prefix = v1.train.Saver().save(session, path, write_meta_graph=False)
        generator = load_checkpoint(prefix)
        assert (generator.width, generator.blocks) == (width, blocks)
        np.testing.assert_allclose(array(generator(pictures)), expected, rtol=0, atol=1e-5)


class TestSave:
    def test_round_trip_is_bit_exact(self, tmp_path):
        generator = drawn_generator()
        save_checkpoint(generator, tmp_path / "a.ckpt")
        again = load_checkpoint(tmp_path / "a.ckpt")
        for value, expected in zip(weights(again), weights(generator)):
            assert value.tobytes() == expected.tobytes()

    def test_writes_two_files_and_nothing_else(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        for _ in range(2):
            save_checkpoint(drawn_generator(), "a.ckpt")
        names = {path.name for path in tmp_path.iterdir()}
        assert names == {"a.ckpt.index", "a.ckpt.data-00000-of-00001"}
        assert is_checkpoint("a.ckpt") and not is_checkpoint("a") and not is_checkpoint(tmp_path)

    def test_writes_float32_whatever_the_policy(self, policy, tmp_path):
        policy("float64")
        generator = drawn_generator()
        save_checkpoint(generator, tmp_path / "a")
        policy("mixed_bfloat16")
        for value, expected in zip(weights(load_checkpoint(tmp_path / "a")), weights(generator)):
            np.testing.assert_array_equal(value, expected.astype(np.float32))

    @pytest.mark.parametrize(
        "option, value",
        [
            ("width", 32),
            ("blocks", 3),
            ("norm", "batch"),
            ("norm", "none"),
            ("norm_epsilon", 1e-5),
            ("tanh_scale", 0.5),
            ("ending", "plain"),
        ],
    )
    def test_refuses_another_network(self, tmp_path, option, value):
        generator = drawn_generator(**{option: value})
        with pytest.raises(
            UserError, match=f"a generator with {option}={value} cannot be a checkpoint"
        ):
            save_checkpoint(generator, tmp_path / "a")
        assert not list(tmp_path.iterdir())

    def test_folder_that_is_missing(self, tmp_path):
        with pytest.raises(UserError, match="no/a: the checkpoint cannot be written") as caught:
            save_checkpoint(drawn_generator(), tmp_path / "no" / "a")
        assert "\n" not in str(caught.value)

    def test_failure_leaves_the_old_checkpoint_alone(self, tmp_path, monkeypatch, snapshot):
        save_checkpoint(drawn_generator(), tmp_path / "a")
        before = snapshot(tmp_path)

        def fail(*arguments):
            raise OSError("disk full")

        monkeypatch.setattr(reference.os, "replace", fail)
        with pytest.raises(UserError, match="disk full"):
            save_checkpoint(drawn_generator(seed=1), tmp_path / "a")
        assert snapshot(tmp_path) == before


def write(prefix, variables):
    """Writes any arrays as a checkpoint."""
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=list(variables),
        shape_and_slices=[""] * len(variables),
        tensors=list(variables.values()),
    )


def good_variables(**options):
    generator = drawn_generator(**options)
    return {name: array(v) for name, v in reference.checkpoint_variables(generator)}


def refused(prefix):
    """The one line that loading ends with, without the file's name."""
    with pytest.raises(UserError) as caught:
        load_checkpoint(prefix)
    message = str(caught.value)
    assert len(message.splitlines()) == 1 and message.startswith(str(prefix))
    return message.removeprefix(str(prefix))


class TestBadCheckpoints:
    def test_missing(self, tmp_path):
        prefix = tmp_path / "a.ckpt"
        assert refused(prefix) == f": no such checkpoint: no file {prefix}.index"
        assert "no such checkpoint" in refused(tmp_path)

    def test_foreign(self, tmp_path):
        write(tmp_path / "a", {"dense/kernel": np.zeros((3, 4)), "dense/bias": np.zeros(4)})
        assert refused(tmp_path / "a") == (
            ": no variable generator/W1: it holds dense/bias, dense/kernel, …"
        )

    def test_names_with_line_ends(self, tmp_path):
        write(tmp_path / "a", {"gener\x85tor/W1": np.zeros(4), "b\nc": np.zeros(4)})
        assert refused(tmp_path / "a") == (
            r": no variable generator/W1: it holds b\nc, gener\x85tor/W1, …"
        )

    def test_keras_weights(self, tmp_path):
        prefix = tf.train.Checkpoint(v=tf.Variable(1.0)).save(str(tmp_path / "keras"))
        assert "no variable generator/W1" in refused(prefix)

    @pytest.mark.parametrize(
        "name, shape",
        [
            ("W5", "(3, 3, 6, 6)"),
            ("b5", "(6,)"),
            ("W8", "(9, 9, 6, 3)"),
            ("b8", "(3,)"),
            ("Variable", "(6,)"),
            ("Variable_7", "(6,)"),
        ],
    )
    def test_missing_variable(self, tmp_path, name, shape):
        variables = good_variables(width=6, blocks=2)
        del variables[f"generator/{name}"]
        write(tmp_path / "a", variables)
        assert refused(tmp_path / "a") == f": no variable generator/{name}, expected shape {shape}"

    @pytest.mark.parametrize("shape", [(), (4,), (9, 9, 3, 0), (9, 9, 3, 3)])
    def test_first_kernel_of_no_use(self, tmp_path, shape):
        write(tmp_path / "a", {"generator/W1": np.zeros(shape, np.float32)})
        expected = f": generator/W1 has shape {shape}, expected (9, 9, 3, 64)"
        assert refused(tmp_path / "a") == expected

    @pytest.mark.parametrize(
        "name, shape, expected",
        [
            ("W1", (9, 9, 1, 6), (9, 9, 3, 6)),
            ("W4", (3, 3, 6, 7), (3, 3, 6, 6)),
            ("b8", (6,), (3,)),
            ("Variable_2", (1, 6), (6,)),
        ],
    )
    def test_shape_that_does_not_fit(self, tmp_path, name, shape, expected):
        variables = good_variables(width=6, blocks=2)
        variables[f"generator/{name}"] = np.zeros(shape, np.float32)
        write(tmp_path / "a", variables)
        message = f": generator/{name} has shape {shape}, expected {expected}"
        assert refused(tmp_path / "a") == message

    def test_dtype_that_does_not_fit(self, tmp_path):
        variables = good_variables(width=6, blocks=1)
        variables["generator/b2"] = np.zeros(6, np.int32)
        write(tmp_path / "a", variables)
        assert refused(tmp_path / "a") == ": generator/b2 is int32, expected float32"

    def test_data_that_are_missing_cut_or_changed(self, tmp_path):
        prefix = tmp_path / "a"
        write(prefix, good_variables(width=6, blocks=1))
        data = tmp_path / "a.data-00000-of-00001"
        whole = data.read_bytes()
        changed = bytearray(whole)
        changed[len(whole) // 2] ^= 1
        for content in (whole[: len(whole) // 2], b"", bytes(changed)):
            data.write_bytes(content)
            assert "cannot be read: missing or damaged data (" in refused(prefix)
        data.unlink()
        assert "missing or damaged data (0 bytes, expected " in refused(prefix)

    def test_index_of_another_checkpoint(self, tmp_path):
        for seed, name in enumerate("ab"):
            write(tmp_path / name, good_variables(width=6, blocks=1, seed=seed))
        (tmp_path / "b.data-00000-of-00001").replace(tmp_path / "a.data-00000-of-00001")
        assert "cannot be read: missing or damaged data (" in refused(tmp_path / "a")

    def test_damaged_index(self, tmp_path, rng):
        prefix = tmp_path / "a"
        write(prefix, good_variables(width=6, blocks=1))
        index = tmp_path / "a.index"
        whole = np.frombuffer(index.read_bytes(), np.uint8)
        for length in (0, 10, len(whole) // 2, len(whole) - 1):
            index.write_bytes(whole[:length].tobytes())
            assert refused(prefix).startswith(".index: not a readable checkpoint (")
        for _ in range(50):
            damaged = whole.copy()
            damaged[rng.integers(0, len(whole) - 48, 4)] ^= rng.integers(1, 256, 4, np.uint8)
            index.write_bytes(damaged.tobytes())
            refused(prefix)
