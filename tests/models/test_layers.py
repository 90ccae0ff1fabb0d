"""Norms, initializers, grayscale and blur against their formulas."""

import keras
import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf
from keras.ops import convert_to_numpy as array

from tests.shared import SHARED, needs_shared
from wespe_tf.models.layers import (
    InstanceNormalization,
    few_outputs_conv,
    make_initializers,
    make_norm,
    statistics_dtype,
)
from wespe_tf.models.options import BLURS, KERNEL_STARTS
from wespe_tf.models.views import Detail, GaussianBlur, Grayscale, blur_profile


def kernel_2d(name):
    profile = blur_profile(name)
    return np.outer(profile, profile)


def normalized(x, axes, epsilon, scale, shift):
    """The formula, in float64."""
    x = np.asarray(x, np.float64)
    mean = x.mean(axis=axes, keepdims=True)
    variance = ((x - mean) ** 2).mean(axis=axes, keepdims=True)
    return scale * (x - mean) / np.sqrt(variance + epsilon) + shift


@pytest.fixture
def features(rng):
    """Activations with another mean and spread in each channel of each picture."""
    spread, mean = rng.uniform(0.1, 3, (2, 1, 1, 5)), rng.uniform(-2, 2, (2, 1, 1, 5))
    return (rng.normal(size=(2, 7, 9, 5)) * spread + mean).astype(np.float32)


@pytest.mark.parametrize(
    "compute, statistics",
    [
        ("float64", "float64"),
        ("float32", "float32"),
        ("float16", "float32"),
        ("bfloat16", "float32"),
    ],
)
def test_statistics_are_never_below_float32(compute, statistics):
    assert statistics_dtype(compute) == statistics


