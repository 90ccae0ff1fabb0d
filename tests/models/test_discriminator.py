"""The discriminator: size, shapes, arithmetic, spectral norm, saving."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.ops import convert_to_numpy as array

from benchmarks import plain
from wespe_tf.losses import adversarial_loss
from wespe_tf.models import discriminator as module
from wespe_tf.models.discriminator import Discriminator
from wespe_tf.models.options import (
    DISCRIMINATOR_LAYERS,
    DISCRIMINATOR_NORMS,
    HEADS,
    KERNEL_STARTS,
    ORDERS,
)


def built(size=32, inputs=3, **options):
    discriminator = Discriminator(**options)
    discriminator.build((None, size, size, inputs))
    return discriminator


def small(**options):
    return built(**{"width_multiplier": 0.1, "dense": 80, **options})


def spread(model, rng):
    """Gives all variables, but running statistics, values of a size that signals survive."""
    for variable in model.trainable_variables:
        fan_in = np.prod(variable.shape[:-1]) if len(variable.shape) > 1 else 25
        variable.assign(rng.normal(size=variable.shape) / fan_in**0.5)


def wrapped_kernels(model):
    """Kernels of a spectral discriminator as matrices (taps and inputs × outputs)."""
    kernels = [array(layer.layer.kernel) for layer in [*model.convs, *model.denses]]
    return [kernel.reshape(-1, kernel.shape[-1]) for kernel in kernels]


def largest_singular_values(model):
    return np.array([np.linalg.norm(kernel, 2) for kernel in wrapped_kernels(model)])


@pytest.fixture
def pictures(rng):
    return rng.random((4, 32, 32, 3)).astype(np.float32)


class TestParameters:
    CONVS = (
        # size, inputs, outputs; the last 100×100 feature map is 7×7×128 = 6272 numbers
        (11, None, 48),
        (5, 48, 128),
        (3, 128, 192),
        (3, 192, 192),
        (3, 192, 128),
    )

    @pytest.mark.parametrize(
        "inputs, head, expected",
        [
            (1, "two_class_sigmoid", 7_361_122),
            (1, "two_class_softmax", 7_361_122),
            (1, "one_class_sigmoid", 7_361_122 - 1025),
            (3, "two_class_sigmoid", 7_361_122 + 2 * 11 * 11 * 48),
        ],
    )
    def test_count_at_full_size(self, inputs, head, expected):
        convs = sum(s * s * (i or inputs) * o + o for s, i, o in self.CONVS)
        norms = 2 * (128 + 192 + 192 + 128)
        outputs = 1 if head == "one_class_sigmoid" else 2
        dense = 6272 * 1024 + 1024 + 1024 * outputs + outputs
        assert convs + norms + dense == expected
        discriminator = built(100, inputs, head=head)
        assert discriminator.count_params() == expected
        assert discriminator.denses[0].kernel.shape == (6272, 1024)

    def test_width_multiplier_scales_channels_and_dense(self):
        discriminator = built(64, 1, width_multiplier=0.25)
        shapes = [tuple(conv.kernel.shape) for conv in discriminator.convs]
        assert shapes == [
            (11, 11, 1, 12),
            (5, 5, 12, 32),
            (3, 3, 32, 48),
            (3, 3, 48, 48),
            (3, 3, 48, 32),
        ]
        # 64 pixels become 16, 8, 8, 8, 4.
        assert tuple(discriminator.denses[0].kernel.shape) == (4 * 4 * 32, 256)

    def test_other_layers(self):
        discriminator = built(32, 3, layers=((3, 5, 1), (4, 3, 2)), dense=9)
        kernels = [tuple(conv.kernel.shape) for conv in discriminator.convs]
        assert kernels == [(5, 5, 3, 3), (3, 3, 3, 4)]
        assert tuple(discriminator.denses[0].kernel.shape) == (16 * 16 * 4, 9)
        assert discriminator.denses[1].kernel.shape == (9, 2)

    @pytest.mark.parametrize("norm", DISCRIMINATOR_NORMS)
    def test_the_first_convolution_has_no_norm(self, norm):
        norms = small(norm=norm).norms
        assert norms[0] is None
        assert [n is None for n in norms[1:]] == 4 * [norm in ("spectral", "none")]


class TestArithmetic:
    @pytest.mark.parametrize("size", [32, 45])
    @pytest.mark.parametrize("order", ORDERS)
    def test_equals_the_network_written_plainly(self, policy, rng, size, order):
        policy("float64")
        discriminator = small(size=size, order=order)
        spread(discriminator, rng)
        pictures = rng.random((3, size, size, 3))
        weights = plain.tensors(plain.discriminator_variables(discriminator))
        expected = plain.discriminator(tf.constant(pictures), weights, order)
        assert np.std(expected, axis=0).min() > 1e-3
        np.testing.assert_allclose(array(discriminator(pictures)), expected, rtol=0, atol=1e-12)

    @pytest.mark.parametrize("head, outputs", zip(HEADS, (2, 2, 1)))
    def test_head_decides_outputs(self, pictures, head, outputs):
        assert small(head=head)(pictures).shape == (4, outputs)

    def test_probabilities_of_sigmoid_heads_are_independent(self):
        logits = np.array([[0.0, np.log(3)], [-np.log(4), 1000]], np.float32)
        expected = [[0.5, 0.75], [0.2, 1]]
        discriminator = small(head="two_class_sigmoid")
        np.testing.assert_allclose(array(discriminator.probabilities(logits)), expected, rtol=1e-6)
        one = small(head="one_class_sigmoid").probabilities(logits[:, :1])
        np.testing.assert_allclose(array(one), [[0.5], [0.2]], rtol=1e-6)

    def test_probabilities_of_softmax_sum_to_one(self):
        logits = np.array([[0.0, np.log(3)], [1000, 1000]], np.float32)
        probabilities = array(small(head="two_class_softmax").probabilities(logits))
        np.testing.assert_allclose(probabilities, [[0.25, 0.75], [0.5, 0.5]], rtol=1e-6)

    @pytest.mark.parametrize("norm", ["instance", "layer", "none"])
    def test_pictures_of_a_batch_do_not_touch(self, pictures, rng, norm):
        discriminator = small(norm=norm)
        spread(discriminator, rng)
        together, alone = array(discriminator(pictures)), array(discriminator(pictures[1:2]))
        np.testing.assert_allclose(together[1:2], alone, atol=1e-5)

    @pytest.mark.parametrize(
        "init, bound",
        [
            ("truncated_normal", lambda fan_in, fan_out: 0.02),
            ("kaiming_uniform", lambda fan_in, fan_out: (6 / fan_in) ** 0.5),
            ("glorot", lambda fan_in, fan_out: (6 / (fan_in + fan_out)) ** 0.5),
            ("torch_default", lambda fan_in, fan_out: fan_in**-0.5),
        ],
    )
    def test_every_kernel_has_the_bound_of_its_own_fan(self, init, bound):
        kernels = [v for v in built(64, init=init, width_multiplier=0.5).weights if v.ndim > 1]
        assert len(kernels) == 7
        for kernel in kernels:
            *window, inputs, outputs = kernel.shape
            taps = int(np.prod(window))
            limit = bound(taps * inputs, taps * outputs)
            assert 0.98 * limit < np.abs(array(kernel)).max() <= limit * (1 + 1e-6)


class TestSpectralNorm:
    @pytest.mark.slow
    def test_training_calls_bound_every_kernel(self, rng, pictures):
        discriminator = small(norm="spectral")
        spread(discriminator, rng)
        for kernel in discriminator.trainable_variables:
            kernel.assign(7 * kernel)
        assert (largest_singular_values(discriminator) > 5).all()
        for _ in range(60):
            discriminator(pictures, training=True)
        # Power iteration approaches the largest singular value from below, so that the quotient
        # approaches 1 from above.
        np.testing.assert_allclose(largest_singular_values(discriminator), 1, atol=0.02)

    @pytest.mark.slow
    def test_bound_holds_while_training(self, rng, pictures):
        discriminator = small(norm="spectral")
        optimizer = keras.optimizers.Adam(0.05)
        for _ in range(40):
            with tf.GradientTape() as tape:
                loss = -tf.reduce_mean(discriminator(pictures, training=True))
            optimizer.apply(
                tape.gradient(loss, discriminator.trainable_variables),
                discriminator.trainable_variables,
            )
        discriminator(pictures, training=True)
        assert (largest_singular_values(discriminator) < 1.3).all()

    def test_judging_changes_nothing(self, rng, pictures):
        discriminator = small(norm="spectral")
        spread(discriminator, rng)
        before = discriminator.get_weights()
        discriminator(pictures, training=False)
        for old, new in zip(before, discriminator.get_weights()):
            np.testing.assert_array_equal(old, new)

    def test_is_keras_s_layer_without_branches(self, monkeypatch, tmp_path, rng, pictures):
        """The same numbers, also for a kernel of zeros, and the same variables in a file."""
        ours = small(norm="spectral")
        monkeypatch.setattr(module, "SpectralNormalization", keras.layers.SpectralNormalization)
        keras_s = small(norm="spectral")
        monkeypatch.undo()
        spread(keras_s, rng)
        keras_s.denses[0].layer.kernel.assign(0 * keras_s.denses[0].layer.kernel)
        keras_s.save_weights(tmp_path / "keras_s.weights.h5")
        ours.load_weights(tmp_path / "keras_s.weights.h5")
        for _ in range(2):
            outputs = [array(model(pictures, training=True)) for model in (ours, keras_s)]
            np.testing.assert_array_equal(*outputs)
            for mine, theirs in zip(ours.get_weights(), keras_s.get_weights(), strict=True):
                np.testing.assert_array_equal(mine, theirs)

        step = tf.function(lambda x: ours(x, training=True)).get_concrete_function(pictures)
        assert not {"If", "StatelessIf"} & {
            operation.type for operation in step.graph.get_operations()
        }

    def test_kernels_keep_full_precision_under_a_mixed_policy(self, policy, rng, pictures):
        """Rounded to bfloat16 at every call, kernels would lose the optimizer's small steps."""
        policy("mixed_bfloat16")
        discriminator = small(norm="spectral")
        spread(discriminator, rng)
        discriminator(pictures, training=True)
        for kernel in wrapped_kernels(discriminator):
            rounded = array(tf.cast(tf.cast(kernel, tf.bfloat16), tf.float32))
            assert (kernel != rounded).mean() > 0.9


