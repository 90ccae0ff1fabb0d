"""benchmarks/training.py: every way computes the same, and the arithmetic is counted right."""

import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from benchmarks import plain, training
from benchmarks.plain_graph import PlainDPED, PlainWESPE
from wespe_tf.errors import UserError
from wespe_tf.models.discriminator import Discriminator
from wespe_tf.models.dped import DPED
from wespe_tf.models.generator import Generator
from wespe_tf.models.vgg import VGGFeatures

BATCH, SIDE = 2, 32


@pytest.fixture(scope="module")
def model():
    """This project's model of the paper at full size."""
    return training.make_model("float32", BATCH, SIDE)


@pytest.fixture(scope="module")
def weights(model):
    variables = training.variables_of(model)
    return {n: {k: v.numpy() for k, v in found.items()} for n, found in variables.items()}


@pytest.fixture
def pictures():
    """Source and target patches in [0, 1]."""
    batch = training.random_batch(BATCH, SIDE)
    assert batch[0].shape == (BATCH, SIDE, SIDE, 3) and (batch[0] != batch[1]).any()
    return [side / np.float32(255) for side in batch]


@pytest.fixture
def expected(model, pictures):
    losses = model.compute_losses(*pictures, training=True)
    return {name: float(value) for name, value in losses.items() if name != "guide"}


def assert_trained(before, after, names):
    """After an iteration these networks have moved, the others have not."""
    for network, arrays in before.items():
        moved = [(after[network][name] != value).any() for name, value in arrays.items()]
        assert np.mean(moved) > 0.7 if network in names else not any(moved), network


@pytest.mark.slow
class TestWaysHaveTheSameLosses:
    @staticmethod
    def variables(graph):
        """Values of a `PlainGraph`'s variables as `weights` has them."""
        # In one call: the session prepares its graph for each.
        values = graph.session.run(
            {v.op.name: v for v in graph.session.graph.get_collection("trainable_variables")}
        )
        found = {}
        for path, value in values.items():
            network, name = path.split("/")
            found.setdefault(network, {})[name] = value
        return found

    def test_plain_graph(self, weights, pictures, expected):
        graph = PlainWESPE(weights, BATCH, SIDE, 1e-4, training.LOSS_WEIGHTS)
        feed = graph.feed(*pictures)
        losses = graph.evaluate(feed)
        assert {name: losses[name] for name in expected} == pytest.approx(expected, rel=1e-5)
        before = self.variables(graph)
        graph.iterate(feed)
        assert_trained(before, self.variables(graph), before)

    def test_obvious_keras(self, weights, pictures, expected):
        model = training.ObviousWESPE(SIDE)
        model.assign(weights)
        losses = model.train_step(training.random_batch(BATCH, SIDE))
        # The discriminators see a generator that is one of the tiny steps ahead.
        found = {name: float(losses[name]) for name in expected}
        assert found == pytest.approx(expected, rel=1e-5)

    def test_dpeds_plain_graph(self, weights, pictures):
        graph = PlainDPED(weights, BATCH, SIDE, 1e-4)
        swaps = np.array([[0.0], [1.0]], np.float32)
        losses = graph.evaluate(graph.feed(*pictures, swaps))
        judge = Discriminator(head="two_class_softmax")
        model = DPED(Generator(), judge, VGGFeatures("relu5_4", "matconvnet"))
        model.compile(keras.optimizers.SGD(), keras.optimizers.SGD())
        model.build((BATCH, SIDE, SIDE, 3))
        model.vgg.build(None)
        for network, variables in (
            ("generator", plain.generator_variables(model.generator)),
            ("texture_discriminator", plain.discriminator_variables(model.discriminator)),
            ("vgg", training.vgg_variables(model.vgg)),
        ):
            assert variables.keys() == weights[network].keys()
            for name, variable in variables.items():
                variable.assign(weights[network][name])
        expected = model.compute_losses(*pictures, swaps, training=True)
        for name in ("generator", "content", "color", "texture", "tv"):
            assert losses[name] == pytest.approx(float(expected[name]), rel=1e-5), name
        before = self.variables(graph)
        graph.iterate(*(graph.feed(*pictures, s) for s in (0 * swaps, swaps)))
        trained = ("generator", "texture_discriminator")
        assert_trained(before, self.variables(graph), trained)

    def test_other_losses_are_refused(self):
        found = {"tf1": {"tv": 1.0, "color": 2.0}, "float32": {"tv": 1.0, "color": 2.01}}
        with pytest.raises(UserError, match="^float32: the loss color is 2.01, but 2.0 in tf1$"):
            training.check_losses(found)
        found["float32"]["color"] = 2.00001
        training.check_losses(found)


