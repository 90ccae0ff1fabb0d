"""Names that settings and networks share: the networks' options, and the losses.

`--help` prints the settings without building a network, so this module imports none.
"""

from typing import NamedTuple

GENERATOR_NORMS = ("instance", "batch", "layer", "none")
DISCRIMINATOR_NORMS = ("instance", "batch", "layer", "spectral", "affine", "none")
KERNEL_STARTS = ("truncated_normal", "kaiming_uniform", "glorot", "torch_default")
GENERATOR_STARTS = ("identity", *KERNEL_STARTS)
HEADS = ("two_class_sigmoid", "two_class_softmax", "one_class_sigmoid")
ORDERS = ("activation_norm", "norm_activation")
BLURS = ("dped_code", "paper", "unnormalised")
TEXTURE_VIEWS = ("grayscale", "luma", "detail")
COLOR_VIEWS = (*BLURS, "none")
TV_FORMS = ("mean", "by_values", "absolute")
SMOOTHED_LABELS = ("ones", "both")
ADAMS = ("tensorflow", "pytorch")
VGG_NORMS = ("none", "batch")


class Ending(NamedTuple):
    """What follows the residual blocks of a generator.

    Attributes:
        convolutions: number of 3×3 convolutions, each with a ReLU.
        last_size: side of the last convolution's kernel.
        has_tanh: whether tanh follows the last convolution.
    """

    convolutions: int
    last_size: int
    has_tanh: bool


# dped: the authors'; plain: that of WESPE-TF (docs/AUTHORS_CODE.md).
GENERATOR_ENDINGS = {"dped": Ending(2, 9, True), "plain": Ending(3, 1, False)}


class DiscriminatorLayers(NamedTuple):
    """The layers of a discriminator. Each attribute is an option of `Discriminator`.

    Attributes:
        layers: output channels, kernel size and stride of each convolution. A fourth number is the
            count of zeros on each side, instead of SAME padding.
        dense: units of the hidden dense layer, 0 for none.
        first_norm: whether the first convolution has a norm, as the others have.
        pooled: whether the dense layer sees the mean of each channel instead of all places.
        dense_norm: whether the dense layer has a layer norm instead of a bias.
    """

    layers: tuple[tuple[int, ...], ...]
    dense: int
    first_norm: bool = False
    pooled: bool = False
    dense_norm: bool = False


# fine: these see the texture of single pixels, which a first stride of 4 skips. report: those of
# the report's code (REPRODUCTION.md), with PyTorch's padding.
DISCRIMINATOR_LAYERS = {
    "dped": DiscriminatorLayers(
        ((48, 11, 4), (128, 5, 2), (192, 3, 1), (192, 3, 1), (128, 3, 2)), 1024
    ),
    "fine": DiscriminatorLayers(((32, 5, 1), (64, 5, 2), (128, 3, 2), (128, 3, 1)), 0),
    "report": DiscriminatorLayers(
        ((32, 11, 4, 5), (64, 5, 2, 2), (128, 3, 1, 1), (128, 3, 1, 1), (128, 3, 2, 1)),
        dense=128,
        first_norm=True,
        pooled=True,
        dense_norm=True,
    ),
}
# The same without the norm after the first convolution, to show what this norm does.
DISCRIMINATOR_LAYERS["report_later_norms"] = DISCRIMINATOR_LAYERS["report"]._replace(
    first_norm=False
)
CONTENT_PAIRS = ("source", "enhanced")
VGG_CONVOLUTIONS = (2, 2, 4, 4, 4)
VGG_LAYERS = tuple(
    f"relu{block}_{k}"
    for block, count in enumerate(VGG_CONVOLUTIONS, 1)
    for k in range(1, count + 1)
)


class Loss(NamedTuple):
    """A loss of the generators, as the settings show it.

    Attributes:
        weight: default weight; the paper's, if the paper has the loss.
        meaning: what the loss demands; x is a source picture, G(x) the enhanced one.
        always: whether it is computed and logged even if its weight is 0.
    """

    weight: float
    meaning: str
    always: bool = False


# For each name, the setting is w_<name>, the log's column and the curve are <name>, and the method
# of `WESPE` is <name>_loss.
LOSSES = {
    "content": Loss(1.0, "F maps G(x) back to x"),
    "color": Loss(5e-3, "the color discriminator cannot tell G(x) from target pictures"),
    "texture": Loss(5e-3, "the texture discriminator cannot tell G(x) from target pictures"),
    "tv": Loss(10.0, "G(x) is smooth (total variation)", always=True),
    "guide": Loss(
        0.0, "G(x) stays near the guide: color transfer and detail filter between the folders"
    ),
}
