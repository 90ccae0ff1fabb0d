"""A generator cut open at its norms, so that a photo can be enhanced in tiles.

Instance norm couples a whole picture: each channel is shifted and scaled by its mean and variance
over all pixels. `Staged` takes these shifts and scales as inputs instead and measures what they
follow from, norm by norm; `Statistics` estimates them all at once.
"""

import keras
from keras import ops

from .generator import Generator, Step, walk
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
    """Moments of what every norm of a generator sees of a picture, told from parts of it.

    Args:
        generator: a built `Generator`; its layers are shared.
        margin: width of the patches' edges that do not count, pixels; see `reach`.

    Call arguments:
        patches: (N, H, W, 3) tensor in [0, 1], of one picture.

    Returns:
        (norms, 2, width) tensor of mean and variance over the parts together.
    """

    def __init__(self, generator: Generator, margin: int = 0, **kwargs):
        super().__init__(**kwargs)
        self.generator = generator
        self.inner = slice(margin, -margin or None)

    def call(self, patches):
        found = []

        def activate(step: Step, x):
            if step.part != "trunk":
                inner = x[:, self.inner, self.inner]
                mean = ops.mean(inner, axis=(0, 1, 2))
                variance = ops.mean(ops.square(inner - mean), axis=(0, 1, 2))
                found.append(ops.stack([mean, variance]))
                gain_offset = affine(step.norm, mean, variance)
                x = x * gain_offset[0] + gain_offset[1]
            return ops.relu(x)

        steps = self.generator.steps
        last = max(number for number, step in enumerate(steps) if step.part != "trunk")
        walk(steps[: last + 1], patches, activate)
        return ops.stack(found)


def norms(generator: Generator) -> list[keras.layers.Layer | None]:
    """The generator's norms in order, None where it has none."""
    return [step.norm for step in generator.steps if step.part != "trunk"]


def reach(generator: Generator, norms_only: bool = False) -> int:
    """How many pixels away an input pixel can be that the convolutions let a result feel.

    Args:
        generator: a `Generator`.
        norms_only: whether the result is what the last norm sees, not the enhanced picture.
    """
    steps = generator.steps
    if norms_only:
        last = max((k for k, step in enumerate(steps) if step.part != "trunk"), default=0)
        steps = steps[: last + 1]
    return sum((max(step.conv.kernel_size) - 1) // 2 for step in steps)


def affine(norm: keras.layers.Layer | None, mean, variance):
    """Gain and offset by which a norm acts on an input of these moments.

    Args:
        norm: one of `norms(generator)`.
        mean: (width,) tensor.
        variance: (width,) tensor.

    Returns:
        (2, width) float32 tensor.
    """
    return ops.stack(gain_and_offset(norm, mean, variance))


def gain_and_offset(norm: keras.layers.Layer | None, mean, variance):
    """`affine` of moments of any shape that ends with the channels, as two tensors."""
    mean, variance = (ops.cast(moment, "float32") for moment in (mean, variance))
    if norm is None:
        return ops.ones_like(mean), ops.zeros_like(mean)
    if isinstance(norm, InstanceNormalization):
        scale, shift = norm.scale, norm.shift
    else:
        scale, shift = norm.gamma, norm.beta
    if isinstance(norm, keras.layers.BatchNormalization):
        mean, variance = norm.moving_mean, norm.moving_variance
    elif isinstance(norm, keras.layers.GroupNormalization):  # over all channels: layer norm
        center = ops.mean(mean)
        variance = ops.mean(variance + ops.square(mean - center)) * ops.ones_like(mean)
        mean = center * ops.ones_like(mean)
    gain = scale * ops.rsqrt(variance + norm.epsilon)
    return gain, shift - mean * gain


def _masked_moments(x, mask):
    x = ops.cast(x, "float32")
    mean = ops.sum(x * mask, axis=(1, 2)) / ops.sum(mask, axis=(1, 2))
    squares = ops.sum(ops.square(x - mean[:, None, None]) * mask, axis=(1, 2))
    return ops.stack([mean, squares], axis=1)
