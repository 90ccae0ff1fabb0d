"""Prepares a generator for OpenVINO: norms that suit it, and numbers that bfloat16 holds.

A generator nearly passes its picture through. bfloat16 has eight bits of mantissa, so the rounding
of colors at the input, and of the weights that carry them, would be visible. Here, both are exact,
and the network takes no longer.
"""

from typing import Any

import keras
import ml_dtypes
import numpy as np
from keras import ops

from ..models.generator import Generator
from ..models.layers import InstanceNormalization


class RowwiseNormalization(InstanceNormalization):
    """Instance norm whose means OpenVINO computes row by row. It would merge two means into one."""

    @staticmethod
    def picture_mean(x: Any) -> Any:
        width = ops.cast(ops.shape(x)[2], x.dtype)
        return ops.mean(ops.sum(x, axis=2, keepdims=True), axis=1, keepdims=True) / width


class FusedNormalization(InstanceNormalization):
    """Instance norm in a form that OpenVINO recognizes and computes in one operation.

    This operation adds up the pixels one after another. On a photo, this loses digits that float32
    has and bfloat16 does not have.
    """

    def call(self, inputs: Any, training: bool = False, relu: bool = False) -> Any:
        centered = inputs - ops.mean(inputs, axis=(1, 2), keepdims=True)
        variance = ops.mean(ops.square(centered), axis=(1, 2), keepdims=True)
        outputs = centered / ops.sqrt(variance + self.epsilon) * self.scale + self.shift
        return ops.relu(outputs) if relu else outputs


class SplitHead(keras.layers.Layer):
    """A first convolution for `split` pictures. Its kernel is split into parts for bfloat16.

    Args:
        conv: a `Conv2D` that is not built yet. It will have 9 input channels.

    Call arguments:
        inputs: (N, H, W, 6) tensor, see `split`.

    Returns:
        (N, H, W, filters) tensor.
    """

    def __init__(self, conv: keras.layers.Conv2D, **kwargs: Any):
        super().__init__(name=conv.name, **kwargs)
        self.conv = conv
        self.kernel_size = conv.kernel_size

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.conv.build((*input_shape[:-1], 9))

    def set_weights(self, weights: list[np.ndarray]) -> None:
        """Takes the kernel and the bias of a convolution of pictures in [0, 1]."""
        kernel, bias = weights
        kernel = kernel.astype(np.float64) / 255
        first = _rounded(kernel)
        both = np.repeat(first, 2, axis=2)
        self.conv.set_weights([np.concatenate([kernel - first, both], axis=2), bias])

    def call(self, inputs: Any) -> Any:
        return self.conv(ops.concatenate([inputs[..., ::2], inputs], axis=-1))


def split(pictures: np.ndarray) -> np.ndarray:
    """Splits each value, times 255, into its rounded value and the rest.

    bfloat16 holds the first part exactly. For 8-bit pictures, the second part is 0.

    Args:
        pictures: (N, H, W, 3) float32 array in [0, 1].

    Returns:
        (N, H, W, 6) float32 array: both parts of red, then of green, then of blue.
    """
    scaled = pictures * np.float32(255)
    both = np.empty((*pictures.shape, 2), np.float32)
    np.rint(scaled, out=both[..., 0])
    np.subtract(scaled, both[..., 0], out=both[..., 1])
    return both.reshape(*pictures.shape[:-1], 6)


def prepare(generator: Generator, splits: bool) -> Generator:
    """A generator that computes the same, with less work and smaller rounding errors.

    If pictures are split, instance norms are fused, else they go row by row. In the last hidden
    layers, the weight from a channel to itself is usually by far the largest. Channels are scaled
    so that bfloat16 holds this weight exactly. The next layer divides by the scale.

    Args:
        generator: a built `Generator`.
        splits: whether its pictures will be `split`, as for bfloat16.

    Returns:
        A built `Generator` in float32, for inference only.
    """
    copy = Generator.from_config({**generator.get_config(), "dtype": "float32"})
    if splits:
        copy.head = SplitHead(copy.head)
    if generator.norm == "instance":
        norm = FusedNormalization if splits else RowwiseNormalization
        copy.residuals = [
            [
                norm.from_config(layer.get_config()) if k % 2 else layer
                for k, layer in enumerate(block)
            ]
            for block in copy.residuals
        ]
    copy.build((None, None, None, 6 if splits else 3))
    copy.head.set_weights(generator.head.get_weights())
    for mine, other in zip(copy.residuals, generator.residuals):
        for layer, original in zip(mine, other):
            if original is not None:
                layer.set_weights(original.get_weights())
    scale = np.ones(generator.width)
    for mine, conv in zip(copy.tail, generator.tail):
        kernel, bias = conv.get_weights()
        kernel = kernel / scale[:, None]
        own = np.diag(kernel[kernel.shape[0] // 2, kernel.shape[1] // 2])
        scale = np.divide(_rounded(own), own, out=np.ones_like(own), where=own != 0)
        mine.set_weights([kernel * scale, bias * scale])
    kernel, bias = generator.to_rgb.get_weights()
    copy.to_rgb.set_weights([kernel / scale[:, None], bias])
    return copy


def _rounded(values: np.ndarray) -> np.ndarray:
    """Values rounded to bfloat16, as float64."""
    return values.astype(ml_dtypes.bfloat16).astype(np.float64)
