"""Views of pictures, for the discriminators and the guide loss: blurred, gray or only detail."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from scipy.special import ndtr

from .layers import PACKAGE, Shape, Tensor
from .options import BLURS

EQUAL_SHARES = (1 / 3, 1 / 3, 1 / 3)


def gray(pictures: Tensor, weight_of_red: float = 0.2989) -> Tensor:
    """Luminance 0.2989 R + 0.5870 G + 0.1140 B, with TensorFlow's weights.

    Args:
        pictures: (N, H, W, 3) tensor.
        weight_of_red: the standard, BT.601, has 0.299.

    Returns:
        (N, H, W, 1) tensor of the same dtype.
    """
    red, green, blue = ops.split(pictures, 3, axis=-1)
    return weight_of_red * red + 0.5870 * green + 0.1140 * blue


@keras.saving.register_keras_serializable(PACKAGE)
class Grayscale(keras.layers.Layer):
    """`gray` as a layer: what the texture discriminator sees."""

    def call(self, inputs: Tensor) -> Tensor:
        return gray(inputs)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], 1)


@keras.saving.register_keras_serializable(PACKAGE)
class Luma(Grayscale):
    """`gray` with the standard's weights, whose sum is 1: what D_t of the report's code sees."""

    def call(self, inputs: Tensor) -> Tensor:
        return gray(inputs, 0.299)


def fine_part(pictures: Tensor, deviation: float = 3.0) -> Tensor:
    """Pictures minus their Gaussian blur, which mirrors them at their edges.

    Args:
        pictures: (N, H, W, C) tensor. H and W are more than three deviations.
        deviation: standard deviation of the blur, in pixels. The blur ends at three deviations.

    Returns:
        Tensor of the same shape and dtype.
    """
    reach = math.ceil(3 * deviation)
    weights = np.exp(-np.square(np.arange(-reach, reach + 1) / deviation) / 2)
    profile = ops.convert_to_tensor(weights / weights.sum(), dtype=pictures.dtype)
    edges = (reach, reach)
    blurred = ops.pad(pictures, ((0, 0), edges, edges, (0, 0)), mode="reflect")
    for shape in ((-1, 1, 1, 1), (1, -1, 1, 1)):
        kernel = ops.tile(ops.reshape(profile, shape), (1, 1, pictures.shape[-1], 1))
        blurred = ops.depthwise_conv(blurred, kernel, padding="valid")
    return pictures - blurred


def detail_energy(pictures: Tensor) -> Tensor:
    """Standard deviation of the Laplacian, mean over pictures, as in `metrics.texture`.

    Args:
        pictures: (N, H, W, 1) tensor of luminance, H and W at least 3.

    Returns:
        Scalar.
    """
    around = (
        pictures[:, :-2, 1:-1]
        + pictures[:, 2:, 1:-1]
        + pictures[:, 1:-1, :-2]
        + pictures[:, 1:-1, 2:]
    )
    return ops.mean(ops.std(around - 4 * pictures[:, 1:-1, 1:-1], axis=(1, 2, 3)))


@keras.saving.register_keras_serializable(PACKAGE)
class Detail(keras.layers.Layer):
    """Luminance minus its Gaussian blur, times a gain: texture without tone.

    This view of the texture discriminator goes beyond the paper. Tone would hide the small changes
    of texture; the guide takes care of tone.

    The gradient of luminance is five times as large for green as for blue. So edges would get green
    and purple fringes. Instead, the gradient is divided among the colors by `shares`.

    Args:
        deviation: standard deviation of the blur, see `fine_part`.
        gain: factor. With spectral norm, a discriminator cannot enlarge its input itself.
        shares: how the gradient is divided among red, green and blue, with the sum 1. Good photos
            do not draw all colors equally sharp, see `guide.detail_filter.detail_shares`.

    Call arguments:
        inputs: (N, H, W, 3) tensor in [0, 1]. The blur mirrors it at its edges, so height and width
            must be more than three deviations.

    Returns:
        (N, H, W, 1) tensor.
    """

    def __init__(
        self,
        deviation: float = 3.0,
        gain: float = 8.0,
        shares: Sequence[float] = EQUAL_SHARES,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.deviation = deviation
        self.gain = gain
        self.shares = tuple(map(float, shares))

    def call(self, inputs: Tensor) -> Tensor:
        luminance = gray(inputs)
        shares = ops.convert_to_tensor(self.shares, dtype=inputs.dtype)
        divided = ops.sum(inputs * shares, axis=-1, keepdims=True)
        shown = divided + ops.stop_gradient(luminance - divided)
        return self.gain * fine_part(shown, self.deviation)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], 1)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "deviation": self.deviation,
            "gain": self.gain,
            "shares": self.shares,
        }


def blur_profile(kernel: str) -> np.ndarray:
    """One-dimensional profile. Its outer product with itself is the blur kernel.

    Args:
        kernel: `"dped_code"`: square root of differences of the normal CDF, with the sum 1 and an
            effective standard deviation of 4.34 pixels (DPED's code); `"paper"`: A·exp(−k²/2σ),
            where σ = 3 is a variance and A makes the sum 1 (paper, section 3.1);
            `"unnormalised"`: exp(−k²/2σ²), where σ = 3 and the 2-D sum is about 56 (the report's
            code).

    Returns:
        (21,) float64 array.

    Raises:
        ValueError: if the name is not one of these.
    """
    k = np.arange(-10, 11, dtype=np.float64)
    if kernel == "dped_code":
        half_bin = 7 / 21 / 2
        edges = np.linspace(-3 - half_bin, 3 + half_bin, 22)
        profile = np.sqrt(np.diff(ndtr(edges)))
        return profile / profile.sum()
    if kernel == "paper":
        profile = np.exp(-(k**2) / (2 * 3))
        return profile / profile.sum()
    if kernel == "unnormalised":
        return np.exp(-(k**2) / (2 * 3**2))
    raise ValueError(f"blur kernel: expected one of {', '.join(BLURS)}, got {kernel!r}")


@keras.saving.register_keras_serializable(PACKAGE)
class GaussianBlur(keras.layers.Layer):
    """Depthwise 21×21 Gaussian blur with zero SAME padding: what the color discriminator sees.

    All three kernels are separable, so the blur is a vertical and a horizontal pass.

    Args:
        kernel: see `blur_profile`.

    Call arguments:
        inputs: (N, H, W, C) tensor.

    Returns:
        Tensor of the input's shape and dtype.
    """

    def __init__(self, kernel: str = "dped_code", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kernel = kernel
        self.profile = blur_profile(kernel)

    def call(self, inputs: Tensor) -> Tensor:
        channels = inputs.shape[-1]
        profile = ops.convert_to_tensor(self.profile, dtype=inputs.dtype)
        for shape in ((21, 1, 1, 1), (1, 21, 1, 1)):
            kernel = ops.tile(ops.reshape(profile, shape), (1, 1, channels, 1))
            inputs = ops.depthwise_conv(inputs, kernel, padding="same")
        return inputs

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "kernel": self.kernel}
