"""Splits a generator at its norms, or step by step.

An instance norm depends on the whole picture: it shifts and scales each channel by its mean and
variance over all pixels. `Staged` takes these shifts and scales as an input. `measured` gives mean
and variance, from which they follow. `stages` cuts a generator into pieces, so that mean and
variance can be measured between two pieces.
"""

import dataclasses
from typing import Any

import keras
from keras import ops

from .generator import Generator, Step, walk
from .layers import InstanceNormalization, statistics_dtype


@dataclasses.dataclass(frozen=True)
class Stage:
    """A convolution of a generator, and what comes between it and the convolution before.

    A norm that measures the picture (instance and layer norm) is the beginning of the next stage.
    Other norms and ReLUs belong to the stage of the convolution before them.

    Attributes:
        before: the step whose norm is the beginning of this stage, or None.
        step: the step of the convolution.
        first: whether the stage takes the picture.
        last: whether the stage gives the enhanced picture.
    """

    before: Step | None
    step: Step
    first: bool
    last: bool

    @property
    def margin(self) -> int:
        """How many rows and columns on each side of a pixel the convolution uses."""
        return (max(self.step.conv.kernel_size) - 1) // 2

    @property
    def joins(self) -> bool:
        """Whether the waiting tensor is added before the convolution."""
        return self.before is not None and self.before.part == "join"

    @property
    def keeps(self) -> bool:
        """Whether the stage also gives its convolution's input, which then waits for a join."""
        return self.before is not None and self.step.part == "branch"

    @property
    def measures(self) -> bool:
        """Whether the next norm needs the moments of the convolution's output."""
        return measures_pictures(self.step.norm)

    def enter(self, x: Any, waiting: Any, gain: Any, offset: Any, relu: Any) -> Any:
        """The convolution's input. The tensors can be of any library that has `+` and `*`.

        Args:
            x: output of the stage before.
            waiting: the waiting tensor; used if the stage `joins`.
            gain: gain of the norm of `before`; used if there is one.
            offset: offset of this norm.
            relu: the library's ReLU.
        """
        if self.before is not None:
            x = relu(x * gain + offset)
        return waiting + x if self.joins else x


def stages(generator: Generator) -> list[Stage]:
    """Splits a generator into stages of one convolution each. Each runs over the whole photo."""
    steps = generator.steps
    found = []
    before: Step | None = None
    for step in steps:
        found.append(Stage(before, step, step is steps[0], step is steps[-1]))
        before = step if measures_pictures(step.norm) else None
    return found


def measures_pictures(norm: keras.layers.Layer | None) -> bool:
    """Whether a norm computes its statistics from the picture that it gets."""
    return isinstance(norm, InstanceNormalization | keras.layers.GroupNormalization)


class Staged(keras.Model):
    """A generator that takes the gains and offsets of its norms as a second input.

    It computes the norms in float32.

    Args:
        generator: a built `Generator`; its layers are shared.

    Call arguments:
        pictures: (N, H, W, 3) tensor in [0, 1].
        affines: (N, norms, 2, width) tensor: gain and offset of every norm, see `affine`.

    Returns:
        (N, H, W, 3) tensor, the enhanced pictures, not clipped.
    """

    def __init__(self, generator: Generator, **kwargs: Any):
        # Keras would round the gains and offsets to the compute dtype.
        super().__init__(autocast=False, **kwargs)
        self.generator = generator

    def call(self, inputs: Any, training: bool = False) -> Any:
        return self.generator.picture(self._features(*inputs), training)

    def _features(self, pictures: Any, affines: Any) -> Any:
        """Input of the last convolution."""
        steps, numbers = self.generator.steps, iter(range(affines.shape[1]))

        def activate(step: Step, x: Any) -> Any:
            if step.part != "trunk":
                number = next(numbers)
                gain, offset = affines[:, number, 0], affines[:, number, 1]
                x = _normalized(x, gain[:, None, None], offset[:, None, None])
            return ops.relu(x)

        return walk(steps[:-1], pictures, activate)

    def like_photos(
        self, pictures: Any, context: Any | None, margin: int = 0, training: bool = False
    ) -> Any:
        """Enhances parts of photos as they are enhanced within their photos.

        When a photo is enhanced, its norms use the statistics of the whole photo. A part alone has
        others: with those of a patch of sky, a norm amplifies noise. So the norms use the
        statistics of a few other parts of the photo, its context.

        Args:
            pictures: (N, H, W, 3) tensor in [0, 1].
            context: (N, K, h, w, 3) tensor in [0, 1], K parts of each picture's photo; or None: the
                norms use the statistics of the pictures themselves.
            margin: width in pixels of the parts' edges that do not count.
            training: whether G is trained: its last layer has the fast gradient then, and its norms
                may update running statistics.

        Returns:
            (N, H, W, 3) tensor, the enhanced pictures, not clipped.
        """
        return self.generator.picture(self.features(pictures, context, margin, training), training)

    def features(
        self, pictures: Any, context: Any | None, margin: int = 0, training: bool = False
    ) -> Any:
        """Input of the last convolution, (N, H, W, width). See `like_photos`."""
        if context is None or not any(map(measures_pictures, norms(self.generator))):
            return self.generator.features(pictures, training)
        parts = ops.reshape(context, (-1, *context.shape[2:]))
        return self._features(pictures, self._affines(parts, margin, photos=pictures.shape[0]))

    def _affines(self, patches: Any, margin: int, photos: int) -> Any:
        """(photos, norms, 2, width) gains and offsets. No gradient flows through the statistics."""
        moments = measured(self.generator, patches, margin, photos)
        found = [
            affine(norm, *(ops.stop_gradient(moment[:, 0, 0]) for moment in pair))
            for norm, pair in zip(norms(self.generator), moments)
        ]
        return ops.transpose(ops.stack(found), (2, 0, 1, 3))  # from (norms, 2, photos, width)


