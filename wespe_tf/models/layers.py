"""Layers that the networks share: norms and initializers."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from ..losses import Tensor
from .options import KERNEL_STARTS

PACKAGE = "wespe_tf"

Shape = tuple[int | None, ...]


def statistics_dtype(compute_dtype: str) -> str:
    """Dtype for means, variances, the final tanh and losses: never below float32.

    Args:
        compute_dtype: name of the dtype a layer computes in.

    Returns:
        `"float64"` for float64, `"float32"` for everything else.
    """
    return "float64" if compute_dtype == "float64" else "float32"


def picture_mean(x: Tensor) -> Tensor:
    """Mean over height and width, (N, H, W, C) → (N, 1, 1, C).

    It goes row by row. A runtime that adds up all pixels of a photo one after another, as a phone's
    may do, would lose three digits of float32.
    """
    return ops.mean(ops.mean(x, axis=2, keepdims=True), axis=1, keepdims=True)


@keras.saving.register_keras_serializable(PACKAGE)
class InstanceNormalization(keras.layers.Layer):
    """Normalizes each channel of each picture by its own mean and variance.

    Computes `scale * (x - mean) / sqrt(variance + epsilon) + shift` with the biased variance
    over height and width. `keras.layers.GroupNormalization(groups=-1)` gives the same numbers, but
    has tensors of five dimensions. Phone accelerators take at most four. Statistics are computed in
    float32 (float64 under a float64 policy). For the backward pass, only the input and two numbers
    for each channel of each picture are kept, also with `relu`. Source: DPED's code.

    Args:
        epsilon: added to the variance; 1e-3 in DPED's code.
        scale_init: initial value of the learned scale.

    Call arguments:
        inputs: (N, H, W, C) tensor.
        relu: whether a ReLU follows.

    Returns:
        Tensor of the input's shape and dtype.
    """

    picture_mean = staticmethod(picture_mean)

    def __init__(self, epsilon: float = 1e-3, scale_init: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.epsilon = epsilon
        self.scale_init = scale_init

    def build(self, input_shape: Shape) -> None:
        channels = (input_shape[-1],)
        self.scale = self.add_weight(
            shape=channels, initializer=keras.initializers.Constant(self.scale_init), name="scale"
        )
        self.shift = self.add_weight(shape=channels, initializer="zeros", name="shift")

    def call(self, inputs: Tensor, training: bool = False, relu: bool = False) -> Tensor:
        dtype = statistics_dtype(self.compute_dtype)
        scale, shift = ops.cast(self.scale, dtype), ops.cast(self.shift, dtype)
        if training:
            return self._with_gradient(inputs, scale, shift, relu)
        return self._normalized(inputs, scale, shift, relu)[0]

    def _normalized(
        self, inputs: Tensor, scale: Tensor, shift: Tensor, relu: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The output; its mean and 1 / standard deviation, (N, 1, 1, C) each."""
        x = ops.cast(inputs, scale.dtype)
        mean = self.picture_mean(x)
        inverse = ops.rsqrt(self.picture_mean(ops.square(x - mean)) + self.epsilon)
        gain = scale * inverse
        outputs = ops.cast(x * gain + (shift - mean * gain), inputs.dtype)
        return ops.relu(outputs) if relu else outputs, mean, inverse

    def _with_gradient(self, inputs: Tensor, scale: Tensor, shift: Tensor, relu: bool) -> Tensor:
        """The output. Its gradients are computed from their formulas, which saves memory.

        TensorFlow's own gradients would keep a float32 copy of the input and of its distance from
        the mean. In bfloat16, these are two thirds of all memory that training takes. They would
        also keep the ReLU's mask, which can be computed from the input.
        """

        @ops.custom_gradient
        def normalize(inputs: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor, Callable]:
            outputs, mean, inverse = self._normalized(inputs, scale, shift, relu)

            def gradients(*arguments: Tensor, upstream: Tensor | None = None) -> tuple:
                upstream = arguments[-1] if upstream is None else upstream
                # Without this, the graph would compute this part early for all norms, and keep it.
                with tf.control_dependencies([upstream]):
                    apart = ops.cast(inputs, scale.dtype) - mean
                gain = scale * inverse
                if relu:
                    upstream = ops.where(apart * gain + shift > 0, upstream, 0)
                upstream = ops.cast(upstream, scale.dtype)
                level = self.picture_mean(upstream)
                slope = self.picture_mean(upstream * apart) * inverse
                by_input = gain * upstream - (gain * slope * inverse) * apart - gain * level
                pixels = ops.cast(ops.size(inputs[0, ..., 0]), scale.dtype)
                by_scale, by_shift = (pixels * ops.sum(m, axis=(0, 1, 2)) for m in (slope, level))
                return ops.cast(by_input, inputs.dtype), by_scale, by_shift

            return outputs, gradients

        return normalize(inputs, scale, shift)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "epsilon": self.epsilon,
            "scale_init": self.scale_init,
        }