class TestInstanceNormalization:
    @pytest.mark.parametrize("epsilon", [1e-3, 1e-5])
    def test_follows_the_formula(self, features, rng, epsilon):
        layer = InstanceNormalization(epsilon)
        layer.build(features.shape)
        scale, shift = rng.normal(size=(2, 5)).astype(np.float32)
        layer.scale.assign(scale)
        layer.shift.assign(shift)
        expected = normalized(features, (1, 2), epsilon, scale, shift)
        np.testing.assert_allclose(array(layer(features)), expected, atol=2e-6)

    def test_a_whole_photo_costs_no_digits(self, rng):
        """With the mean over all pixels at once, as in the authors' code, it is off by 2e-4."""
        x = np.maximum(rng.normal(1, 1, (1, 1024, 1366, 2)), 0).astype(np.float32)
        layer = InstanceNormalization(1e-3)
        layer.build(x.shape)
        apart = np.abs(array(layer(x)) - normalized(x, (1, 2), 1e-3, 1, 0))
        assert apart.max() < 5e-6

    def test_equals_keras_group_norm_of_one_channel_groups(self, features, rng):
        ours, keras_layer = (
            InstanceNormalization(1e-3),
            keras.layers.GroupNormalization(groups=-1, epsilon=1e-3),
        )
        scale, shift = rng.normal(size=(2, 5)).astype(np.float32)
        for layer in (ours, keras_layer):
            layer.build(features.shape)
            layer.set_weights([scale, shift])
        np.testing.assert_allclose(array(ours(features)), array(keras_layer(features)), atol=2e-6)

    def test_starts_with_the_given_scale_and_no_shift(self, features):
        layer = InstanceNormalization(scale_init=0.25)
        expected = normalized(features, (1, 2), 1e-3, 0.25, 0)
        np.testing.assert_allclose(array(layer(features)), expected, atol=2e-6)

    @pytest.mark.parametrize("dtype, step", [("float16", 2**-11), ("bfloat16", 2**-8)])
    def test_low_precision_loses_no_more_than_one_rounding(self, policy, rng, dtype, step):
        """Sums over 64×64 values of mean 20 would be far off in half precision."""
        policy(f"mixed_{dtype}")
        x = tf.cast(20 + rng.normal(size=(1, 64, 64, 3)), dtype)
        y = InstanceNormalization()(x)
        assert y.dtype == dtype
        expected = normalized(array(tf.cast(x, tf.float64)), (1, 2), 1e-3, 1, 0)
        np.testing.assert_allclose(array(tf.cast(y, tf.float64)), expected, rtol=step, atol=1e-4)

    def test_float64_is_exact(self, policy, features):
        policy("float64")
        y = array(InstanceNormalization()(features.astype(np.float64)))
        assert y.dtype == np.float64
        np.testing.assert_allclose(y, normalized(features, (1, 2), 1e-3, 1, 0), atol=1e-12)

    @pytest.mark.parametrize(
        "dtype, close", [("float64", 1e-12), ("float32", 1e-5), ("mixed_bfloat16", 0.02)]
    )
    @pytest.mark.parametrize("relu", [False, True])
    def test_gradients_in_training_are_those_that_are_derived(
        self, policy, features, rng, dtype, close, relu
    ):
        policy(dtype)
        layer = InstanceNormalization()
        layer.build(features.shape)
        layer.set_weights(rng.normal(size=(2, 5)))
        x = tf.cast(features, layer.compute_dtype)
        upstream = tf.cast(rng.normal(size=features.shape), layer.compute_dtype)
        found = []
        for training in (True, False):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = layer(x, training=training, relu=relu)
            gradients = tape.gradient(y, [x, *layer.trainable_variables], upstream)
            assert [g.dtype for g in gradients] == [x.dtype, *2 * [layer.variable_dtype]]
            found.append([array(tf.cast(g, tf.float64)) for g in gradients])
        for ours, derived in zip(*found):
            np.testing.assert_allclose(ours, derived, atol=close * np.abs(derived).max())

    def test_gradients_compute_nothing_ahead_of_what_comes_upstream(self, features):
        # A graph runs what it can: for all norms at once, half of all memory that training takes.
        layer = InstanceNormalization()

        def forward(x, upstream):
            return layer(x, training=True, relu=True)

        def backward(x, upstream):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = forward(x, upstream)
            return tape.gradient(y, [x, *layer.trainable_variables], upstream)

        spec = tf.TensorSpec(features.shape, tf.float32)
        found = []
        for function in forward, backward:
            graph = tf.function(function).get_concrete_function(spec, spec).graph
            waiting = {graph.inputs[1].op}
            for op in graph.get_operations():
                if waiting & {*(tensor.op for tensor in op.inputs), *op.control_inputs}:
                    waiting.add(op)
            work = [op for op in graph.get_operations() if op not in waiting and op.inputs]
            work = [op for op in work if op.type not in ("Identity", "IdentityN")]
            found.append([op.type for op in work if op.outputs[0].shape == features.shape])
        ahead, behind = map(sorted, found)
        assert "Relu" in ahead
        assert behind == ahead

    def test_no_tensor_has_more_than_four_dimensions(self, features):
        call = tf.function(InstanceNormalization().__call__)
        graph = call.get_concrete_function(tf.TensorSpec(features.shape, tf.float32)).graph
        ranks = [t.shape.rank for op in graph.get_operations() for t in op.outputs]
        assert max(rank for rank in ranks if rank is not None) == 4


class TestMakeNorm:
    @pytest.mark.parametrize("norm, axes", [("instance", (1, 2)), ("layer", (1, 2, 3))])
    def test_statistics_are_taken_over(self, features, norm, axes):
        layer = make_norm(norm, "norm", 1e-3, 0.5)
        expected = normalized(features, axes, 1e-3, 0.5, 0)
        np.testing.assert_allclose(array(layer(features)), expected, atol=2e-6)
        assert layer.name == "norm"

    def test_batch_norm_trains_on_the_batch_and_remembers_its_mean(self, features):
        layer = make_norm("batch", "norm", 1e-3, 0.5)
        trained = layer(features, training=True)
        expected = normalized(features, (0, 1, 2), 1e-3, 0.5, 0)
        np.testing.assert_allclose(array(trained), expected, atol=2e-6)
        mean = features.mean(axis=(0, 1, 2))
        np.testing.assert_allclose(array(layer.moving_mean), 0.1 * mean, atol=1e-6)

    def test_none_is_none(self):
        assert make_norm("none", "norm") is None

    def test_refuses_other_names(self):
        with pytest.raises(ValueError, match="instance, batch, layer, affine, none, got 'group'"):
            make_norm("group", "norm")


