"""What is exported computes what the generator does."""

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy as array

from tests.generators import make_generator
from wespe_tf.export.portable import (
    BATCH,
    PATCH,
    Adaptive,
    Beside,
    Portable,
    frozen_affines,
    moments,
    passes_through,
    portable,
)
from wespe_tf.models.layers import LayerNormalization
from wespe_tf.models.staged import Staged, norms


@pytest.fixture
def photos(make_photo):
    return [make_photo(*size, 3)[None].astype(np.float32) / 255 for size in ((30, 41), (24, 20))]


@pytest.mark.parametrize("init", ["identity", "glorot"])
@pytest.mark.parametrize("norm", ["instance", "batch", "layer", "none"])
def test_computes_the_same(photos, norm, init):
    model = make_generator(norm, init, blocks=2)
    ready = portable(model)
    assert all(isinstance(conv, Beside) == (init == "identity") for conv in ready.tail)
    np.testing.assert_allclose(array(ready(photos[0])), array(model(photos[0])), atol=2e-6)


@pytest.mark.parametrize("norm", ["instance", "batch", "layer", "none"])
def test_folds_affines_into_the_convolutions(photos, norm, rng):
    model = make_generator(norm, blocks=2)
    affines = rng.uniform(0.2, 0.6, (4, 2, 6)).astype(np.float32)
    ready = portable(model, affines)
    assert norms(ready) == [None] * 4
    expected = Staged(model)([photos[0], affines[None]])
    np.testing.assert_allclose(array(ready(photos[0])), array(expected), atol=1e-5)


@pytest.mark.parametrize("norm", ["instance", "batch", "layer", "none"])
def test_frozen_on_one_photo_is_live_on_it(photos, norm):
    model = make_generator(norm, blocks=2)
    frozen = portable(model, frozen_affines(model, photos[:1]))
    np.testing.assert_allclose(array(frozen(photos[0])), array(model(photos[0])), atol=1e-5)


def test_frozen_statistics_are_those_of_all_pixels(photos):
    """Of the first norm, whose input does not depend on others."""
    model = make_generator(blocks=2)
    conv, norm = model.residuals[0][:2]
    inputs = [array(conv(keras.ops.relu(model.head(photo)))).reshape(-1, 6) for photo in photos]
    pixels = np.concatenate(inputs).astype(np.float64)
    gain = array(norm.scale) / np.sqrt(pixels.var(axis=0) + norm.epsilon)
    expected = [gain, array(norm.shift) - pixels.mean(axis=0) * gain]
    np.testing.assert_allclose(frozen_affines(model, photos)[0], expected, rtol=1e-4, atol=1e-5)


def test_without_blocks_there_is_nothing_to_freeze(photos):
    model = make_generator(blocks=0)
    frozen = portable(model, frozen_affines(model, photos))
    np.testing.assert_allclose(array(frozen(photos[0])), array(model(photos[0])), atol=2e-6)


def test_passing_channels_leave_a_kernel_of_small_weights(rng):
    kernel = rng.uniform(-0.01, 0.01, (3, 3, 5, 5)).astype(np.float32)
    assert not passes_through(kernel)
    kernel[1, 1] += np.eye(5, dtype=np.float32)
    assert passes_through(kernel)
    conv = keras.layers.Conv2D(5, 3, padding="same")
    layer = Beside(conv)
    layer.build((None, None, None, 5))
    layer.set_weights([kernel, rng.normal(size=5).astype(np.float32)])
    assert np.abs(array(conv.kernel)).max() < 0.02
    np.testing.assert_allclose(array(layer.gain), 1, atol=0.02)


def test_uint8_is_scaled_clipped_and_rounded_in_the_graph(make_photo):
    model = make_generator(blocks=2)
    photo = make_photo(30, 41)
    model.to_rgb.bias.assign([2.0, 0.0, -3.0])
    enhanced = array(Portable(model, "uint8").enhance(photo[None])["enhanced"])[0]
    floats = array(model(photo[None].astype(np.float32) / 255))[0]
    assert enhanced.dtype == np.uint8 and floats.max() > 1 and floats.min() < 0
    np.testing.assert_array_equal(enhanced, np.rint(255 * np.clip(floats, 0, 1)))


