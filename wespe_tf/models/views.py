"""What the discriminators and the guide loss see of pictures: blurred, gray, or detail alone."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops
from scipy.special import ndtr

from .layers import PACKAGE, Shape, Tensor
from .options import BLURS


def gray(pictures: Tensor, weight_of_red: float = 0.2989) -> Tensor:
    """Luminance 0.2989 R + 0.5870 G + 0.1140 B, TensorFlow's weights.

    Args:
        pictures: (N, H, W, 3) tensor.
        weight_of_red: 0.299 in the standard, BT.601.

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
    """`gray` with the standard's weights, which sum to 1: what report-code's D_t sees."""

    def call(self, inputs: Tensor) -> Tensor:
        return gray(inputs, 0.299)


@keras.saving.register_keras_serializable(PACKAGE)
class Detail(keras.layers.Layer):
    """Luminance minus its Gaussian blur, times a gain: texture without tone.

    The texture discriminator sees this in an extra beyond the paper. Tone is left to the guide; it
    would hide the small changes of texture.

    Args:
        deviation: standard deviation of the blur, pixels; the blur is cut off at three of them.
        gain: factor; with spectral norm a discriminator cannot enlarge its input itself.

    Call arguments:
        inputs: (N, H, W, 3) tensor in [0, 1], mirrored at its edges for the blur: height and width
            are more than three deviations.

    Returns:
        (N, H, W, 1) tensor.
    """

    def __init__(self, deviation: float = 3.0, gain: float = 8.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.deviation = deviation
        self.gain = gain
        self.reach = math.ceil(3 * deviation)
        profile = np.exp(-np.square(np.arange(-self.reach, self.reach + 1) / deviation) / 2)
        self.profile = profile / profile.sum()

    def call(self, inputs: Tensor) -> Tensor:
        luminance = gray(inputs)
        edges = (self.reach, self.reach)
        blurred = ops.pad(luminance, ((0, 0), edges, edges, (0, 0)), mode="reflect")
        profile = ops.convert_to_tensor(self.profile, dtype=inputs.dtype)
        for shape in ((-1, 1, 1, 1), (1, -1, 1, 1)):
            blurred = ops.conv(blurred, ops.reshape(profile, shape), padding="valid")
        return self.gain * (luminance - blurred)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], 1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "deviation": self.deviation, "gain": self.gain}


def blur_profile(kernel: str) -> np.ndarray:
    """One-dimensional profile. Its outer product with itself is the blur kernel.

    Args:
        kernel: `"dped_code"`: square root of differences of the normal CDF, sum 1, effective
            standard deviation 4.34 pixels (DPED code); `"paper"`: A·exp(−k²/2σ) with σ = 3 as a
            variance and A so that the sum is 1 (paper, section 3.1); `"unnormalised"`:
            exp(−k²/2σ²) with σ = 3 and a peak of 1, 2-D sum about 56 (report-code).

    Returns:
        (21,) float64 array.

    Raises:
        ValueError: for another name.
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
    """Depthwise 21×21 Gaussian blur, zero SAME padding: what the color discriminator sees.

    All three kernels are separable, so it runs as a vertical and a horizontal pass.

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
