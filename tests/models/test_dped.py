"""The supervised training: its losses by their formulas, ten iterations beside the authors'."""

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from keras.ops import convert_to_numpy as array

from benchmarks import plain
from tests.shared import SHARED, needs_shared
from wespe_tf.models import dped
from wespe_tf.models.discriminator import Discriminator
from wespe_tf.models.dped import DPED, authors_adam
from wespe_tf.models.generator import Generator
from wespe_tf.models.vgg import VGGFeatures
from wespe_tf.weights.tf1_checkpoint import load_checkpoint

SIZE = 36


def make_dped(**options):
    """A small compiled and built model."""
    generator = Generator(width=5, init="glorot")
    discriminator = Discriminator(width_multiplier=0.1, head="two_class_softmax", init="glorot")
    vgg = VGGFeatures("relu1_2", "matconvnet")
    vgg.build(None)
    model = DPED(generator, discriminator, vgg, **options)
    model.compile(authors_adam(), authors_adam())
    model.build((None, SIZE, SIZE, 3))
    return model


def uint8(rng, count=4):
    return rng.integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


def swaps(*values):
    return np.array(values).reshape(-1, 1)


class TestLosses:
    def test_color(self, rng):
        a, b = rng.random((2, 3, 5, 7, 3))
        assert float(dped.color_loss(a, b)) == pytest.approx(np.sum((a - b) ** 2) / (2 * 3))

    def test_discriminator(self, rng):
        p = rng.random((3, 1))
        probabilities = np.hstack([p, 1 - p])
        expected = -np.log(p[0, 0]) - np.log(1 - p[1, 0]) - np.log(p[2, 0])
        loss = dped.discriminator_loss(probabilities, swaps(1.0, 0.0, 1.0))
        assert float(loss) == pytest.approx(expected)

    def test_logarithm_is_clipped(self):
        probabilities = tf.constant([[1.0, 0.0]], tf.float64)
        with tf.GradientTape() as tape:
            tape.watch(probabilities)
            loss = dped.discriminator_loss(probabilities, tf.zeros((1, 1), tf.float64))
        assert float(loss) == pytest.approx(-np.log(1e-10))
        assert np.all(np.isfinite(array(tape.gradient(loss, probabilities))))

    def test_accuracy(self):
        probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8], [0.4, 0.6]])
        assert float(dped.discriminator_accuracy(probabilities, swaps(1, 0, 0, 1))) == 0.5

    def test_psnr(self, rng):
        a, b = rng.random((2, 3, 5, 7, 3))
        expected = 20 * np.log10(1 / np.sqrt(np.mean((a - b) ** 2)))
        assert float(dped.psnr(a, b)) == pytest.approx(expected)


def test_compute_losses_is_the_authors_graph_written_plainly(policy, rng):
    policy("float64")
    model = make_dped(w_content=3.0, w_color=5.0, w_texture=7.0, w_tv=11.0)
    x, y = (tf.constant(uint8(rng) / 255.0) for _ in "xy")
    adv = swaps(1.0, 0.0, 0.0, 1.0)
    values = model.compute_losses(x, y, tf.constant(adv), training=True)

    e = plain.generator(x, plain.tensors(plain.generator_variables(model.generator)))
    seen = np.where(adv.reshape(-1, 1, 1, 1) == 1, plain.gray(y), plain.gray(e))
    judges = plain.tensors(plain.discriminator_variables(model.discriminator))
    p = array(tf.nn.softmax(plain.discriminator(tf.constant(seen), judges)))
    texture = np.log(p[0, 0]) + np.log(p[1, 1]) + np.log(p[2, 1]) + np.log(p[3, 0])

    def features(pictures):
        pictures = pictures * 255 - np.array([123.68, 116.779, 103.939])
        for conv in model.vgg.conv_layers():
            pictures = tf.nn.relu(tf.nn.conv2d(pictures, conv.kernel, 1, "SAME") + conv.bias)
        return pictures

    content = 2 * tf.nn.l2_loss(features(e) - features(y)) / (SIZE * SIZE * 64 * 4)
    edges = np.linspace(-3 - 7 / 42, 3 + 7 / 42, 22)
    weights = np.diff(scipy.stats.norm.cdf(edges))
    kernel = np.sqrt(np.outer(weights, weights))
    kernel = np.repeat((kernel / kernel.sum())[:, :, None, None], 3, axis=2)
    blurred = tf.nn.depthwise_conv2d(y - e, tf.constant(kernel), [1, 1, 1, 1], "SAME")
    color = np.sum(blurred**2) / (2 * 4)
    across, down = e[:, :, 1:] - e[:, :, :-1], e[:, 1:] - e[:, :-1]
    size = SIZE * (SIZE - 1) * 3
    tv = 2 * (tf.nn.l2_loss(across) / size + tf.nn.l2_loss(down) / size) / 4
    expected = {
        "generator": 3 * content + 7 * texture + 5 * color + 11 * tv,
        "content": content,
        "color": color,
        "texture": texture,
        "tv": tv,
        "psnr": 20 * np.log10(1 / np.sqrt(np.mean((y - e) ** 2))),
        "accuracy": np.mean(np.argmax(p, 1) == 1 - adv[:, 0]),
    }
    assert values.keys() == expected.keys() == set(dped.TEST_VALUES)
    for name, value in expected.items():
        assert float(values[name]) == pytest.approx(float(value), rel=1e-9), name