class TestInitializers:
    SHAPE = (5, 5, 32, 64)
    FAN_IN, FAN_OUT = 5 * 5 * 32, 5 * 5 * 64

    def kernel_and_bias(self, name):
        kernel_init, bias_init = make_initializers(name)(self.FAN_IN)
        return array(kernel_init(self.SHAPE)), array(bias_init((4096,)))

    def test_truncated_normal_is_of_deviation_one_hundredth_cut_at_two(self):
        kernel, bias = self.kernel_and_bias("truncated_normal")
        assert 0.0199 < np.abs(kernel).max() <= 0.02
        # A standard normal cut at ±2 has variance 1 − 2·2·φ(2)/(Φ(2) − Φ(−2)) = 0.774.
        assert kernel.std() == pytest.approx(0.01 * 0.774**0.5, rel=0.01)
        assert abs(kernel.mean()) < 1e-4
        np.testing.assert_allclose(bias, 0.01)

    @pytest.mark.parametrize(
        "name, bound",
        [
            ("kaiming_uniform", (6 / FAN_IN) ** 0.5),
            ("glorot", (6 / (FAN_IN + FAN_OUT)) ** 0.5),
            ("torch_default", FAN_IN**-0.5),
        ],
    )
    def test_uniform_kernels_reach_their_bound(self, name, bound):
        kernel, _ = self.kernel_and_bias(name)
        assert 0.999 * bound < np.abs(kernel).max() <= bound
        assert kernel.std() == pytest.approx(bound / 3**0.5, rel=0.01)
        assert abs(kernel.mean()) < 0.02 * bound

    @pytest.mark.parametrize("name", ["kaiming_uniform", "glorot"])
    def test_biases_start_at_zero(self, name):
        assert not self.kernel_and_bias(name)[1].any()

    def test_torch_default_draws_biases_like_kernels(self):
        _, bias = self.kernel_and_bias("torch_default")
        bound = self.FAN_IN**-0.5
        assert 0.99 * bound < np.abs(bias).max() <= bound
        assert bias.std() == pytest.approx(bound / 3**0.5, rel=0.03)

    @pytest.mark.parametrize("name", KERNEL_STARTS)
    def test_two_layers_start_differently(self, name):
        initializers = make_initializers(name)
        first, second = (array(initializers(self.FAN_IN)[0](self.SHAPE)) for _ in range(2))
        assert np.abs(first - second).mean() > 0.1 * first.std()

    def test_refuses_other_names(self):
        with pytest.raises(ValueError, match="^init: .*got 'zeros'"):
            make_initializers("zeros")


def test_grayscale_is_tensorflows(rng):
    pictures = rng.random((2, 5, 6, 3)).astype(np.float32)
    ours = array(Grayscale()(pictures))
    assert ours.shape == (2, 5, 6, 1)
    np.testing.assert_allclose(ours, array(tf.image.rgb_to_grayscale(pictures)), atol=1e-6)


def test_grayscale_of_pure_colors():
    pure = np.eye(3, dtype=np.float64)[None, None]
    ours = array(Grayscale(dtype="float64")(pure)).ravel()
    np.testing.assert_allclose(ours, [0.2989, 0.5870, 0.1140], rtol=1e-12)