def measured(
    generator: Generator, patches: Any, margin: int = 0, photos: int = 1
) -> list[tuple[Any, Any]]:
    """Mean and variance of every norm's input, over all patches of a photo together.

    The patches are normalized by the statistics of their photo.

    Args:
        generator: a built `Generator`.
        patches: (N, H, W, 3) tensor in [0, 1]: a picture, or parts of one; or equally many parts of
            each of several photos, one photo after the other.
        margin: width in pixels of the patches' edges that do not count; see `reach`.
        photos: number of photos.

    Returns:
        For each norm, mean and variance, (photos, 1, 1, width) each.
    """
    kept, found = slice(margin, -margin or None), []

    def of_patches(values: Any) -> Any:
        return values if photos == 1 else ops.repeat(values, patches.shape[0] // photos, axis=0)

    def activate(step: Step, x: Any) -> Any:
        if step.part != "trunk":
            inner = ops.cast(x[:, kept, kept], _dtype(x))
            mean = _mean(inner, photos)
            variance = _mean(ops.square(inner - of_patches(mean)), photos)
            found.append((mean, variance))
            gain, offset = map(of_patches, gain_and_offset(step.norm, mean, variance))
            x = _normalized(x, gain, offset)
        return ops.relu(x)

    walk(_up_to_last_norm(generator), patches, activate)
    return found


def _normalized(x: Any, gain: Any, offset: Any) -> Any:
    """x after a norm, in x's dtype, computed in the dtype of the gain."""
    return ops.cast(ops.cast(x, gain.dtype) * gain + offset, x.dtype)


def _mean(x: Any, photos: int) -> Any:
    """(photos, 1, 1, C) means, axis by axis: phones add up one by one, which loses digits."""
    for axis in (2, 1):
        x = ops.mean(x, axis=axis, keepdims=True)
    if photos > 1:
        x = ops.reshape(x, (photos, -1, 1, x.shape[-1]))
        return ops.mean(x, axis=1, keepdims=True)
    return ops.mean(x, axis=0, keepdims=True)


def _up_to_last_norm(generator: Generator) -> list[Step]:
    return generator.steps[: 1 + 2 * generator.blocks]


def norms(generator: Generator) -> list[keras.layers.Layer | None]:
    """The norms of the residual blocks, in order. With norm `"none"`, they are None."""
    return [step.norm for step in generator.steps if step.part != "trunk"]


def reach(generator: Generator, norms_only: bool = False) -> int:
    """Largest distance, in pixels, between a result and an input pixel that influences it.

    Args:
        generator: a `Generator`.
        norms_only: whether the result is the last norm's input, instead of the enhanced picture.
    """
    steps = _up_to_last_norm(generator) if norms_only else generator.steps
    return sum((max(step.conv.kernel_size) - 1) // 2 for step in steps)


def affine(norm: keras.layers.Layer | None, mean: Any, variance: Any) -> Any:
    """Gain and offset that a norm applies to an input with these moments.

    Args:
        norm: one of `norms(generator)`.
        mean: (width,) or (N, width) tensor.
        variance: the same shape.

    Returns:
        Tensor of shape (2, width) or (2, N, width). It is float32, or float64 if the mean is.
    """
    return ops.stack(gain_and_offset(norm, mean, variance))


def gain_and_offset(norm: keras.layers.Layer | None, mean: Any, variance: Any) -> tuple[Any, Any]:
    """Like `affine`, as two tensors. The moments have any shape that ends with the channels."""
    dtype = _dtype(mean)
    if isinstance(norm, keras.layers.BatchNormalization):
        mean, variance = norm.moving_mean, norm.moving_variance
    mean, variance = (ops.cast(moment, dtype) for moment in (mean, variance))
    if norm is None:
        return ops.ones_like(mean), ops.zeros_like(mean)
    if isinstance(norm, InstanceNormalization):
        scale, shift = norm.scale, norm.shift
    else:
        scale, shift = norm.gamma, norm.beta
    if isinstance(norm, keras.layers.GroupNormalization):  # over all channels: layer norm
        center = ops.mean(mean, axis=-1, keepdims=True)
        spread = variance + ops.square(mean - center)
        variance = ops.mean(spread, axis=-1, keepdims=True) * ops.ones_like(mean)
        mean = center * ops.ones_like(mean)
    gain = ops.cast(scale, dtype) * ops.rsqrt(variance + norm.epsilon)
    return gain, ops.cast(shift, dtype) - mean * gain


def _dtype(x: Any) -> str:
    """Dtype of the statistics of x."""
    return statistics_dtype(keras.backend.standardize_dtype(x.dtype))