class TestSteps:
    @pytest.mark.slow
    def test_generator_trains_as_if_every_swap_were_0(self, rng):
        data = [uint8(rng) for _ in range(4)]
        logs, generators = [], []
        for adv in (swaps(0, 0, 0, 0), swaps(1, 1, 1, 1)):
            keras.utils.set_random_seed(0)
            model = make_dped()
            logs.append(model.train_step((*data, adv)))
            generators.append(model.generator.get_weights())
        for value, expected in zip(*generators):
            np.testing.assert_array_equal(value, expected)
        assert float(logs[0]["texture"]) == float(logs[1]["texture"])
        assert float(logs[0]["texture_disc"]) != float(logs[1]["texture_disc"])

    @pytest.mark.parametrize("still", [0, 1])
    def test_each_step_moves_its_own_network(self, rng, still):
        model = make_dped()
        (model.generator_optimizer, model.discriminator_optimizer)[still].learning_rate = 0.0
        networks = (model.generator, model.discriminator)
        before = [network.get_weights() for network in networks]
        model.train_step((*(uint8(rng) for _ in range(4)), swaps(1, 0, 1, 0)))
        for k, network in enumerate(networks):
            for old, new in zip(before[k], network.get_weights()):
                assert np.array_equal(old, new) == (k == still)

    def test_discriminator_judges_the_generator_just_updated(self, rng):
        model = make_dped()
        data = [uint8(rng) for _ in range(4)]
        model.discriminator_optimizer.learning_rate = 0.0
        adv = swaps(1, 0, 1, 0)
        loss = float(model.train_step((*data, adv))["texture_disc"])
        now = -float(model.test_step((*data[2:], adv))["texture"])
        assert loss == pytest.approx(now, rel=1e-5)

    @pytest.mark.slow
    def test_fit_and_evaluate(self, rng):
        model = make_dped()
        elements = [(*(uint8(rng) for _ in range(4)), rng.integers(0, 2, (4, 1))) for _ in range(3)]
        data = tf.data.Dataset.from_tensor_slices(tuple(map(np.stack, zip(*elements))))
        history = model.fit(data, verbose=0).history
        assert set(history) == {*dped.TEST_VALUES, "texture_disc"}

        weights = model.get_weights()[: len(model.trainable_variables)]
        test = [(x, y, adv) for x, y, _, _, adv in elements]
        each = [model.compute_losses(*model.unpack(element), training=False) for element in test]
        data = tf.data.Dataset.from_tensor_slices(tuple(map(np.stack, zip(*test))))
        for _ in range(2):
            means = model.evaluate(data, return_dict=True, verbose=0)
            for name in dped.TEST_VALUES:
                expected = np.mean([float(values[name]) for values in each])
                assert means[name] == pytest.approx(expected, rel=1e-4), name
        for old, new in zip(weights, model.get_weights()):
            np.testing.assert_array_equal(old, new)

    @pytest.mark.slow
    def test_runs_in_low_precision(self, policy, rng):
        policy("mixed_bfloat16")
        model = make_dped()
        logs = model.train_step((*(uint8(rng) for _ in range(4)), swaps(1, 0, 1, 0)))
        assert {value.dtype for value in logs.values()} == {tf.float32}

    def test_refuses_a_discriminator_with_sigmoids(self):
        with pytest.raises(ValueError, match="expected two_class_softmax, got 'two_class_sigmoid'"):
            DPED(Generator(width=4), Discriminator(), VGGFeatures("relu1_1"))


class CollectLogs(keras.callbacks.Callback):
    """Keeps what every iteration logs."""

    def on_train_begin(self, logs=None):
        self.logs = []

    def on_train_batch_end(self, batch, logs=None):
        self.logs.append(dict(logs))