class TestWithoutDenseLayers:
    """Every place of the last feature map is judged by itself."""

    def fine(self, **options):
        return built(48, 2, layers=DISCRIMINATOR_LAYERS["fine"][0], dense=0, norm="none", **options)

    def test_equals_the_network_written_plainly(self, policy, rng):
        policy("float64")
        discriminator = self.fine()
        spread(discriminator, rng)
        pictures = rng.random((2, 48, 48, 2))
        x = tf.constant(pictures)
        for layer, stride in zip(discriminator.convs, (1, 2, 2, 1)):
            x = tf.nn.conv2d(x, array(layer.kernel), stride, "SAME") + array(layer.bias)
            x = plain.leaky(x)
        (last,) = discriminator.denses
        expected = tf.nn.conv2d(x, array(last.kernel), 1, "SAME") + array(last.bias)
        logits = discriminator(pictures)
        assert logits.shape == (2, 12, 12, 2)
        np.testing.assert_allclose(array(logits), array(expected), rtol=1e-9)

    def test_a_judgment_sees_its_surroundings_only(self, rng):
        """The first pixel reaches 2 places: 2, 1, 0, 1, 1 by the five convolutions' sizes."""
        discriminator = self.fine(init="kaiming_uniform")
        pictures = rng.random((1, 48, 48, 2)).astype(np.float32)
        changed = pictures.copy()
        changed[0, 0, 0] += 1
        difference = array(discriminator(changed)) - array(discriminator(pictures))
        rows, columns = np.nonzero(np.abs(difference[0]).max(axis=-1))
        assert (rows.max(), columns.max()) == (2, 2)

    def test_losses_are_means_over_places(self, rng):
        logits = rng.normal(size=(2, 3, 4, 2))
        for head in HEADS[:2]:
            ours = adversarial_loss(tf.constant(logits), True, head)
            flat = adversarial_loss(tf.constant(logits.reshape(-1, 2)), True, head)
            assert float(ours) == pytest.approx(float(flat), rel=1e-12)


