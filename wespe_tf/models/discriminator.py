"""The discriminator. WESPE's D_c (color) and D_t (texture) are discriminators."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from .layers import (
    PACKAGE,
    SpectralNormalization,
    Tensor,
    make_initializers,
    make_norm,
    statistics_dtype,
)
from .options import DISCRIMINATOR_LAYERS, DISCRIMINATOR_NORMS, HEADS, ORDERS

DPED = DISCRIMINATOR_LAYERS["dped"]


@keras.saving.register_keras_serializable(PACKAGE)
class Discriminator(keras.Model):
    """Convolutions and two dense layers that decide whether a patch is real or enhanced.

    Its parts are: convolution → LeakyReLU 0.2 → norm (the first convolution has no norm); flatten;
    dense 1024 + LeakyReLU; dense to one or two outputs. Source: DPED's code.
    `DISCRIMINATOR_LAYERS` has other layers. "Report-code" is the code of the report
    (REPRODUCTION.md).

    With `dense=0`, a 3×3 convolution replaces the dense layers. It judges every place of the last
    feature map separately, as in Isola et al.'s PatchGAN, so one picture gives many examples.

    Args:
        layers: output channels, kernel size and stride of each convolution. A fourth number is the
            count of zeros on each side, instead of SAME padding.
        width_multiplier: factor on the channels and on `dense`; the products are rounded.
        dense: units of the hidden dense layer, or 0.
        first_norm: whether the first convolution has a norm too, as in report-code.
        pooled: whether the mean over the last feature map replaces `flatten`.
        dense_norm: whether the hidden dense layer has a layer norm instead of its bias.
        head: `"two_class_sigmoid"` (outputs for [real, fake], each a sigmoid: the report),
            `"two_class_softmax"` (DPED's code) or `"one_class_sigmoid"` (real).
        norm: `"instance"`, `"batch"`, `"layer"`, `"spectral"` (every kernel is divided by its
            largest singular value: Keras's `SpectralNormalization`), `"affine"` (a learned scale
            and shift, without statistics: WESPE-TF, see docs/AUTHORS_CODE.md) or `"none"`.
        norm_epsilon: added to the variance.
        order: `"activation_norm"` (convolution → LeakyReLU → norm: DPED's code) or
            `"norm_activation"` (convolution → norm → LeakyReLU: report-code).
        init: `"truncated_normal"`, `"kaiming_uniform"`, `"glorot"` or `"torch_default"`.

    Call arguments:
        inputs: (N, H, W, C) tensor; height and width are fixed at the first call.

    Returns:
        Logits, (N, 2) or (N, 1); with `dense=0`, (N, h, w, 2) or (N, h, w, 1). They are float32
        (float64 under a float64 policy). `probabilities` turns them into what `head` names.

    Raises:
        ValueError: if an option is not in these lists.
    """

    def __init__(
        self,
        layers: Sequence[Sequence[int]] = DPED.layers,
        width_multiplier: float = 1.0,
        dense: int | None = DPED.dense,
        first_norm: bool = False,
        pooled: bool = False,
        dense_norm: bool = False,
        head: str = "two_class_sigmoid",
        norm: str = "instance",
        norm_epsilon: float = 1e-3,
        order: str = "activation_norm",
        init: str = "truncated_normal",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if head not in HEADS:
            raise ValueError(f"head: expected one of {', '.join(HEADS)}, got {head!r}")
        if norm not in DISCRIMINATOR_NORMS:
            raise ValueError(
                f"norm: expected one of {', '.join(DISCRIMINATOR_NORMS)}, got {norm!r}"
            )
        if order not in ORDERS:
            raise ValueError(f"order: expected one of {', '.join(ORDERS)}, got {order!r}")
        self.conv_layers = tuple(tuple(layer) for layer in layers)
        self.width_multiplier = width_multiplier
        self.dense = dense
        self.first_norm = first_norm
        self.pooled = pooled
        self.dense_norm = dense_norm
        self.head = head
        self.norm = norm
        self.norm_epsilon = norm_epsilon
        self.order = order
        self.init = init
        self.initializers = make_initializers(init)

    def build(self, input_shape: tuple[Any, ...]) -> None:
        # The layers are made here, because torch_default needs each layer's fan-in.
        def wrap(layer: keras.layers.Layer) -> keras.layers.Layer:
            if self.norm == "spectral":
                # In full precision: it replaces the kernel by the divided kernel. Rounded to the 8
                # bits of bfloat16, that kernel would lose the optimizer's small steps.
                return SpectralNormalization(
                    layer,
                    name=f"spectral_{layer.name}",
                    dtype=statistics_dtype(self.compute_dtype),
                )
            return layer

        shape = tuple(input_shape)
        self.convs, self.norms = [], []
        for k, (outputs, size, stride, *zeros) in enumerate(self.conv_layers):
            kernel_init, bias_init = self.initializers(size * size * shape[-1])
            conv = wrap(
                keras.layers.Conv2D(
                    round(outputs * self.width_multiplier),
                    size,
                    strides=stride,
                    padding="valid" if zeros else "same",
                    kernel_initializer=kernel_init,
                    bias_initializer=bias_init,
                    name=f"conv{k + 1}",
                    dtype=self.dtype_policy,
                )
            )
            conv.build(shape)
            around = 2 * sum(zeros)
            shape = (shape[0], shape[1] + around, shape[2] + around, shape[3])
            shape = conv.compute_output_shape(shape)
            no_norm = (k == 0 and not self.first_norm) or self.norm == "spectral"
            norm = make_norm(
                "none" if no_norm else self.norm,
                f"norm{k + 1}",
                self.norm_epsilon,
                dtype=self.dtype_policy,
            )
            if norm is not None:
                norm.build(shape)
            self.convs.append(conv)
            self.norms.append(norm)

        outputs = 1 if self.head == "one_class_sigmoid" else 2
        if not self.dense:
            kernel_init, bias_init = self.initializers(9 * shape[-1])
            logits = keras.layers.Conv2D(
                outputs,
                3,
                padding="same",
                kernel_initializer=kernel_init,
                bias_initializer=bias_init,
                name="logits",
                dtype=self.dtype_policy,
            )
            self.denses = [wrap(logits)]
            self.denses[0].build(shape)
            self.built = True
            return
        features = shape[3] if self.pooled else shape[1] * shape[2] * shape[3]
        self.denses, self.norm_of_dense = [], None
        for name, units in (
            ("dense", round(self.dense * self.width_multiplier)),
            ("logits", outputs),
        ):
            kernel_init, bias_init = self.initializers(features)
            layer = wrap(
                keras.layers.Dense(
                    units,
                    use_bias=name == "logits" or not self.dense_norm,
                    kernel_initializer=kernel_init,
                    bias_initializer=bias_init,
                    name=name,
                    dtype=self.dtype_policy,
                )
            )
            layer.build((None, features))
            self.denses.append(layer)
            features = units
        if self.dense_norm:
            self.norm_of_dense = keras.layers.LayerNormalization(
                epsilon=self.norm_epsilon, name="norm_of_dense", dtype=self.dtype_policy
            )
            self.norm_of_dense.build((None, self.denses[0].units))
        self.built = True

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        x = inputs
        for (_, _, _, *zeros), conv, norm in zip(self.conv_layers, self.convs, self.norms):
            if zeros:
                x = ops.pad(x, ((0, 0), (zeros[0], zeros[0]), (zeros[0], zeros[0]), (0, 0)))
            x = _apply(conv, x, training)
            if self.order == "activation_norm":
                x = _leaky_relu(x)
            if norm is not None:
                x = _apply(norm, x, training)
            if self.order == "norm_activation":
                x = _leaky_relu(x)
        *hidden, logits = self.denses
        if hidden and self.pooled:
            x = ops.mean(x, axis=(1, 2))
        elif hidden:
            x = ops.reshape(x, (-1, x.shape[1] * x.shape[2] * x.shape[3]))
        for layer in hidden:
            x = _apply(layer, x, training)
            if self.norm_of_dense is not None:
                x = self.norm_of_dense(x)
            x = _leaky_relu(x)
        return ops.cast(_apply(logits, x, training), statistics_dtype(self.compute_dtype))

    def probabilities(self, logits: Tensor) -> Tensor:
        """Turns logits into what `head` names: softmax over two classes, or independent sigmoids.

        Args:
            logits: (..., 2) or (..., 1) tensor, as `call` returns.

        Returns:
            Tensor of the same shape in [0, 1]; column 0 is the probability of being real.
        """
        return ops.softmax(logits) if self.head == "two_class_softmax" else ops.sigmoid(logits)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "layers": self.conv_layers,
            "width_multiplier": self.width_multiplier,
            "dense": self.dense,
            "first_norm": self.first_norm,
            "pooled": self.pooled,
            "dense_norm": self.dense_norm,
            "head": self.head,
            "norm": self.norm,
            "norm_epsilon": self.norm_epsilon,
            "order": self.order,
            "init": self.init,
        }


def _leaky_relu(x: Tensor) -> Tensor:
    # TensorFlow's function has its slope in float32 for all dtypes, an error of 3e-9 in float64.
    return ops.maximum(x, 0.2 * x)


def _apply(layer: keras.layers.Layer, x: Tensor, training: bool) -> Tensor:
    """Calls a layer. Only layers with running state get `training`."""
    stateful = (keras.layers.BatchNormalization, SpectralNormalization)
    return layer(x, training=training) if isinstance(layer, stateful) else layer(x)