@keras.saving.register_keras_serializable(PACKAGE)
class BatchStatistics(InstanceNormalization):
    """Batch norm that always uses the statistics of the batch and learns no running statistics.

    PyTorch's batch norm computes this in a network that stays in training mode, as the VGG-19 of
    the report's code does (REPRODUCTION.md). Each device has its own statistics.
    """

    @staticmethod
    def picture_mean(x: Tensor) -> Tensor:
        return ops.mean(x, axis=(0, 1, 2), keepdims=True)


@keras.saving.register_keras_serializable(PACKAGE)
class AffineNormalization(keras.layers.BatchNormalization):
    """Batch norm that always stays in inference mode, with running mean 0 and variance 1.

    Only a learned scale and shift for each channel remain, as in the discriminators of WESPE-TF
    (docs/AUTHORS_CODE.md).
    """

    def call(self, inputs: Tensor, training: bool | None = None, mask: Any = None) -> Tensor:
        return super().call(inputs, training=False, mask=mask)


@keras.saving.register_keras_serializable(PACKAGE)
class SpectralNormalization(keras.layers.SpectralNormalization):
    """Keras's spectral normalization without branches, so that a training step is traced faster.

    Weights, their names and results are those of Keras's layer. That layer has a branch which does
    not change a kernel of zeros. TensorFlow traces separate graphs for the branch, also for its
    gradient. Here both results are computed, and one is selected.

    Args:
        layer: a layer with a `kernel`.
        **kwargs: arguments of `keras.layers.SpectralNormalization`.

    Call arguments:
        inputs: tensor that the layer takes.
        training: whether the kernel is first divided by its largest singular value.

    Returns:
        The layer's output, in the dtype of the inputs.
    """

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        if training:
            zeros = ops.all(ops.equal(self.kernel, 0))
            vector_u, kernel = self.normalized_weights()
            self.vector_u.assign(ops.where(zeros, self.vector_u, vector_u))
            self.kernel.assign(ops.where(zeros, self.kernel, kernel))
        return ops.cast(self.layer(inputs), inputs.dtype)


@keras.saving.register_keras_serializable(PACKAGE)
class LayerNormalization(keras.layers.GroupNormalization):
    """Normalizes each picture by its mean and variance over height, width and channels.

    It equals Keras's layer with one group and the same weights. But no tensor has more than four
    dimensions, the limit of phone accelerators.

    Args:
        epsilon: added to the variance.
        **kwargs: arguments of `keras.layers.GroupNormalization`.

    Call arguments:
        inputs: (N, H, W, C) tensor.

    Returns:
        Tensor of the input's shape and of the layer's compute dtype.
    """

    def __init__(self, epsilon: float = 1e-3, groups: int = 1, **kwargs: Any) -> None:
        super().__init__(groups=groups, epsilon=epsilon, **kwargs)

    def call(self, inputs: Tensor) -> Tensor:
        dtype = statistics_dtype(self.compute_dtype)
        x = ops.cast(inputs, dtype)
        mean = ops.mean(picture_mean(x), axis=3, keepdims=True)
        variance = ops.mean(picture_mean(ops.square(x - mean)), axis=3, keepdims=True)
        gain = ops.cast(self.gamma, dtype) * ops.rsqrt(variance + self.epsilon)
        offset = ops.cast(self.beta, dtype) - mean * gain
        return ops.cast(x * gain + offset, self.compute_dtype)