class TestReportLayers:
    """Its arithmetic is in test_report_code.py."""

    def test_count_at_full_size(self):
        layers = DISCRIMINATOR_LAYERS["report"]._asdict()
        discriminator = built(100, 3, **layers, head="one_class_sigmoid")
        convs = ((11, 3, 32), (5, 32, 64), (3, 64, 128), (3, 128, 128), (3, 128, 128))
        expected = sum(s * s * i * o + 3 * o for s, i, o in convs)
        expected += 128 * 128 + 2 * 128 + 128 + 1
        assert discriminator.count_params() == expected < 450_000

    def test_loads_from_keras_file(self, tmp_path, pictures, rng):
        layers = DISCRIMINATOR_LAYERS["report"]._asdict()
        discriminator = built(32, 3, **layers, order="norm_activation")
        spread(discriminator, rng)
        expected = array(discriminator(pictures))
        assert np.std(expected, axis=0).min() > 1e-4
        discriminator.save(tmp_path / "discriminator.keras")
        loaded = keras.saving.load_model(tmp_path / "discriminator.keras", safe_mode=True)
        np.testing.assert_array_equal(array(loaded(pictures)), expected)

    def test_is_blind_to_brightness(self, pictures, rng):
        """With a norm behind the first convolution; without one it is not."""
        found = {}
        for first_norm in (True, False):
            layers = DISCRIMINATOR_LAYERS["report"]._replace(first_norm=first_norm)._asdict()
            options = {"norm_epsilon": 1e-5, "order": "norm_activation"}
            discriminator = built(32, 3, **layers, **options)
            spread(discriminator, rng)
            bright, dark = array(discriminator(pictures)), array(discriminator(pictures / 8))
            found[first_norm] = np.abs(bright - dark).max() / np.abs(bright).max()
        assert found[True] < 0.01 < found[False]