def convolved(layer, x):
    """A convolution with zero padding, in NumPy."""
    kernel, bias = (values.astype(np.float64) for values in layer.get_weights())
    reach = len(kernel) // 2
    x = np.pad(x, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
    around = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], (1, 2))
    return np.einsum("nhwcij,ijcd->nhwd", around, kernel, optimize=True) + bias


def inputs_of_norms(model, pictures, margin=0):
    """Mean and variance of what each norm gets, (norms, 2, width), in NumPy and float64.

    Every norm uses the statistics of all pictures together, without their edges.
    """
    found, inner = [], slice(margin, -margin or None)
    x = np.maximum(convolved(model.head, pictures), 0)
    for conv1, norm1, conv2, norm2 in model.residuals:
        y = x
        for conv, norm in ((conv1, norm1), (conv2, norm2)):
            y = convolved(conv, y)
            counted = y[:, inner, inner]
            found.append([counted.mean(axis=(0, 1, 2)), counted.var(axis=(0, 1, 2))])
            axes = None if isinstance(norm, LayerNormalization) else (0, 1, 2)
            deviation = np.sqrt(counted.var(axis=axes) + norm.epsilon)
            scale, shift = norm.get_weights()
            y = np.maximum((y - counted.mean(axis=axes)) / deviation * scale + shift, 0)
        x = x + y
    return np.array(found)


class TestAdaptive:
    @pytest.mark.parametrize("norm", ["instance", "layer"])
    def test_told_its_own_moments_a_photo_is_enhanced_as_ever(self, photos, norm):
        model = make_generator(norm, blocks=2)
        mean, variance = moments(model, photos[0])
        found = Adaptive(portable(model)).enhance(photos[0], mean, variance)["enhanced"]
        np.testing.assert_allclose(array(found), array(model(photos[0])), atol=1e-5)

    @pytest.mark.parametrize("norm", ["instance", "layer"])
    def test_measures_what_the_norms_see(self, make_photo, norm):
        model = make_generator(norm, blocks=3)
        patches = np.stack([make_photo(PATCH, PATCH, k) for k in range(BATCH)]) / np.float32(255)
        found = Adaptive(portable(model)).measure(patches)
        # A pixel after the last norm's convolution sees 4 pixels of the 9×9, and 1 of each 3×3.
        expected = inputs_of_norms(model, patches, margin=4 + 6)
        for k, name in enumerate(("mean", "variance")):
            assert found[name].shape == (1, 6, 1, 6)
            np.testing.assert_allclose(array(found[name])[0, :, 0], expected[:, k], atol=1e-5)

    def test_of_a_deep_generator_half_of_each_side_counts(self, make_photo):
        """With 10 blocks, zero padding reaches all of a patch."""
        model = make_generator(blocks=10)
        patches = np.stack([make_photo(PATCH, PATCH, k) for k in range(4)]) / np.float32(255)
        found = Adaptive(portable(model)).measure(patches)
        expected = inputs_of_norms(model, patches, margin=PATCH // 4)
        for k, name in enumerate(("mean", "variance")):
            np.testing.assert_allclose(array(found[name])[0, :, 0], expected[:, k], atol=1e-5)

    @pytest.mark.parametrize("norm", ["instance", "layer"])
    def test_moments_of_a_photo_are_of_all_its_pixels(self, photos, norm):
        model = make_generator(norm, blocks=2)
        expected = inputs_of_norms(model, photos[0])
        for k, found in enumerate(moments(model, photos[0])):
            assert found.shape == (1, 4, 1, 6)
            np.testing.assert_allclose(found[0, :, 0], expected[:, k], atol=1e-5)


def test_layer_norm_is_keras_group_norm_of_one_group(photos):
    ours, theirs = LayerNormalization(1e-3), keras.layers.GroupNormalization(1, epsilon=1e-3)
    for layer in (ours, theirs):
        layer.build(photos[0].shape)
        layer.set_weights([np.array([0.5, 1, 2]), np.array([1, 0, -1])])
    np.testing.assert_allclose(array(ours(photos[0])), array(theirs(photos[0])), atol=2e-6)
