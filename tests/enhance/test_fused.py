"""What is prepared for OpenVINO computes what the generator does, and loses less by rounding."""

import numpy as np
import pytest
import tensorflow as tf
from keras.ops import convert_to_numpy as array

from tests.generators import make_generator
from wespe_tf.enhance.fused import prepare, split


def rounded(values):
    """Float32 values as bfloat16 has them, by TensorFlow."""
    return tf.cast(tf.cast(values, tf.bfloat16), tf.float32).numpy()


def loss(network, feed, photo, wanted):
    """PSNR after rounding the network's kernels and what it is fed with, dB."""
    for variable in network.trainable_variables:
        if len(variable.shape) == 4:
            variable.assign(rounded(variable))
    return -10 * np.log10(np.square(array(network(rounded(feed(photo)))) - wanted).mean())


@pytest.fixture
def photo(make_photo):
    return make_photo(40, 52, 3)[None].astype(np.float32) / 255


@pytest.mark.parametrize("init", ["identity", "glorot"])
@pytest.mark.parametrize("norm", ["instance", "batch", "layer", "none"])
@pytest.mark.parametrize("splits", [False, True])
def test_computes_the_same(photo, norm, init, splits):
    model = make_generator(norm, init, blocks=2)
    before = model.get_weights()
    np.testing.assert_allclose(
        array(prepare(model, splits)(split(photo) if splits else photo)),
        array(model(photo)),
        atol=1e-5,
    )
    for mine, theirs in zip(before, model.get_weights()):
        np.testing.assert_array_equal(mine, theirs)


def test_split_adds_up(rng):
    pictures = rng.random((1, 5, 7, 3), np.float32)
    whole, rest = split(pictures)[..., ::2], split(pictures)[..., 1::2]
    np.testing.assert_allclose((whole + rest) / 255, pictures, atol=1e-7)
    np.testing.assert_array_equal(rounded(whole), whole)
    assert np.abs(rest).max() <= 0.5


def test_nothing_is_left_of_8_bits():
    levels = np.arange(256, dtype=np.float32).reshape(1, 16, 16, 1).repeat(3, axis=3) / 255
    assert np.abs(split(levels)[..., 1::2]).max() < 1e-4


def test_channels_go_on_by_weights_that_bfloat16_holds():
    model = make_generator(blocks=2)
    for conv in model.tail:
        kernel = conv.kernel.numpy()
        conv.kernel.assign(kernel * np.linspace(0.9, 1.1, kernel.shape[-1]))
    for conv in prepare(model, True).tail:
        own = np.diag(conv.kernel.numpy()[1, 1])
        np.testing.assert_array_equal(rounded(own), own)


def test_rounds_less(photo):
    model = make_generator(blocks=2)
    rng = np.random.default_rng(1)
    for conv in model.tail:
        kernel = conv.kernel.numpy()
        conv.kernel.assign(kernel * rng.uniform(0.98, 1.02, kernel.shape))
    wanted = array(model(photo))
    prepared = loss(prepare(model, True), split, photo, wanted)
    assert prepared > loss(model, lambda pictures: pictures, photo, wanted) + 3