class TestOptions:
    @pytest.mark.parametrize("dense", [0, 9])
    @pytest.mark.parametrize(
        "norm, head, init",
        [*itertools.product(DISCRIMINATOR_NORMS, HEADS, ["kaiming_uniform"])]
        + [*itertools.product(["instance"], ["two_class_sigmoid"], KERNEL_STARTS)],
    )
    def test_loads_from_keras_file_in_safe_mode(
        self, tmp_path, pictures, rng, norm, head, init, dense
    ):
        options = {
            "norm": norm,
            "head": head,
            "init": init,
            "norm_epsilon": 1e-5,
            "order": "norm_activation",
        }
        layers = ((4, 5, 1), (5, 3, 2), (6, 3, 1))
        options |= {"dense": dense, "width_multiplier": 1.5}
        discriminator = built(layers=layers, **options)
        spread(discriminator, rng)
        discriminator(pictures, training=True)
        discriminator.save(tmp_path / "discriminator.keras")
        loaded = keras.saving.load_model(tmp_path / "discriminator.keras", safe_mode=True)
        assert type(loaded) is Discriminator
        assert {name: getattr(loaded, name) for name in options} == options
        assert loaded.conv_layers == layers
        np.testing.assert_array_equal(array(loaded(pictures)), array(discriminator(pictures)))
        assert len(loaded.weights) == len(discriminator.weights)

    @pytest.mark.parametrize(
        "name, dtype",
        [
            ("float64", "float64"),
            ("float32", "float32"),
            ("mixed_bfloat16", "float32"),
            ("mixed_float16", "float32"),
        ],
    )
    @pytest.mark.parametrize("norm", DISCRIMINATOR_NORMS)
    def test_logits_are_never_below_float32(self, policy, pictures, rng, name, dtype, norm):
        full = small(norm=norm, init="kaiming_uniform")
        policy(name)
        discriminator = small(norm=norm, init="kaiming_uniform")
        discriminator.set_weights(full.get_weights())
        assert {v.dtype for v in discriminator.trainable_variables} == {dtype}
        logits = discriminator(pictures.astype(dtype))
        assert logits.dtype == dtype
        expected = array(full(pictures))
        np.testing.assert_allclose(array(logits), expected, atol=0.05 * np.abs(expected).max())

    @pytest.mark.parametrize("norm", DISCRIMINATOR_NORMS)
    def test_dtype_argument_reaches_the_layers(self, norm):
        assert {v.dtype for v in small(norm=norm, dtype="float64").weights} == {"float64"}

    def test_refuses_unknown_options(self):
        with pytest.raises(ValueError, match="head: expected one of two_class.*got 'three'"):
            Discriminator(head="three")
        with pytest.raises(ValueError, match="norm: expected one of instance.*got 'group'"):
            Discriminator(norm="group")
        with pytest.raises(ValueError, match="^init: .*got 'identity'"):
            Discriminator(init="identity")
