"""Prepares a generator for phones: plain 4-D operators, and weights that 8 bits can hold."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from ..models.generator import Generator, Step, walk
from ..models.layers import Shape, Tensor
from ..models.staged import affine, gain_and_offset, measured, norms, reach

# The names of the signatures, and of the tensors that go from one to the other.
ENHANCE, MEASURE, MOMENTS = "enhance", "measure", ("mean", "variance")

# Patches that stand for a photo: their side, the number in a batch, and the number of batches. Many
# small patches represent a photo better than few large ones or a smaller copy. Each batch is spread
# over the whole photo and normalized by its own statistics. Errors of the batches average out.
PATCH, BATCH, BATCHES = 48, 32, 14

# One step of 8 bits in float32. The graph multiplies by it, instead of dividing by 255.
BYTE = np.float32(1 / 255)


class Beside(keras.layers.Layer):
    """A convolution, with a separate weight from each channel to itself: `conv(x) + gain * x`.

    If a generator starts as the identity, the trained weights from a channel to itself are about 1,
    and all others are thousandths, which 8 bits would round to zero. Without the large weights, the
    rest of the kernel has a scale of its own. The large weights cost one multiplication for each
    channel.

    Args:
        conv: a `Conv2D` with as many outputs as inputs and a kernel of odd size.

    Call arguments:
        inputs: (N, H, W, C) tensor.

    Returns:
        Tensor of the input's shape and dtype.
    """

    def __init__(self, conv: keras.layers.Conv2D, **kwargs: Any) -> None:
        super().__init__(name=conv.name, **kwargs)
        self.conv = conv

    def build(self, input_shape: Shape) -> None:
        self.conv.build(input_shape)
        self.gain = self.add_weight(shape=input_shape[-1:], initializer="zeros", name="gain")

    def set_weights(self, weights: Sequence[np.ndarray]) -> None:
        """Takes the kernel and the bias of a plain convolution that computes the same."""
        kernel, bias = weights
        gain, rest = _split(kernel)
        self.gain.assign(gain)
        self.conv.set_weights([rest, bias])

    def call(self, inputs: Tensor) -> Tensor:
        return self.conv(inputs) + self.gain * inputs


def passes_through(kernel: np.ndarray) -> bool:
    """Whether all weights are much smaller, except those from a channel to itself.

    Args:
        kernel: (odd, odd, C, C) array.
    """
    return 4 * np.abs(_split(kernel)[1]).max() < np.abs(kernel).max()


def _split(kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The weights from each channel to itself, (C,), and the kernel without them."""
    center = kernel.shape[0] // 2, kernel.shape[1] // 2
    gain = np.diag(kernel[center])
    rest = kernel.copy()
    rest[center] -= np.diag(gain)
    return gain, rest


class Portable:
    """The graph that a phone runs, under the signature `enhance`.

    Args:
        generator: from `portable`.
        io: `"float32"`: values in [0, 1], not clipped; `"uint8"`: bytes, which the graph scales,
            clips and rounds.
    """

    def __init__(self, generator: Generator, io: str = "float32"):
        self.generator = generator
        self.io = io

    def signatures(self, shape: tuple | None) -> dict[str, tuple[Callable, list[keras.InputSpec]]]:
        """The signatures to export: name → (function, its inputs).

        Args:
            shape: (height, width) that the graph takes, None for any.
        """
        return {ENHANCE: (self.enhance, [self._pictures("photo", 1, *(shape or (None, None)))])}

    def enhance(self, photo: Tensor) -> dict[str, Tensor]:
        """(1, H, W, 3) RGB tensor of dtype `io` → dictionary of `enhanced`, a tensor like it."""
        return self._given(self.generator(self._taken(photo)))

    def _pictures(
        self, name: str, count: int, height: int | None, width: int | None
    ) -> keras.InputSpec:
        return keras.InputSpec(shape=(count, height, width, 3), dtype=self.io, name=name)

    def _taken(self, photo: Tensor) -> Tensor:
        if self.io == "float32":
            return photo
        # In this scope, so that the other operators have the same names as in the float32 graph.
        # Without the ReLU, the converter would fold the scale into the first kernel, and its values
        # would be rounded differently than in that graph.
        with keras.name_scope("bytes"):
            return ops.relu(ops.cast(photo, "float32") * BYTE)

    def _given(self, enhanced: Tensor) -> dict[str, Tensor]:
        if self.io == "float32":
            return {"enhanced": enhanced}
        with keras.name_scope("bytes"):
            clipped = ops.clip(enhanced, 0.0, 1.0)
            return {"enhanced": ops.cast(ops.round(clipped * 255.0), "uint8")}