def make_norm(
    norm: str,
    name: str,
    epsilon: float = 1e-3,
    scale_init: float = 1.0,
    dtype: Any = None,
) -> Any:
    """The normalization layer that a network's `norm` option names.

    Args:
        norm: `"instance"`, `"batch"`, `"layer"` (over height, width and channels of a picture,
            learned scale and shift per channel), `"affine"` (these alone) or `"none"`.
        name: the layer's name.
        epsilon: added to the variance.
        scale_init: initial value of the learned scale.
        dtype: dtype or policy of the layer; Keras's global policy by default.

    Returns:
        A Keras layer, or None for `"none"`.

    Raises:
        ValueError: if the name is not one of these.
    """
    if norm == "instance":
        return InstanceNormalization(epsilon, scale_init, name=name, dtype=dtype)
    gamma = keras.initializers.Constant(scale_init)
    if norm == "batch":
        return keras.layers.BatchNormalization(
            epsilon=epsilon,
            momentum=0.9,
            gamma_initializer=gamma,
            # Statistics over the batches of all devices. On one device, False keeps more digits.
            synchronized=tf.distribute.get_strategy().num_replicas_in_sync > 1,
            name=name,
            dtype=dtype,
        )
    if norm == "affine":
        return AffineNormalization(epsilon=epsilon, name=name, dtype=dtype)
    if norm == "layer":
        return LayerNormalization(epsilon, gamma_initializer=gamma, name=name, dtype=dtype)
    if norm == "none":
        return None
    raise ValueError(f"norm: expected one of instance, batch, layer, affine, none, got {norm!r}")


def make_initializers(name: str) -> Callable[[int], tuple[Any, Any]]:
    """Kernel and bias initializers by the name that the settings use.

    Args:
        name: `"truncated_normal"` (standard deviation 0.01, biases 0.01: DPED code),
            `"kaiming_uniform"` (He), `"glorot"`, both with zero biases, or `"torch_default"`
            (weights and biases uniform on ±1/sqrt(fan_in): the generator of the report's code).

    Returns:
        Function of a layer's fan-in that returns its `(kernel, bias)` initializers.

    Raises:
        ValueError: if the name is not one of these.
    """
    if name not in KERNEL_STARTS:
        expected = ", ".join(KERNEL_STARTS)
        raise ValueError(f"init: expected one of {expected}, got {name!r}")

    def initializers(fan_in: int) -> tuple[Any, Any]:
        if name == "truncated_normal":
            return (
                keras.initializers.TruncatedNormal(stddev=0.01),
                keras.initializers.Constant(0.01),
            )
        if name == "kaiming_uniform":
            return keras.initializers.HeUniform(), keras.initializers.Zeros()
        if name == "glorot":
            return keras.initializers.GlorotUniform(), keras.initializers.Zeros()
        bound = fan_in**-0.5
        return (
            keras.initializers.RandomUniform(-bound, bound),
            keras.initializers.RandomUniform(-bound, bound),
        )

    return initializers


@tf.custom_gradient
def few_outputs_conv(inputs: Tensor, kernel: Tensor) -> Any:
    """A SAME convolution of stride 1. Its gradient is fast on a CPU if there are few outputs.

    TensorFlow's own gradient of a 9×9 convolution from 64 channels to 3 takes seven times as long.
    Here, each row of the kernel takes one product of matrices for each gradient.

    Args:
        inputs: (N, H, W, C) tensor.
        kernel: (k, k, C, D) tensor, k odd.

    Returns:
        (N, H, W, D) tensor.
    """
    size, _, channels, outputs = kernel.shape
    pixels = tf.reshape(inputs, (-1, channels))

    def gradient(upstream: Tensor) -> tuple[Tensor, Tensor]:
        reach = size // 2
        height, width = upstream.shape[1:3]
        around = ((0, 0), (reach, reach), (reach, reach), (0, 0))
        padded = tf.pad(upstream, around)
        of_pixels, of_kernel = 0.0, []
        for row in reversed(range(size)):
            shifted = [padded[:, row : row + height, k : k + width] for k in range(size)]
            shifted = tf.reshape(tf.concat(shifted, axis=-1), (-1, size * outputs))
            taps = tf.transpose(kernel[size - 1 - row, ::-1], (0, 2, 1))
            of_pixels += tf.matmul(shifted, tf.reshape(taps, (size * outputs, channels)))
            taps = tf.reshape(tf.matmul(pixels, shifted, transpose_a=True), (-1, size, outputs))
            of_kernel.append(tf.transpose(taps, (1, 0, 2))[::-1])
        return tf.reshape(of_pixels, tf.shape(inputs)), tf.stack(of_kernel)

    return tf.nn.conv2d(inputs, kernel, 1, "SAME"), gradient
