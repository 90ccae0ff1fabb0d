"""A generator cut open at its norms, so that a photo can be enhanced in tiles.

Instance norm couples a whole picture: each channel is shifted and scaled by its mean and variance
over all pixels. `Staged` takes these shifts and scales as inputs instead, and `moments` measures
what they follow from.
"""

import keras
import numpy as np
from keras import ops

from .layers import InstanceNormalization, statistics_dtype


class Staged(keras.Model):
    """A generator whose norms are given as inputs, up to a norm or to the end.

    Args:
        generator: a built `Generator`; its layers are shared.
        stage: number of the norm whose input is measured, or None for the enhanced picture.

    Call arguments:
        pictures: (N, H, W, 3) tensor in [0, 1].
        affines: (N, norms, 2, width) tensor: gain and offset of every norm, see `affine`; those
            from `stage` on are not looked at.
        mask: (N, H, W, 1) tensor, 1 for the pixels that count, 0 for the others; looked at with a
            stage only.

    Returns:
        (N, H, W, 3) tensor, the enhanced pictures; with a stage (N, 2, width): mean of the norm's
        input over the pixels that count, and their summed squared distance from it.
    """

    def __init__(self, generator, stage=None, **kwargs):
        super().__init__(**kwargs)
        self.generator = generator
        self.stage = stage

    def call(self, inputs):
        pictures, affines, mask = inputs
        generator = self.generator
        x = ops.relu(generator.head(pictures))
        number = 0
        for conv1, _, conv2, _ in generator.residuals:
            branch = x
            for conv in (conv1, conv2):
                branch = conv(branch)
                if number == self.stage:
                    return _masked_moments(branch, mask)
                gain, offset = affines[:, number, 0], affines[:, number, 1]
                branch = ops.relu(branch * gain[:, None, None] + offset[:, None, None])
                number += 1
            x = x + branch
        for conv in generator.tail:
            x = ops.relu(conv(x))
        z = ops.cast(generator.to_rgb(x), statistics_dtype(generator.compute_dtype))
        return generator.tanh_scale * ops.tanh(z) + 0.5


class Statistics(keras.Model):
    """What every norm of a generator does to one picture.

    Args:
        generator: a built `Generator`; its layers are shared.

    Call arguments:
        pictures: (1, H, W, 3) tensor in [0, 1].

    Returns:
        (1, norms, 2, width) tensor of mean and variance of each norm's input.
    """

    def __init__(self, generator, **kwargs):
        super().__init__(**kwargs)
        self.generator = generator

    def call(self, pictures):
        generator = self.generator
        found = []
        x = ops.relu(generator.head(pictures))
        for conv1, norm1, conv2, norm2 in generator.residuals:
            branch = x
            for conv, norm in ((conv1, norm1), (conv2, norm2)):
                branch = conv(branch)
                mean = ops.mean(branch, axis=(1, 2))
                variance = ops.mean(ops.square(branch - mean[:, None, None]), axis=(1, 2))
                found.append(ops.stack([mean, variance], axis=1))
                branch = ops.relu(branch if norm is None else norm(branch))
            x = x + branch
        return ops.stack(found, axis=1)


def norms(generator):
    """The generator's norms in order, None where it has none."""
    return [norm for _, norm1, _, norm2 in generator.residuals for norm in (norm1, norm2)]


def reach(generator):
    """How many pixels away an input pixel can be that the convolutions let a result feel."""
    convs = [generator.head, *generator.tail, generator.to_rgb]
    convs += [conv for conv1, _, conv2, _ in generator.residuals for conv in (conv1, conv2)]
    return sum((max(conv.kernel_size) - 1) // 2 for conv in convs)


def affine(norm, mean, variance):
    """Gain and offset by which a norm acts on an input of these moments.

    Args:
        norm: one of `norms(generator)`.
        mean: (width,) array.
        variance: (width,) array.

    Returns:
        (2, width) float32 array.
    """
    if norm is None:
        return np.stack([np.ones_like(mean), np.zeros_like(mean)]).astype(np.float32)
    if isinstance(norm, InstanceNormalization):
        scale, shift = norm.scale, norm.shift
    else:
        scale, shift = norm.gamma, norm.beta
    if isinstance(norm, keras.layers.BatchNormalization):
        mean, variance = (ops.convert_to_numpy(v) for v in (norm.moving_mean, norm.moving_variance))
    elif isinstance(norm, keras.layers.GroupNormalization):  # over all channels: layer norm
        variance = np.full_like(variance, np.mean(variance + mean**2) - np.mean(mean) ** 2)
        mean = np.full_like(mean, np.mean(mean))
    scale, shift = (ops.convert_to_numpy(v).astype(np.float64) for v in (scale, shift))
    gain = scale / np.sqrt(np.asarray(variance, np.float64) + norm.epsilon)
    return np.stack([gain, shift - mean * gain]).astype(np.float32)


def _masked_moments(x, mask):
    x = ops.cast(x, "float32")
    mean = ops.sum(x * mask, axis=(1, 2)) / ops.sum(mask, axis=(1, 2))
    squares = ops.sum(ops.square(x - mean[:, None, None]) * mask, axis=(1, 2))
    return ops.stack([mean, squares], axis=1)