class Adaptive(Portable):
    """A graph for tiles, with a second signature, `measure`, which measures the whole photo.

    `measure` takes patches from all over a photo. It returns mean and variance of each norm's
    input, the moments. `enhance` takes a tile and these moments. So each photo has its own
    statistics, its tiles agree, and only one tile is in memory.
    """

    def signatures(self, shape: Shape | None) -> dict[str, tuple[Callable, list]]:
        height, width = shape or (None, None)
        return {
            ENHANCE: (
                self.enhance,
                [self._pictures("photo", 1, height, width), *self._moments()],
            ),
            MEASURE: (self.measure, [self._pictures("patches", BATCH, PATCH, PATCH)]),
        }

    def enhance(  # type: ignore[override]
        self, photo: Tensor, mean: Tensor, variance: Tensor
    ) -> dict[str, Tensor]:
        """A tile and (1, norms, 1, width) float32 moments → dictionary of `enhanced`."""
        number = iter(range(mean.shape[1]))

        def activate(step: Step, x: Tensor) -> Tensor:
            if step.part != "trunk":
                k = next(number)
                moments = mean[:, k : k + 1], variance[:, k : k + 1]
                gain, offset = gain_and_offset(step.norm, *moments)
                x = x * gain + offset
            return ops.relu(x)

        features = walk(self.generator.steps[:-1], self._taken(photo), activate)
        return self._given(self.generator.finish(self.generator.to_rgb(features)))

    def measure(self, patches: Tensor) -> dict[str, Tensor]:
        """(32, 48, 48, 3) patches → dictionary of `mean` and `variance`, (1, norms, 1, width).

        The patches' edges do not count, because zero padding changes them. Half of their height and
        width always counts. In deep generators padding changes some of it too, but only a little.
        """
        margin = min(reach(self.generator, norms_only=True), PATCH // 4)
        found = measured(self.generator, self._taken(patches), margin)
        return {name: _joined(values) for name, values in zip(MOMENTS, zip(*found))}

    def _moments(self) -> list[keras.InputSpec]:
        shape = (1, len(norms(self.generator)), 1, self.generator.width)
        return [keras.InputSpec(shape=shape, dtype="float32", name=n) for n in MOMENTS]


def moments(generator: Generator, photo: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of the norms' inputs for a photo.

    Args:
        generator: a built `Generator` with at least one residual block.
        photo: (1, H, W, 3) float32 array in [0, 1].

    Returns:
        Two (1, norms, 1, width) float32 arrays.
    """
    found = zip(*measured(generator, photo))
    mean, variance = (ops.convert_to_numpy(_joined(values)) for values in found)
    return mean, variance


def _joined(values: Sequence[Tensor]) -> Tensor:
    """(1, norms, 1, width), joined two by two: XNNPACK joins only a few tensors at once."""
    while len(values) > 1:
        values = [ops.concatenate(values[k : k + 2], axis=1) for k in range(0, len(values), 2)]
    return values[0]


def portable(generator: Generator, affines: np.ndarray | None = None) -> Generator:
    """A generator that computes the same, ready to be exported.

    Args:
        generator: a built `Generator`.
        affines: (norms, 2, width) gains and offsets, see `frozen_affines`. They are folded into the
            convolutions, and replace the norms. None keeps the norms.

    Returns:
        A built `Generator` in float32, for inference only. Its convolutions before the last one are
        `Beside` if that helps.
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
    folded = iter(() if affines is None else affines)
    for mine, other in zip(copy.steps, generator.steps):
        kernel, bias = other.conv.get_weights()
        if affines is not None and other.part != "trunk":
            gain, offset = next(folded)
            kernel, bias = kernel * gain, bias * gain + offset
        mine.conv.set_weights([kernel, bias])
        if mine.norm is not None and other.norm is not None:
            mine.norm.set_weights(other.norm.get_weights())
    return copy


def frozen_affines(generator: Generator, pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Gains and offsets of the norms from statistics over all pixels of several pictures.

    Args:
        generator: a built `Generator`.
        pictures: sequence of (1, H, W, 3) float32 arrays in [0, 1].

    Returns:
        (norms, 2, width) float32 array of gains and offsets.
    """
    found = norms(generator)
    if not found:
        return np.zeros((0, 2, generator.width), np.float32)
    sizes = np.array([picture.shape[1] * picture.shape[2] for picture in pictures], np.float64)
    means, variances = (
        np.concatenate(each)[:, :, 0].astype(np.float64)
        for each in zip(*(moments(generator, picture) for picture in pictures))
    )
    mean = np.average(means, axis=0, weights=sizes)
    variance = np.average(variances + (means - mean) ** 2, axis=0, weights=sizes)
    return np.stack([affine(norm, *pair) for norm, pair in zip(found, zip(mean, variance))])