class TestLockstep:
    """The loop that reference/dped_lockstep.npz holds, from the same weights, on the same data.

    Its VGG is vgg19_imagenet_blocks1-3.npz as stored, fed in DPED code's way.
    """

    def run(self):
        """Returns the stored arrays, the trained model and every iteration's logs."""
        with np.load(SHARED / "reference" / "dped_lockstep.npz") as file:
            stored = dict(file)
        vgg = VGGFeatures("relu3_4", "matconvnet")
        vgg.build(None)
        with np.load(SHARED / "vgg19_imagenet_blocks1-3.npz") as weights:
            for conv in vgg.conv_layers():
                conv.set_weights([weights[f"{conv.name}.{part}"] for part in ("kernel", "bias")])
        model = DPED(
            load_checkpoint(SHARED / "checkpoints" / "dped" / "iphone_orig"),
            Discriminator(head="two_class_softmax"),
            vgg,
            w_content=1e-4,
            w_texture=1.0,
            w_color=0.5,
            w_tv=2000.0,
        )
        model.compile(authors_adam(), authors_adam())
        model.build((4, 100, 100, 3))
        for k, variable in enumerate(discriminator_variables(model.discriminator)):
            if len(variable.shape) > 1:
                drawn = np.random.RandomState(100 + k).standard_normal(variable.shape) * 0.01
                variable.assign(drawn)
            else:
                variable.assign(
                    np.full(variable.shape, {"bias": 0.01, "shift": 0, "scale": 1}[variable.name])
                )

        def elements():
            phone, dslr = stored["phone_uint8"], stored["dslr_uint8"]
            for one, other, adv in zip(
                stored["generator_batches"],
                stored["discriminator_batches"],
                stored["discriminator_swaps"],
            ):
                yield phone[one], dslr[one], phone[other], dslr[other], adv

        pictures = tf.TensorSpec((4, 100, 100, 3), tf.uint8)
        data = tf.data.Dataset.from_generator(
            elements, output_signature=(pictures,) * 4 + (tf.TensorSpec((4, 1), tf.int64),)
        )
        collect = CollectLogs()
        model.fit(data, verbose=0, callbacks=[collect])
        names = ("generator", "content", "color", "texture", "tv", "psnr")
        assert [n.removeprefix("loss_") for n in stored["generator_loss_names"]] == list(names)
        ours = np.array([[log[name] for name in names] for log in collect.logs])
        disc = np.array([[log["texture_disc"], log["accuracy"]] for log in collect.logs])
        return stored, model, ours, disc

    def enhanced(self, stored, model):
        batch = stored["phone_uint8"][stored["generator_batches"][0]] / np.float64(255)
        return array(model(batch.astype(model.compute_dtype)))

    @needs_shared
    @pytest.mark.slow
    def test_float64_agrees_throughout(self, policy):
        policy("float64")
        stored, model, ours, disc = self.run()
        np.testing.assert_allclose(ours, stored["generator_losses"], rtol=1e-5)
        np.testing.assert_allclose(disc, stored["discriminator_losses"], rtol=1e-5)

        generator = model.generator
        final = {
            "final_b1": generator.head.bias,
            "final_W5": generator.residuals[1][2].kernel,
            "final_W12": generator.to_rgb.kernel,
        }
        for k, variable in enumerate(discriminator_variables(model.discriminator)):
            final[f"final_disc.{k}"] = variable
        for name, variable in final.items():
            expected = stored[name].reshape(-1)
            found = array(variable).reshape(-1)[: len(expected)]
            difference = np.linalg.norm(found - expected)
            assert difference < 1e-5 * np.linalg.norm(expected), name
        expected = stored["final_enhanced_of_first_batch"]
        np.testing.assert_allclose(self.enhanced(stored, model), expected, rtol=0, atol=1e-5)

    @needs_shared
    @pytest.mark.slow
    def test_float32_agrees_while_rounding_lets_it(self):
        stored, model, ours, disc = self.run()
        for iteration, tolerance in ((0, 3e-5), (1, 5e-3)):
            for found, name in ((ours, "generator_losses"), (disc, "discriminator_losses")):
                np.testing.assert_allclose(found[iteration], stored[name][iteration], tolerance)
        expected = stored["final_enhanced_of_first_batch"]
        np.testing.assert_allclose(self.enhanced(stored, model), expected, rtol=0, atol=2e-3)


def discriminator_variables(discriminator):
    """The variables in the order in which DPED code makes them."""
    variables = []
    for conv, norm in zip(discriminator.convs, discriminator.norms):
        variables += [conv.kernel, conv.bias]
        if norm is not None:
            variables += [norm.shift, norm.scale]
    for dense in discriminator.denses:
        variables += [dense.kernel, dense.bias]
    return variables
