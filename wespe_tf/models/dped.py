"""DPED: the authors' supervised training, for comparison (Ignatov et al. 2017, and their code).

First come the losses that `wespe_tf.losses` does not have. Pictures are (N, H, W, C) in [0, 1].
Every loss is a scalar in its inputs' dtype.
"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from .. import losses
from .discriminator import Discriminator
from .generator import Generator
from .layers import Shape, Tensor, statistics_dtype
from .vgg import VGGFeatures
from .views import GaussianBlur, Grayscale

# The values that `DPED.test_step` averages over batches, as in a line of the authors' log.
TEST_VALUES = ("generator", "content", "color", "texture", "tv", "psnr", "accuracy")


def color_loss(enhanced_blurred: Tensor, dslr_blurred: Tensor) -> Tensor:
    """Σ(blur(y) − blur(e))² / 2N: a sum over the pixels, a mean over the pictures, halved.

    Args:
        enhanced_blurred: (N, H, W, 3) tensor.
        dslr_blurred: the same shape.

    Returns:
        Scalar.
    """
    pictures = ops.cast(ops.shape(dslr_blurred)[0], dslr_blurred.dtype)
    return ops.sum(ops.square(dslr_blurred - enhanced_blurred)) / (2 * pictures)


def discriminator_loss(probabilities: Tensor, swaps: Tensor) -> Tensor:
    """−Σ target·log(clip(probability, 1e-10, 1)), summed over the batch.

    Args:
        probabilities: (N, 2) softmax outputs for [real, fake].
        swaps: (N, 1) tensor; 1 if the discriminator saw the DSLR's picture, 0 if it saw the
            enhanced one.

    Returns:
        Scalar; N·ln 2 for a random guess. The generator's texture loss is its negative.
    """
    return -ops.sum(targets(swaps) * ops.log(ops.clip(probabilities, 1e-10, 1.0)))


def discriminator_accuracy(probabilities: Tensor, swaps: Tensor) -> Tensor:
    """Share of the pictures that D judges correctly: the larger output is the right one.

    Args:
        probabilities: see `discriminator_loss`.
        swaps: see `discriminator_loss`.

    Returns:
        Scalar in [0, 1].
    """
    right = ops.argmax(probabilities, axis=-1) == ops.argmax(targets(swaps), axis=-1)
    return ops.mean(ops.cast(right, probabilities.dtype))


def psnr(enhanced: Tensor, dslr: Tensor) -> Tensor:
    """20·log10(1/√MSE) of the whole batch, unclipped, decibels.

    Args:
        enhanced: (N, H, W, 3) tensor.
        dslr: the same shape.

    Returns:
        Scalar.
    """
    return -10 * ops.log10(ops.mean(ops.square(dslr - enhanced)))


def targets(swaps: Tensor) -> Tensor:
    """[adv, 1 − adv]: what the discriminator should answer, (N, 2)."""
    return ops.concatenate([swaps, 1 - swaps], axis=-1)


def authors_adam(learning_rate: float = 5e-4) -> keras.optimizers.Optimizer:
    """The authors' optimizer: TensorFlow 1's Adam, ε 1e-8 (Keras's default is 1e-7).

    Both β are rounded to float32. TensorFlow 1 uses the rounded values everywhere. Keras computes
    powers of β in float32 and the rest with Python's floats. So with an unrounded 0.999 its steps
    would be off by 2e-5, and training amplifies this.

    Args:
        learning_rate: step size.

    Returns:
        A Keras optimizer.
    """
    return keras.optimizers.Adam(
        learning_rate,
        beta_1=float(np.float32(0.9)),
        beta_2=float(np.float32(0.999)),
        epsilon=1e-8,
    )


class DPED(keras.Model):
    """Trains a generator G on pairs of patches: a phone's x and a DSLR's y of the same scene.

    With e = G(x) and one discriminator D on grayscale pictures:

        content   φ(e) resembles φ(y)      (φ: VGG-19 features)
        color     blur(e) resembles blur(y)
        texture   D(gray(e)) says "real"
        tv        e is smooth

    An iteration is a step of G on one batch, then a step of D on another batch, with the updated G.
    After `compile`, train it with `fit` on elements (x and y of G's batch, x and y of D's batch,
    swaps). `evaluate` takes elements (x, y, swaps). Pictures are uint8. `swaps` is an (N, 1) array:
    0 if D sees e of a pair, 1 if it sees y.

    Args:
        generator: G, a `Generator`.
        discriminator: D, a `Discriminator` with head `"two_class_softmax"`.
        vgg: φ, a `VGGFeatures`.
        w_content: weight of the content loss.
        w_color: weight of the color loss.
        w_texture: weight of the texture loss.
        w_tv: weight of the total variation loss.

    Raises:
        ValueError: if the discriminator has another head.
    """

    def __init__(
        self,
        generator: Generator,
        discriminator: Discriminator,
        vgg: VGGFeatures,
        *,
        w_content: float = 10.0,
        w_color: float = 0.5,
        w_texture: float = 1.0,
        w_tv: float = 2000.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if discriminator.head != "two_class_softmax":
            raise ValueError(f"head: expected two_class_softmax, got {discriminator.head!r}")
        self.generator = generator
        self.discriminator = discriminator
        self.vgg = vgg
        self.w_content = w_content
        self.w_color = w_color
        self.w_texture = w_texture
        self.w_tv = w_tv
        self.loss_dtype = statistics_dtype(self.compute_dtype)
        self.blur = GaussianBlur("dped_code", dtype=self.loss_dtype)
        self.grayscale = Grayscale(dtype=self.loss_dtype)
        self.means = [keras.metrics.Mean(name, dtype=self.loss_dtype) for name in TEST_VALUES]

    def compile(
        self,
        generator_optimizer: keras.optimizers.Optimizer,
        discriminator_optimizer: keras.optimizers.Optimizer,
    ) -> None:
        """Sets the optimizers of G and D. The authors use `authors_adam` for each."""
        super().compile(jit_compile=False)
        self.generator_optimizer = generator_optimizer
        self.discriminator_optimizer = discriminator_optimizer

    def build(self, input_shape: Shape) -> None:
        """Builds networks for patches of `input_shape` = (N, H, W, 3), and the optimizers."""
        gray_shape = (*input_shape[:-1], 1)
        for network, shape in ((self.generator, input_shape), (self.discriminator, gray_shape)):
            if not network.built:  # A generator from a checkpoint is built already.
                network.build(shape)
        self.generator_optimizer.build(self.generator.trainable_variables)
        self.discriminator_optimizer.build(self.discriminator.trainable_variables)
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        """Enhances pictures with G."""
        return self.generator(inputs)

    def judge(self, enhanced: Tensor, dslr: Tensor, swaps: Tensor, training: bool) -> Tensor:
        """D's probabilities of [real, fake], (N, 2). D sees e if `swaps` is 0, and y if it is 1."""
        swaps = ops.reshape(swaps, (-1, 1, 1, 1))
        seen = self.grayscale(enhanced) * (1 - swaps) + self.grayscale(dslr) * swaps
        return self.discriminator.probabilities(self.discriminator(seen, training=training))

    def compute_losses(
        self, phone: Tensor, dslr: Tensor, swaps: Tensor, training: bool
    ) -> dict[str, Tensor]:
        """The generator's losses on one batch, and how well D judges it.

        Args:
            phone: (N, H, W, 3) tensor x in [0, 1].
            dslr: (N, H, W, 3) tensor y in [0, 1].
            swaps: (N, 1) tensor of 0 and 1; all 0 when the generator trains.
            training: whether running statistics are updated.

        Returns:
            Dictionary of scalars, named as in `TEST_VALUES`; `generator` is the weighted sum.
        """
        enhanced = self.generator(phone, training=training)
        probabilities = self.judge(enhanced, dslr, swaps, training)

        # The authors write content as 2·l2(φ(e) − φ(y)) / (size of φ(y)), and tv likewise for
        # each direction, with l2(v) = Σv²/2: means of squares. φ(y) costs no backward pass.
        content = losses.content_vgg(self.vgg(enhanced), self.vgg(dslr), normalize=False)
        color = color_loss(self.blur(enhanced), self.blur(dslr))
        texture = -discriminator_loss(probabilities, swaps)
        tv = losses.total_variation(enhanced)
        return {
            "generator": (
                self.w_content * content
                + self.w_texture * texture
                + self.w_color * color
                + self.w_tv * tv
            ),
            "content": content,
            "color": color,
            "texture": texture,
            "tv": tv,
            "psnr": psnr(enhanced, dslr),
            "accuracy": discriminator_accuracy(probabilities, swaps),
        }

    def train_step(self, data: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """A step of the generator, then a step of the discriminator on the other batch.

        Returns:
            Dictionary of scalars, each computed before the step of its network: those of
            `compute_losses` for the generator's batch; for the discriminator's batch its
            `accuracy`, and its loss `texture_disc`.
        """
        phone, dslr, other_phone, other_dslr, swaps = self.unpack(data)

        variables = self.generator.trainable_variables
        with tf.GradientTape() as tape:
            values = self.compute_losses(phone, dslr, ops.zeros_like(swaps), training=True)
            loss = self.generator_optimizer.scale_loss(values["generator"])
        self.generator_optimizer.apply(tape.gradient(loss, variables), variables)

        enhanced = self.generator(other_phone, training=True)
        variables = self.discriminator.trainable_variables
        with tf.GradientTape() as tape:
            probabilities = self.judge(enhanced, other_dslr, swaps, training=True)
            texture_disc = discriminator_loss(probabilities, swaps)
            loss = self.discriminator_optimizer.scale_loss(texture_disc)
        self.discriminator_optimizer.apply(tape.gradient(loss, variables), variables)

        accuracy = discriminator_accuracy(probabilities, swaps)
        return {**values, "texture_disc": texture_disc, "accuracy": accuracy}

    def test_step(self, data: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """The losses, PSNR and accuracy of a batch (x, y, swaps).

        Returns:
            Dictionary of their means over the batches since the evaluation began.
        """
        phone, dslr, swaps = self.unpack(data)
        values = self.compute_losses(phone, dslr, swaps, training=False)
        for mean in self.means:
            mean.update_state(values[mean.name])
        return {mean.name: mean.result() for mean in self.means}

    def unpack(self, data: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Converts uint8 pictures to [0, 1] in the losses' dtype; the swaps come last."""
        *pictures, swaps = (ops.cast(tensor, self.loss_dtype) for tensor in data)
        return (*(p / 255.0 for p in pictures), swaps)
