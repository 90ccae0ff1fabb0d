"""A generator as phones should get it: plain 4-D operators, weights that 8 bits can hold."""

import keras
import numpy as np
from keras import ops

from ..models.generator import Generator
from ..models.staged import Statistics, affine, norms

# A step of 8 bits in float32, as the graph has it: a product with it, not a quotient by 255.
BYTE = np.float32(1 / 255)


class Beside(keras.layers.Layer):
    """A convolution with its pass-through beside it: `conv(x) + gain * x`.

    A generator that starts as the identity ends with kernels of about 1 where a channel goes to
    itself and of thousandths elsewhere, all of which 8 bits would round away. Taken out of the
    kernel, the ones cost a multiplication for each channel, and the rest has a scale of its own.

    Args:
        conv: a `Conv2D` with as many outputs as inputs and a kernel of odd size.

    Call arguments:
        inputs: (N, H, W, C) tensor.

    Returns:
        Tensor of the input's shape and dtype.
    """

    def __init__(self, conv, **kwargs):
        super().__init__(name=conv.name, **kwargs)
        self.conv = conv

    def build(self, input_shape):
        self.conv.build(input_shape)
        self.gain = self.add_weight(shape=input_shape[-1:], initializer="zeros", name="gain")

    def set_weights(self, weights):
        """Takes the kernel and the bias of a convolution that computes the same."""
        kernel, bias = weights
        gain, rest = _split(kernel)
        self.gain.assign(gain)
        self.conv.set_weights([rest, bias])

    def call(self, inputs):
        return self.conv(inputs) + self.gain * inputs


def passes_through(kernel):
    """Whether taking out what channels pass to themselves leaves much smaller weights.

    Args:
        kernel: (odd, odd, C, C) array.
    """
    return 4 * np.abs(_split(kernel)[1]).max() < np.abs(kernel).max()


def _split(kernel):
    """Gains of the channels that go to themselves, (C,), and the kernel without them."""
    center = kernel.shape[0] // 2, kernel.shape[1] // 2
    gain = np.diag(kernel[center])
    rest = kernel.copy()
    rest[center] -= np.diag(gain)
    return gain, rest


class Portable(keras.Model):
    """The graph that a phone runs.

    Args:
        generator: a `Generator`, see `portable`.
        io: `"float32"`: values in [0, 1], not clipped; `"uint8"`: bytes in and out, scaling,
            clipping and rounding in the graph.

    Call arguments:
        photo: (1, H, W, 3) RGB tensor of dtype `io`.

    Returns:
        Dictionary of `enhanced`, of the same shape and dtype.
    """

    def __init__(self, generator, io="float32", **kwargs):
        super().__init__(**kwargs)
        self.generator = generator
        self.io = io

    def call(self, photo):
        if self.io == "float32":
            return {"enhanced": self.generator(photo)}
        # Without the ReLU the converter would fold the scale into the first kernel, whose values
        # would then be rounded otherwise than those of the float32 graph.
        enhanced = self.generator(ops.relu(ops.cast(photo, "float32") * BYTE))
        return {"enhanced": ops.cast(ops.round(ops.clip(enhanced, 0.0, 1.0) * 255.0), "uint8")}


def portable(generator, affines=None):
    """A generator that computes the same, ready to be exported.

    Args:
        generator: a built `Generator`.
        affines: (norms, 2, width) gains and offsets to fold into the convolutions in place of the
            norms, see `frozen_affines`; None to keep the norms.

    Returns:
        A built `Generator` in float32 whose last square convolutions are `Beside` where that helps;
        for inference only.
    """
    config = {**generator.get_config(), "dtype": "float32"}
    if affines is not None:
        config["norm"] = "none"
    copy = Generator.from_config(config)
    copy.tail = [
        Beside(mine) if passes_through(conv.get_weights()[0]) else mine
        for mine, conv in zip(copy.tail, generator.tail)
    ]
    copy.build((None, None, None, 3))
    for mine, conv in zip(
        [copy.head, *copy.tail, copy.to_rgb], [generator.head, *generator.tail, generator.to_rgb]
    ):
        mine.set_weights(conv.get_weights())
    own, others = (
        [layer for block in model.residuals for layer in block] for model in (copy, generator)
    )
    if affines is None:
        for mine, other in zip(own, others):
            if other is not None:
                mine.set_weights(other.get_weights())
        return copy
    for mine, conv, (gain, offset) in zip(own[::2], others[::2], affines):
        kernel, bias = conv.get_weights()
        mine.set_weights([kernel * gain, bias * gain + offset])
    return copy


def frozen_affines(generator, pictures):
    """What the norms do to photos on average: their statistics pooled over all pixels.

    Args:
        generator: a built `Generator`.
        pictures: sequence of (1, H, W, 3) float32 arrays in [0, 1].

    Returns:
        (norms, 2, width) float32 array of gains and offsets.
    """
    found = norms(generator)
    if not found:
        return np.zeros((0, 2, generator.width), np.float32)
    measure = Statistics(generator)
    moments = np.stack([ops.convert_to_numpy(measure(picture)) for picture in pictures])
    sizes = np.array([picture.shape[1] * picture.shape[2] for picture in pictures], np.float64)
    means, variances = moments[:, :, 0].astype(np.float64), moments[:, :, 1]
    mean = np.average(means, axis=0, weights=sizes)
    variance = np.average(variances + (means - mean) ** 2, axis=0, weights=sizes)
    return np.stack([affine(norm, *pair) for norm, pair in zip(found, zip(mean, variance))])