def operations_of(function):
    """Multiplications and additions of a traced function's matrix products, those that are used.

    TensorFlow records the gradients of all inputs of an operation, needed or not, and runs those
    that lead to something.
    """
    graph = function.graph
    used, waiting = set(), [t.op for t in graph.outputs] + list(graph.control_outputs)
    while waiting:
        operation = waiting.pop()
        if operation not in used:
            used.add(operation)
            waiting += [t.op for t in operation.inputs] + list(operation.control_inputs)
    total = 0
    for operation in used:
        if operation.type.startswith("Conv2D"):
            forward, filters = operation.type == "Conv2D", operation.type.endswith("Filter")
            kernel = operation.outputs[0] if filters else operation.inputs[1]
            result = operation.outputs[0] if forward else operation.inputs[2]
            total += np.prod(kernel.shape) * np.prod(result.shape[:3])
        elif operation.type == "MatMul":
            rows, columns = operation.inputs[0].shape
            shared = rows if operation.get_attr("transpose_a") else columns
            total += shared * np.prod(operation.outputs[0].shape)
    return 2 * int(total)


@pytest.mark.slow
def test_the_step_does_no_more_than_it_needs(model, weights):
    """Counted in the graph that runs, against the count of the benchmark."""
    batch = [tf.TensorSpec((BATCH, SIDE, SIDE, 3), tf.uint8)] * 2
    step = tf.function(lambda *data: model.train_step(data)).get_concrete_function(*batch)
    assert operations_of(step) == BATCH * training.operations(weights, SIDE)


class TestLines:
    ROW = dict.fromkeys(training.COLUMNS, "") | {"losses": "WESPE", "batch": "10", "patch": "100"}

    def test_latest_row_of_each_way(self):
        rows = [
            {**self.ROW, "way": "float32", "patches_per_second": "1.00"},
            {**self.ROW, "way": "float32", "patches_per_second": "2.00"},
        ]
        lines = list(training.lines(rows))
        assert lines[2:] == ["| WESPE | float32 | 10, 100 | 2.00 |  |  |  |  |  |"]

    def test_share_of_the_loop_alone(self):
        rows = [
            {**self.ROW, "way": "bfloat16", "patches_per_second": "20", "all_reduced": "1"},
            {**self.ROW, "losses": "", "way": training.LOOP_ALONE, "milliseconds": "2.00"},
        ]
        norms = {"instance norm": "3.00", "GroupNormalization": "4.00"}
        rows += [{**self.ROW, "way": way, "milliseconds": taken} for way, taken in norms.items()]
        lines = list(training.lines(rows))
        # Of a step of 500 ms; and the loop is none of the ways.
        told = "It takes 2.00 ms in an iteration. This share of the bfloat16 steps above is 0.40%"
        assert len([line for line in lines if told in line]) == 1
        norms = "patches of 100 pixels: 3.00 ms (instance norm), 4.00 ms (GroupNormalization)."
        assert norms in "".join(lines)
        assert not [line for line in lines if line.startswith("|") and "loop" in line]

    def test_time_to_exchange_gradients(self):
        row = {"way": "bfloat16", "patches_per_second": "20", "all_reduced": str(10**8)}
        lines = list(training.lines([{**self.ROW, **row}]))
        # 2·100 MB at 1.25 GB/s are 160 ms, of a step of 500 ms.
        assert "| 10 Gbit/s Ethernet | 160.0 | 32.00% |" in lines


def test_iterations_are_timed_without_those_that_trace():
    def step(data):
        time.sleep(0.2 if tf.inside_function() else 0)
        return {"generator": tf.zeros(())}

    model = training.Idle()
    model.train_step = step
    data = tf.data.Dataset.from_tensors(training.random_batch(BATCH, SIDE)).repeat()
    seconds = training.seconds_of_iterations(model, data, 5)
    assert len(seconds) == 5 and 0 < max(seconds) < 0.2


def test_norms_compute_the_same(rng):
    pictures = rng.random((BATCH, 9, 8, 6)).astype(np.float32)
    first, second = (make()(pictures) for make in training.NORMS.values())
    np.testing.assert_allclose(first, second, atol=1e-4)


@pytest.mark.slow
class TestWorker:
    def test_that_fails_is_told(self):
        with training.Worker(training.train_dped, "nowhere", 1, 1) as worker:
            with pytest.raises(UserError, match="^train_dped: ended with status 1$"):
                worker.receive()


def test_bad_batches_are_refused():
    with pytest.raises(UserError, match="^batches=1,x: expected numbers, as in 10,30$"):
        training.main(["batches=1,x"])