class TestBlur:
    @needs_shared
    def test_dped_code_is_the_stored_kernel(self):
        stored = np.load(SHARED / "reference" / "dped_blur_kernel.npz")["kernel"]
        assert stored.shape == (21, 21, 3, 1)
        for channel in range(3):
            ours = kernel_2d("dped_code")
            np.testing.assert_allclose(ours, stored[:, :, channel, 0], rtol=0, atol=1e-6)

    @pytest.mark.parametrize(
        "name, total, tolerance",
        [("dped_code", 1, 1e-9), ("paper", 1, 1e-9), ("unnormalised", 56, 0.5)],
    )
    def test_kernel_sums(self, name, total, tolerance):
        assert kernel_2d(name).sum() == pytest.approx(total, abs=tolerance)

    @pytest.mark.parametrize(
        "name, deviation, tolerance", [("dped_code", 4.34, 5e-3), ("paper", 3**0.5, 1e-3)]
    )
    def test_effective_deviation(self, name, deviation, tolerance):
        k, profile = np.arange(-10, 11), blur_profile(name)
        assert np.sqrt(np.sum(k**2 * profile)) == pytest.approx(deviation, abs=tolerance)

    def test_papers_weights_have_the_papers_factor(self):
        """A·exp(−(k² + l²)/(2σ)), A = 0.053, σ = 3."""
        k = np.arange(-10, 11)
        papers = 0.053 * np.exp(-(k[:, None] ** 2 + k[None, :] ** 2) / (2 * 3))
        np.testing.assert_allclose(kernel_2d("paper"), papers, rtol=2e-3)

    def test_unnormalised_is_a_gaussian_of_deviation_three(self):
        k = np.arange(-10, 11)
        expected = np.exp(-(k[:, None] ** 2 + k[None, :] ** 2) / 18)
        np.testing.assert_allclose(kernel_2d("unnormalised"), expected, rtol=1e-12)

    @pytest.mark.parametrize("name", BLURS)
    def test_impulse_shows_the_kernel(self, name):
        impulse = np.zeros((1, 31, 31, 3), np.float32)
        impulse[0, 15, 15] = (1, 2, 3)
        blurred = array(GaussianBlur(name)(impulse))[0]
        for channel, height in enumerate((1, 2, 3)):
            expected = height * np.pad(kernel_2d(name), 5)
            np.testing.assert_allclose(blurred[..., channel], expected, atol=1e-6)

    @pytest.mark.parametrize("name", BLURS)
    @pytest.mark.parametrize("shape", [(2, 25, 33, 3), (1, 9, 14, 1)])
    def test_equals_scipy_with_zeros_around(self, rng, name, shape):
        pictures = rng.random(shape)
        blurred = array(GaussianBlur(name, dtype="float64")(pictures))
        expected = scipy.ndimage.correlate(
            pictures, kernel_2d(name)[None, :, :, None], mode="constant"
        )
        np.testing.assert_allclose(blurred, expected, atol=1e-12)

    def test_refuses_other_names(self):
        with pytest.raises(ValueError, match="dped_code, paper, unnormalised, got 'box'"):
            GaussianBlur("box")


@pytest.mark.parametrize(
    "layer",
    [
        InstanceNormalization(1e-5, 0.3),
        GaussianBlur("paper"),
        GaussianBlur("unnormalised"),
        Grayscale(),
        Detail(2, 5),
    ],
    ids=lambda layer: layer.name,
)
def test_layers_load_from_keras_files(layer, tmp_path, rng):
    pictures = rng.random((1, 12, 12, 3)).astype(np.float32)
    model = keras.Sequential([keras.Input((None, None, 3)), layer])
    model.save(tmp_path / "layer.keras")
    loaded = keras.saving.load_model(tmp_path / "layer.keras", safe_mode=True)
    np.testing.assert_array_equal(array(loaded(pictures)), array(model(pictures)))
    assert loaded.layers[-1].get_config() == layer.get_config()


@pytest.mark.parametrize("size, outputs", [(9, 3), (3, 1), (1, 2)])
def test_gradient_of_the_convolution_to_few_outputs(rng, size, outputs):
    """Against the gradient of TensorFlow's own convolution."""
    inputs = tf.constant(rng.normal(size=(2, 7, 11, 5)))
    kernel = tf.constant(rng.normal(size=(size, size, 5, outputs)))
    upstream = tf.constant(rng.normal(size=(2, 7, 11, outputs)))
    found = []
    for conv in (few_outputs_conv, lambda x, w: tf.nn.conv2d(x, w, 1, "SAME")):
        with tf.GradientTape() as tape:
            tape.watch([inputs, kernel])
            result = conv(inputs, kernel)
        found.append([result, *tape.gradient(result, [inputs, kernel], upstream)])
    for ours, expected in zip(*found):
        np.testing.assert_allclose(array(ours), array(expected), rtol=1e-9, atol=1e-12)


class TestDetail:
    @pytest.mark.parametrize("deviation, gain", [(3, 8), (1.5, 20)])
    def test_equals_scipy(self, rng, deviation, gain):
        pictures = rng.random((2, 25, 33, 3))
        luminance = pictures @ [0.2989, 0.5870, 0.1140]
        blurred = [
            scipy.ndimage.gaussian_filter(
                picture, deviation, mode="mirror", radius=int(np.ceil(3 * deviation))
            )
            for picture in luminance
        ]
        found = array(Detail(deviation, gain, dtype="float64")(pictures))
        np.testing.assert_allclose(found[..., 0], gain * (luminance - blurred), atol=1e-12)

    def test_tone_does_not_show(self, rng):
        pictures = rng.random((1, 20, 20, 3)).astype(np.float32) / 2
        seen = [array(Detail()(pictures + brightness)) for brightness in (0, 0.4)]
        np.testing.assert_allclose(*seen, atol=1e-5)
