"""Frozen VGG-19 up to one of its ReLUs. The content loss compares its features."""

from typing import Any

import keras
from keras import ops

from .layers import BatchStatistics, Shape, Tensor, statistics_dtype
from .options import VGG_CONVOLUTIONS, VGG_LAYERS, VGG_NORMS

CHANNELS = (64, 128, 256, 512, 512)
STYLES = ("keras", "matconvnet", "torchvision", "report")
MEAN_RGB = (123.68, 116.779, 103.939)
# Those of torchvision, for pictures in [0, 1].
TORCHVISION_MEAN, TORCHVISION_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class VGGFeatures(keras.Model):
    """Features of VGG-19 after a chosen ReLU. The weights are frozen.

    Pictures are scaled to 0–255, and ImageNet's means are subtracted. The rest depends on the
    origin of the weights:

        keras        channels in BGR; max pooling 2×2 drops an odd last row or column (VALID)
        matconvnet   channels in RGB; max pooling keeps it (SAME): 100 → 50 → 25 → 13 → 7; this is
                     what DPED's code does
        torchvision  channels in RGB and [0, 1], minus the means, divided by the standard
                     deviations; pooling as in Keras
        report       as the report's code does (REPRODUCTION.md): channels in RGB, 0–255, minus the
                     means in the order of BGR; pooling as in Keras

    Args:
        layer: `"relu1_1"` … `"relu5_4"`; later layers are not built.
        style: `"keras"`, `"matconvnet"`, `"torchvision"` or `"report"`.
        norm: `"none"`; or `"batch"`: batch norm between convolution and ReLU, with the statistics
            of each call's input, as in the report's code.

    Call arguments:
        inputs: (N, H, W, 3) RGB tensor in [0, 1].

    Returns:
        (N, h, w, C) tensor, float32 (float64 under a float64 policy).

    Raises:
        ValueError: if an option is not in these lists.
    """

    def __init__(self, layer: str, style: str = "keras", norm: str = "none", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if layer not in VGG_LAYERS:
            raise ValueError(f"layer: expected one of {', '.join(VGG_LAYERS)}, got {layer!r}")
        if style not in STYLES:
            raise ValueError(f"style: expected one of {', '.join(STYLES)}, got {style!r}")
        if norm not in VGG_NORMS:
            raise ValueError(f"norm: expected one of {', '.join(VGG_NORMS)}, got {norm!r}")
        self.style = style
        last_block, last_conv = int(layer[4]), int(layer[6])
        self.convs = [
            [
                keras.layers.Conv2D(
                    CHANNELS[block - 1],
                    3,
                    padding="same",
                    activation="relu" if norm == "none" else None,
                    kernel_initializer="he_normal",
                    dtype=self.dtype_policy,
                    name=f"block{block}_conv{k}",
                )
                for k in range(1, (last_conv if block == last_block else count) + 1)
            ]
            for block, count in enumerate(VGG_CONVOLUTIONS[:last_block], 1)
        ]
        self.norms = {}
        if norm == "batch":
            for conv in self.conv_layers():
                name = conv.name.replace("conv", "norm")
                self.norms[conv.name] = BatchStatistics(1e-5, name=name, dtype=self.dtype_policy)
        self.trainable = False

    def build(self, input_shape: Shape | None) -> None:
        channels = 3
        for conv in self.conv_layers():
            conv.build((None, None, None, channels))
            channels = conv.filters
            if self.norms:
                self.norms[conv.name].build((None, None, None, channels))

    def conv_layers(self) -> list[keras.layers.Conv2D]:
        """The convolutions in order, as a flat list."""
        return [conv for block in self.convs for conv in block]

    def call(self, inputs: Tensor) -> Tensor:
        if self.style == "torchvision":
            x = inputs - ops.convert_to_tensor(TORCHVISION_MEAN, dtype=inputs.dtype)
            x = x / ops.convert_to_tensor(TORCHVISION_DEVIATION, dtype=inputs.dtype)
        else:
            mean = MEAN_RGB[::-1] if self.style == "report" else MEAN_RGB
            x = inputs * 255.0 - ops.convert_to_tensor(mean, dtype=inputs.dtype)
        if self.style == "keras":
            x = x[..., ::-1]
        padding = "same" if self.style == "matconvnet" else "valid"
        x = ops.cast(x, self.compute_dtype)
        for block, convs in enumerate(self.convs):
            if block > 0:
                x = ops.max_pool(x, 2, 2, padding)
            for conv in convs:
                x = conv(x)
                if self.norms:
                    x = self.norms[conv.name](x, relu=True)
        return ops.cast(x, statistics_dtype(self.compute_dtype))
