"""The generator: the residual network of DPED's code. WESPE's G and F are generators."""

import dataclasses
import math
import numbers
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from .layers import (
    PACKAGE,
    InstanceNormalization,
    Shape,
    Tensor,
    few_outputs_conv,
    make_initializers,
    make_norm,
    statistics_dtype,
)
from .options import GENERATOR_ENDINGS, GENERATOR_NORMS, GENERATOR_STARTS, Ending


class PassThrough(keras.initializers.Initializer):
    """Kernel whose output channels copy the input channels with the same number, times `gain`.

    Further output channels are random sums of the inputs, at the kernel's center. Every weight gets
    normal noise with standard deviation `noise`.
    """

    def __init__(self, gain: float = 1.0, noise: float = 0.0) -> None:
        self.gain, self.noise = gain, noise
        self.seed = keras.random.SeedGenerator()

    def __call__(self, shape: tuple[int, ...], dtype: str | None = None) -> Tensor:
        height, width, inputs, outputs = shape
        copied = self.gain * ops.eye(inputs, min(inputs, outputs), dtype=dtype)
        mixed = keras.random.normal(
            (inputs, outputs - copied.shape[1]), dtype=dtype, seed=self.seed
        )
        center = ops.concatenate([copied, mixed], axis=1)[None, None]
        above, left = height // 2, width // 2
        edges = ((above, height - 1 - above), (left, width - 1 - left), (0, 0), (0, 0))
        noise = keras.random.normal(shape, 0.0, self.noise, dtype, self.seed)
        return ops.pad(center, edges) + noise


class Knots(keras.initializers.Initializer):
    """Biases that are 0 for the first `copied` channels, and uniform in [-1, 1] for the others.

    After `PassThrough` and a ReLU, each of these others bends at another color. Together they form
    a basis in which tone curves and color maps are nearly linear.
    """

    def __init__(self, copied: int) -> None:
        self.copied = copied
        self.seed = keras.random.SeedGenerator()

    def __call__(self, shape: tuple[int, ...], dtype: str | None = None) -> Tensor:
        others = keras.random.uniform((shape[0] - self.copied,), -1.0, 1.0, dtype, self.seed)
        return ops.concatenate([ops.zeros((self.copied,), dtype), others])


def kernel_bytes(width: int, blocks: int, ending: str) -> int:
    """Bytes that the kernels of a `Generator` of this size take in float32.

    Raises:
        ValueError: if a number is not an integer or is too small, or the ending is not known.
    """
    check_number("width", width, numbers.Integral, 4)
    check_number("blocks", blocks, numbers.Integral, 0)
    convolutions, last_size, _ = find_ending(ending)
    return 4 * ((81 + last_size**2) * 3 * width + (2 * blocks + convolutions) * 9 * width**2)


def find_ending(name: str) -> Ending:
    """The ending of this name. Raises a `ValueError` if there is none."""
    if name not in GENERATOR_ENDINGS:
        expected = ", ".join(GENERATOR_ENDINGS)
        raise ValueError(f"ending: expected one of {expected}, got {name!r}")
    return GENERATOR_ENDINGS[name]


def check_number(name: str, number: Any, kind: Any, least: float) -> None:
    """Raises a `ValueError` unless a number is finite, of a kind and large enough."""
    if not (isinstance(number, kind) and least <= number < math.inf):
        raise ValueError(f"{name}: expected a number of at least {least}, got {number!r}")


@dataclasses.dataclass(frozen=True)
class Step:
    """A convolution of a generator and what happens to its output.

    Attributes:
        conv: the layer.
        norm: the layer that follows, or None. A ReLU follows too, except after the last step.
        part: `"trunk"`: the next step takes the output; `"branch"`: the same, and the step's input
            waits for a join; `"join"`: the waiting tensor is added to the output.
    """

    conv: keras.layers.Layer
    norm: keras.layers.Layer | None = None
    part: str = "trunk"


