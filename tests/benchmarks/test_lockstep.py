"""The comparison with the code of the report and WESPE-TF, as far as it goes without their code."""

import json

import keras
import numpy as np
import pytest

from benchmarks.public_codes import drawing, lockstep, wespe_tf1, wespe_tf1_theirs
from benchmarks.public_codes.processes import run_process
from benchmarks.public_codes.summary import Column, relative_differences, summary_table
from wespe_tf.errors import UserError
from wespe_tf.models.wespe import DISCRIMINATORS, GENERATORS
from wespe_tf.training.schedule import Alternating
from wespe_tf.weights.vgg import load_vgg


def test_a_longer_run_begins_with_the_same_pictures():
    four, six = (drawing.batches(10, iterations, 32) for iterations in (4, 6))
    assert six.shape == (6, drawing.BATCH_SIZE, 32, 32, 3)
    np.testing.assert_array_equal(four, six[:4])


@pytest.mark.parametrize(
    "name, dimensions, kind",
    [
        ("net.0.weight", 4, "kernel"),
        ("net.3.net.1.weight", 1, "scale"),
        ("net.3.net.1.bias", 1, "bias"),
        ("clf.0.weight", 2, "dense"),
        ("discriminator_color/BN_2/gamma", 1, "scale"),
        ("discriminator_color/BN_2/beta", 1, "bias"),
        ("discriminator_color/dense/kernel", 2, "dense"),
    ],
)
def test_kind_of_their_variables(name, dimensions, kind):
    assert drawing.kind_of(name, dimensions) == kind


def test_drawn_vgg_of_wespe_tf(tmp_path):
    wespe_tf1_theirs.draw_vgg(tmp_path / "vgg.mat", "float32")
    vgg = load_vgg("relu2_2", str(tmp_path / "vgg.mat"))
    for k, conv in enumerate(vgg.conv_layers()):
        for part, kind in enumerate(("vgg_kernel", "bias")):
            value = conv.get_weights()[part]
            seed = wespe_tf1_theirs.VGG_SEED + 2 * k + part
            expected = drawing.drawn(seed, kind, value.shape).astype(np.float32)
            np.testing.assert_array_equal(value, expected, err_msg=conv.name)


class Brightness(keras.Model):
    """Its loss is the mean of the pictures, and each turn adds this to its only variable."""

    def __init__(self):
        super().__init__()
        self.sum = self.add_weight(shape=(), initializer="zeros", name="sum")
        self.compile(jit_compile=False)

    def unpack(self, data):
        return tuple(pictures.astype(np.float32) / 255 for pictures in data)

    def train_step(self, data):
        mean = keras.ops.mean(keras.ops.cast(data[0], "float32"))
        self.sum.assign_add(mean)
        return {self.turn: mean}


def test_both_turns_of_an_iteration_see_one_batch(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model, begun = Brightness(), []
    model.generator = keras.ops.convert_to_tensor
    named = {name: [("sum", "bias", model.sum)] for name in drawing.NETWORKS}
    x, y = (drawing.batches(seed, 4, 20) for seed in (1, 2))
    lockstep.train_ours(model, named, (x, y), Alternating(1, 1), turns=2, before=begun.append)

    assert begun == [0, 1, 2, 3]
    record = json.loads((tmp_path / drawing.RECORD).read_text())
    assert len(record["ends"]) == 4 and record["ends"] == sorted(record["ends"])
    means = x.mean((1, 2, 3, 4))
    for turn in (GENERATORS, DISCRIMINATORS):
        np.testing.assert_allclose([found[turn] for found in record["losses"]], means, rtol=1e-5)
    with np.load("first.npz") as first, np.load("before.npz") as before:
        np.testing.assert_allclose(first["enhanced.0"], x[0] / 255, rtol=1e-6)
        assert before.files == [f"{name}.0" for name in drawing.NETWORKS]
    moved = lockstep.largest_difference("before.npz", "after.npz")
    assert moved == pytest.approx(2 * means.sum(), rel=1e-5)


def test_adam_of_tensorflow():
    """A constant gradient g moves by lr·g / (|g| + ε / √(1 − β₂ᵗ)), with the ε of TensorFlow."""

    variable = keras.Variable(np.zeros(2), dtype="float64")
    optimizer = wespe_tf1.ExactAdam(1e-4)
    gradient = np.array([1e-7, -1e-2])
    expected = np.zeros(2)
    for t in range(1, 4):
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
        expected -= 1e-4 * gradient / (np.abs(gradient) + 1e-8 / np.sqrt(1 - 0.999**t))
    np.testing.assert_allclose(variable, expected, rtol=1e-6)


class TestProcess:
    def test_record_and_memory(self, tmp_path):
        found = run_process(tmp_path, tmp_path / "work.log", drawing.save_record, "a", "b")
        assert 0.01 < found.pop("peak_memory") < 1
        assert found == {"losses": "a", "ends": "b"}

    def test_failure_is_one_line(self, tmp_path):
        log = tmp_path / "work.log"
        with pytest.raises(UserError, match=r"^work ended with status 1: TypeError: .*save_record"):
            run_process(tmp_path, log, drawing.save_record)


def test_different_starts_are_refused(tmp_path):
    folders = [tmp_path / name for name in ("theirs", "ours")]
    for k, folder in enumerate(folders):
        folder.mkdir()
        np.savez(folder / "before.npz", **{"G.0": np.array([1.0, 1 + k / 8])})
    lockstep.check_start(folders[0], folders[0])
    with pytest.raises(UserError, match=r"different weights: 1\.2e-01 apart"):
        lockstep.check_start(*folders)


def test_seconds_do_not_count_the_iterations_that_are_traced():
    assert lockstep.mean_seconds([0, 100, 200, 201, 203, 206]) == 2.0


class TestTable:
    def test_differences_of_losses(self):
        theirs = [{"generator": 2.0}, {"color_disc": -4.0}, {"generator": 1.0}]
        ours = [{"generator": 2.0, "guide": 0.0}, {"color_disc": -3.0}, {"generator": 1.5}]
        found = relative_differences(theirs, ours)
        assert found == {"generator": (0.0, 0.5), "color_disc": (0.25, 0.25)}

    def test_missing_values_are_dashes(self):
        column = Column("one", 1e-7, {"tv": (0.0, 2e-3)}, (1.234, 5), (1, 0.5), weights=1e-12)
        lines = summary_table([column, column])
        assert lines[0] == "|  | one | one |"
        assert "| loss tv: first ; largest | 0.0e+00 ; 2.0e-03 | 0.0e+00 ; 2.0e-03 |" in lines
        assert "| loss color: first ; largest | – | – |" in lines
        assert "| weights: how far they moved | – | – |" in lines
        assert lines[-1] == "| peak memory in GB, theirs : ours | 1.00 : 0.50 | 1.00 : 0.50 |"
