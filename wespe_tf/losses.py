"""The losses of WESPE, each one a pure function of tensors.

Pictures are (N, H, W, C) in [0, 1]. Every function returns a scalar in its inputs' dtype, which
should be float32 or float64. REPRODUCTION.md, "The objective", has definitions and divisors.
"""

from collections.abc import Callable
from typing import Any

from keras import ops

# A tensor of any backend, or a NumPy array. Keras has no common type for them.
Tensor = Any

# `invented_detail`: the standard deviation of noise; and the weight of a place without any known
# detail, where a place with strong detail has 1.
NOISE, FLAT_WEIGHT = 3 / 255, 5.0


def adversarial_loss(
    logits: Tensor,
    judged_real: bool,
    head: str,
    confidence: float | Tensor = 1.0,
    doubt: float | Tensor = 0.0,
) -> Tensor:
    """Cross-entropy of a discriminator's logits against "real" or "fake", mean over the batch.

    It is BCE(D(·), real) in the paper's equations. The target is [1, 0] for real and [0, 1] for
    fake; with one output it is [1] or [0].

    Args:
        logits: (N, 2) tensor, or (N, 1) for the one-class head.
        judged_real: whether the target is "real".
        head: `"two_class_sigmoid"` or `"one_class_sigmoid"` (binary cross-entropy, mean over
            batch and outputs), or `"two_class_softmax"` (categorical cross-entropy).
        confidence: value that replaces 1 in the target. A value below 1 smooths the labels.
        doubt: value that replaces 0 in the target.

    Returns:
        Scalar. With the default target it is at least 0, and ln 2 for a random guess.
    """
    target = [1.0, 0.0] if judged_real else [0.0, 1.0]
    target = ops.convert_to_tensor(target[: logits.shape[-1]], dtype=logits.dtype)
    target = doubt + (confidence - doubt) * target
    if head == "two_class_softmax":
        return -ops.mean(ops.sum(target * ops.log_softmax(logits), axis=-1))
    # max(z, 0) − z·t + log(1 + exp(−|z|)): binary cross-entropy that never overflows.
    return ops.mean(ops.relu(logits) - logits * target + ops.softplus(-ops.abs(logits)))


def discriminator_loss(
    real_logits: Tensor,
    fake_logits: Tensor,
    head: str,
    confidence: float | Tensor = 1.0,
    doubt: float | Tensor = 0.0,
) -> Tensor:
    """BCE(D(real), real) + BCE(D(fake), fake): the loss that D_c and D_t each minimize.

    Args:
        real_logits: logits for target pictures.
        fake_logits: logits for enhanced pictures.
        head: see `adversarial_loss`.
        confidence: see `adversarial_loss`.
        doubt: see `adversarial_loss`.

    Returns:
        Scalar; 2·ln 2 for a random guess.
    """
    real = adversarial_loss(real_logits, True, head, confidence, doubt)
    return real + adversarial_loss(fake_logits, False, head, confidence, doubt)


def content_vgg(
    reconstructed_features: Tensor,
    source_features: Tensor,
    normalize: bool,
    mean: Callable[[Tensor], Tensor] = ops.mean,
) -> Tensor:
    """Mean squared difference of the VGG-19 features of F(G(x)) and of x.

    Args:
        reconstructed_features: (N, h, w, C) tensor.
        source_features: the same shape.
        normalize: whether to divide by the mean square of `source_features`. Then the loss is about
            1 for unrelated pictures, with every layer (raw values are 1e4 to 1e6).
        mean: function of a tensor that computes this divisor; with several devices it is the mean
            over all of them.

    Returns:
        Scalar.
    """
    loss = ops.mean(ops.square(reconstructed_features - source_features))
    if normalize:
        loss = loss / mean(ops.square(source_features))
    return loss


def mean_absolute_difference(pictures: Tensor, reference: Tensor) -> Tensor:
    """Mean absolute difference of two pictures.

    For F(G(x)) and x, it is the loss `content` in pixels, CycleGAN's cycle loss. For the blurred
    G(x) and the blurred `Guide` of x, it is the loss `guide`.

    Args:
        pictures: (N, H, W, C) tensor.
        reference: the same shape.

    Returns:
        Scalar.
    """
    return ops.mean(ops.abs(pictures - reference))


def invented_detail(detail: Tensor, known: Tensor, average: Callable[[Tensor], Tensor]) -> Tensor:
    """Weighted mean absolute value of the fine detail that is not a multiple of known detail.

    At each place, the factor is the best one in the least-squares sense around it, the same for all
    colors. So detail may become stronger or weaker without a loss, but not another detail. Where
    the known detail is weaker than `NOISE`, the factor goes to 0. So all detail counts there, and
    with a larger weight, because the same detail is seen more clearly in a flat area.

    Args:
        detail: (N, H, W, C) tensor, the fine part of pictures, as of `views.fine_part`.
        known: the same shape, the fine part of pictures that show what is there.
        average: function from a tensor to its local averages, of a shape that fits.

    Returns:
        Scalar. The factors count as constants for gradients.
    """
    common, power = (
        ops.mean(average(product), axis=-1, keepdims=True)
        for product in (detail * known, ops.square(known))
    )
    factor = ops.stop_gradient(common / (power + NOISE**2))
    weight = 1 + (FLAT_WEIGHT - 1) * NOISE**2 / (power + NOISE**2)
    return ops.mean(weight * ops.abs(detail - factor * known))


def total_variation(pictures: Tensor, form: str = "mean") -> Tensor:
    """Mean squared horizontal difference plus mean squared vertical difference.

    Args:
        pictures: (N, H, W, C) tensor.
        form: `"mean"`; or `"by_values"`, as in the report's code: both sums are divided by the
            number of values, which is larger than the number of differences; or `"absolute"`, as
            in WESPE-TF (docs/AUTHORS_CODE.md): each picture's sum of absolute differences, as a
            mean over pictures.

    Returns:
        Scalar.
    """
    horizontal = pictures[:, :, 1:] - pictures[:, :, :-1]
    vertical = pictures[:, 1:] - pictures[:, :-1]
    if form == "absolute":
        differences = ops.sum(ops.abs(horizontal)) + ops.sum(ops.abs(vertical))
        return differences / ops.cast(ops.shape(pictures)[0], pictures.dtype)
    if form == "by_values":
        squares = ops.sum(ops.square(horizontal)) + ops.sum(ops.square(vertical))
        return squares / ops.cast(ops.size(pictures), pictures.dtype)
    return ops.mean(ops.square(horizontal)) + ops.mean(ops.square(vertical))