def walk(steps: list[Step], x: Tensor, activate: Callable[[Step, Tensor], Tensor]) -> Tensor:
    """Runs the steps of a generator.

    Args:
        steps: list of `Step`.
        x: (N, H, W, C) tensor, the input of the first step, which is not a `"join"`.
        activate: function of a step and its convolution's output. It returns this output after
            norm and ReLU.

    Returns:
        (N, H, W, C) tensor after the last step.
    """
    waiting = None
    for step in steps:
        if step.part == "branch":
            waiting = x
        x = activate(step, step.conv(x))
        if step.part == "join":
            x = waiting + x
    return x


@keras.saving.register_keras_serializable(PACKAGE)
class Generator(keras.Model):
    """Fully convolutional residual network that maps a picture to its enhanced version.

    Its parts are: convolution 9×9 + ReLU; `blocks` residual blocks of two [convolution 3×3, norm,
    ReLU] and an addition, without a ReLU after it; two convolutions 3×3 + ReLU; convolution 9×9 to
    three channels; `tanh_scale * tanh(z) + 0.5`. All have stride 1 and zero SAME padding. The
    default size has 400 k parameters and takes 0.40 M multiply-adds per pixel. Source: DPED's code,
    and section 3 of the paper. "Report-code" is the code of the report (REPRODUCTION.md).

    Args:
        width: channels of every hidden layer, at least 4.
        blocks: residual blocks.
        norm: `"instance"`, `"batch"`, `"layer"` or `"none"`.
        norm_epsilon: added to the variance: 1e-3 in DPED's code, 1e-5 in report-code.
        tanh_scale: 0.58 (DPED's code: outputs in [-0.08, 1.08]) or 0.5 (report-code).
        ending: `"dped"`; or `"plain"`: three convolutions 3×3 + ReLU, and one 1×1 without tanh, as
            in WESPE-TF (docs/AUTHORS_CODE.md).
        init: `"identity"` (the untrained network returns almost its input),
            `"truncated_normal"`, `"kaiming_uniform"`, `"glorot"` or `"torch_default"`.

    Call arguments:
        inputs: (N, H, W, 3) RGB tensor in [0, 1]; any height and width.

    Returns:
        (N, H, W, 3) tensor, float32 (float64 under a float64 policy), not clipped.

    Raises:
        ValueError: if an option is not in these lists, or a number is out of range.

    Example:

    >>> generator = Generator()
    >>> generator(keras.ops.zeros((1, 100, 100, 3))).shape
    (1, 100, 100, 3)
    """

    def __init__(
        self,
        width: int = 64,
        blocks: int = 4,
        norm: str = "instance",
        norm_epsilon: float = 1e-3,
        tanh_scale: float = 0.58,
        ending: str = "dped",
        init: str = "truncated_normal",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if init not in GENERATOR_STARTS:
            raise ValueError(f"init: expected one of {', '.join(GENERATOR_STARTS)}, got {init!r}")
        if norm not in GENERATOR_NORMS:
            raise ValueError(f"norm: expected one of {', '.join(GENERATOR_NORMS)}, got {norm!r}")
        convolutions, last_size, self.has_tanh = find_ending(ending)
        check_number("width", width, numbers.Integral, 4)
        check_number("blocks", blocks, numbers.Integral, 0)
        check_number("norm_epsilon", norm_epsilon, numbers.Real, 0)
        check_number("tanh_scale", tanh_scale, numbers.Real, 1e-3)
        self.width = width
        self.blocks = blocks
        self.norm = norm
        self.norm_epsilon = norm_epsilon
        self.tanh_scale = tanh_scale
        self.ending = ending
        self.init = init

        self.head = self._conv(9, 3, "conv1", passes=True)
        self.residuals = [self._residual_block(k) for k in range(blocks)]
        names = [f"conv{2 * blocks + 2 + k}" for k in range(convolutions + 1)]
        self.tail = [self._conv(3, width, name, passes=True) for name in names[:-1]]
        self.to_rgb = self._conv(last_size, width, names[-1], passes=True, final=True)

    def _conv(
        self,
        size: int,
        inputs: int,
        name: str,
        passes: bool = False,
        final: bool = False,
        scale: float = 1.0,
    ) -> keras.layers.Conv2D:
        """A convolution. With an identity start, it copies RGB if `passes`. Otherwise its kernel is
        random, with `scale` times He's standard deviation."""
        if self.init != "identity":
            kernel_init, bias_init = make_initializers(self.init)(size * size * inputs)
        elif not passes:
            kernel_init = keras.initializers.VarianceScaling(2 * scale**2)
            bias_init = keras.initializers.Zeros()
        elif final:
            # 0.58·tanh(gain·(x − 0.5)) + 0.5 is within 0.05 of x on [0, 1] for this gain.
            gain = 1.16 / self.tanh_scale if self.has_tanh else 1.0
            kernel_init = PassThrough(gain, noise=2e-4)
            bias_init = keras.initializers.Constant(-gain / 2 if self.has_tanh else 0.0)
        else:
            kernel_init = PassThrough()
            bias_init = Knots(copied=inputs)
        return keras.layers.Conv2D(
            3 if final else self.width,
            size,
            padding="same",
            kernel_initializer=kernel_init,
            bias_initializer=bias_init,
            name=name,
            dtype=self.dtype_policy,
        )

    def _residual_block(self, k: int) -> list[Any]:
        """[convolution, norm] twice. With an identity start, the block adds only small values."""
        small = 0.02 if self.init == "identity" else 1.0
        layers = []
        for part, scale in ((0, 1.0), (1, small)):
            number = 2 * k + part
            # A norm after the convolution cancels the kernel's scale; then the norm has `scale`.
            conv_scale = scale if self.norm == "none" else 1.0
            layers.append(self._conv(3, self.width, f"conv{number + 2}", scale=conv_scale))
            layers.append(
                make_norm(
                    self.norm, f"norm{number + 1}", self.norm_epsilon, scale, self.dtype_policy
                )
            )
        return layers

    def build(self, input_shape: Shape) -> None:
        hidden = (*input_shape[:-1], self.width)
        for step in self.steps:
            step.conv.build(input_shape if step.conv is self.head else hidden)
            if step.norm is not None:
                step.norm.build(hidden)

    @property
    def steps(self) -> list[Step]:
        """The steps of the network, in order. `walk` runs them, and `finish` makes the picture."""
        found = [Step(self.head)]
        for conv1, norm1, conv2, norm2 in self.residuals:
            found += [Step(conv1, norm1, "branch"), Step(conv2, norm2, "join")]
        return [*found, *(Step(conv) for conv in self.tail), Step(self.to_rgb)]

    def features(self, inputs: Tensor, training: bool = False) -> Tensor:
        """Input of the last convolution, (N, H, W, width). `inputs` is the same as in `call`."""
        return walk(self.steps[:-1], inputs, lambda step, x: _norm_relu(step.norm, x, training))

    def _fast_to_rgb(self, features: Tensor) -> Tensor:
        """`to_rgb` with a gradient that takes less time."""
        # Not Keras's function: it may return the variable, which a custom gradient does not take.
        kernel = tf.cast(tf.convert_to_tensor(self.to_rgb.kernel), self.compute_dtype)
        z = few_outputs_conv(tf.cast(features, self.compute_dtype), kernel)
        return z + ops.cast(self.to_rgb.bias, self.compute_dtype)

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        return self.picture(self.features(inputs, training), training)

    def picture(self, features: Tensor, training: bool = False) -> Tensor:
        """The enhanced picture, from the input of the last convolution."""
        return self.finish(self._fast_to_rgb(features) if training else self.to_rgb(features))

    def finish(self, z: Tensor) -> Tensor:
        """The picture, from the output of the last convolution."""
        z = ops.cast(z, statistics_dtype(self.compute_dtype))
        return self.tanh_scale * ops.tanh(z) + 0.5 if self.has_tanh else z

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], 3)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "width": self.width,
            "blocks": self.blocks,
            "norm": self.norm,
            "norm_epsilon": self.norm_epsilon,
            "tanh_scale": self.tanh_scale,
            "ending": self.ending,
            "init": self.init,
        }


def _norm_relu(norm: keras.layers.Layer | None, x: Tensor, training: bool) -> Tensor:
    if isinstance(norm, InstanceNormalization):
        return norm(x, training=training, relu=True)
    if isinstance(norm, keras.layers.BatchNormalization):
        x = norm(x, training=training)
    elif norm is not None:
        x = norm(x)
    return ops.relu(x)
