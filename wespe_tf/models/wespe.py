"""WESPE: two generators, two discriminators, and one training step (paper, section 3)."""

import keras
import tensorflow as tf
from keras import ops

from .. import losses
from .layers import GaussianBlur, Grayscale, statistics_dtype


class WESPE(keras.Model):
    """Trains a generator G on unpaired pictures against a color and a texture discriminator.

    G maps a source picture x to its enhanced version ŷ, the inverse generator F maps it back.
    D_c judges blurred pictures, D_t grayscale ones; y is a target picture, not paired with x:

        content   F(ŷ) resembles x            (VGG-19 features, or pixels)
        color     D_c(blur(ŷ)) says "real"
        texture   D_t(gray(ŷ)) says "real"
        tv        ŷ is smooth

    An extra beyond the paper keeps tone and color from drifting: with `w_guide`, a
    fifth loss compares ŷ with the guide, a first guess such as a `ColorTransfer` of x:

        guide     blur(ŷ) resembles blur(guide)

    Train it with `fit` on a dataset of batches (x, y) or (x, y, guide) of uint8 pictures after
    `compile`.

    Args:
        generator: G, a `Generator`.
        inverse_generator: F, a `Generator`.
        color_discriminator: D_c, a `Discriminator`.
        texture_discriminator: D_t, a `Discriminator`.
        vgg: a `VGGFeatures` for the content loss, or None to compare pixels.
        content_normalise: see `losses.content_vgg`.
        blur: kernel of the color discriminator's view, see `layers.blur_profile`.
        border: pixels along each edge of the patches that no loss and no discriminator sees:
            what zero padding spoils there would tell enhanced pictures from target ones.
        w_content: weight of the content loss.
        w_color: weight of the color loss.
        w_texture: weight of the texture loss.
        w_tv: weight of the total variation loss.
        w_guide: weight of the guide loss; batches need a guide where it is not 0.
    """

    def __init__(
        self,
        generator,
        inverse_generator,
        color_discriminator,
        texture_discriminator,
        vgg=None,
        *,
        content_normalise=False,
        blur="paper",
        border=0,
        w_content=1.0,
        w_color=5e-3,
        w_texture=5e-3,
        w_tv=10.0,
        w_guide=0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.generator = generator
        self.inverse_generator = inverse_generator
        self.color_discriminator = color_discriminator
        self.texture_discriminator = texture_discriminator
        self.vgg = vgg
        self.content_normalise = content_normalise
        self.border = border
        self.w_content = w_content
        self.w_color = w_color
        self.w_texture = w_texture
        self.w_tv = w_tv
        self.w_guide = w_guide
        self.loss_dtype = statistics_dtype(self.compute_dtype)
        self.blur = GaussianBlur(blur, dtype=self.loss_dtype)
        self.grayscale = Grayscale(dtype=self.loss_dtype)

    def compile(self, generator_optimizer, discriminator_optimizer):
        """Sets the optimizers: one for G and F, one for D_c and D_t."""
        super().compile(jit_compile=False)
        self.generator_optimizer = generator_optimizer
        self.discriminator_optimizer = discriminator_optimizer

    def build(self, input_shape):
        """Builds networks for patches of `input_shape` = (N, H, W, 3), and the optimizers."""
        batch, height, width, _ = input_shape
        seen = (batch, height - 2 * self.border, width - 2 * self.border)
        self.generator.build(input_shape)
        self.inverse_generator.build(input_shape)
        self.color_discriminator.build((*seen, 3))
        self.texture_discriminator.build((*seen, 1))
        self.generator_optimizer.build(self.generator_variables)
        self.discriminator_optimizer.build(self.discriminator_variables)
        self.built = True

    @property
    def metrics(self):
        """None: the progress bar shows the losses as `train_step` returns them."""
        return []

    @property
    def generator_variables(self):
        """Trainable variables of G and F."""
        return self.generator.trainable_variables + self.inverse_generator.trainable_variables

    @property
    def discriminator_variables(self):
        """Trainable variables of D_c and D_t."""
        return (
            self.color_discriminator.trainable_variables
            + self.texture_discriminator.trainable_variables
        )

    def call(self, inputs):
        """Enhances pictures: G."""
        return self.generator(inputs)

    def compute_losses(self, source, target, guide=None, *, training):
        """All losses of one pair of batches, from one pass through each network.

        Args:
            source: (N, H, W, 3) tensor of phone pictures x in [0, 1].
            target: (N, H, W, 3) tensor of target pictures y in [0, 1].
            guide: (N, H, W, 3) tensor in [0, 1], needed where `w_guide` is not 0.
            training: whether running statistics are updated.

        Returns:
            Dictionary of scalars: `content`, `color`, `texture`, `tv`, `guide` (0 where it has no
            weight), their weighted sum `generator`, and the discriminators' `color_disc` and
            `texture_disc`.
        """
        enhanced = self.generator(source, training=training)
        reconstructed = self.inverse_generator(enhanced, training=training)

        source, target, enhanced, reconstructed = (
            self.inner(pictures) for pictures in (source, target, enhanced, reconstructed)
        )
        blurred = self.blur(enhanced)
        content = self.content_loss(reconstructed, source)
        tv = losses.total_variation(enhanced)
        guide = self.guide_loss(blurred, guide)
        color, color_disc = self.adversarial_losses(
            self.color_discriminator, blurred, self.blur(target), training
        )
        texture, texture_disc = self.adversarial_losses(
            self.texture_discriminator, self.grayscale(enhanced), self.grayscale(target), training
        )
        return {
            "generator": (
                self.w_content * content
                + self.w_color * color
                + self.w_texture * texture
                + self.w_tv * tv
                + self.w_guide * guide
            ),
            "content": content,
            "color": color,
            "texture": texture,
            "tv": tv,
            "guide": guide,
            "color_disc": color_disc,
            "texture_disc": texture_disc,
        }

    def inner(self, pictures):
        """Pictures without the `border` pixels along each edge."""
        if self.border == 0:
            return pictures
        return pictures[:, self.border : -self.border, self.border : -self.border]

    def content_loss(self, reconstructed, source):
        """Content loss between F(G(x)) and x."""
        if self.vgg is None:
            return losses.mean_absolute_difference(reconstructed, source)
        # x depends on no variable, so its features cost no backward pass.
        return losses.content_vgg(self.vgg(reconstructed), self.vgg(source), self.content_normalise)

    def guide_loss(self, blurred, guide):
        """Guide loss between the blurred G(x) and the guide, blurred here."""
        if self.w_guide == 0:
            return ops.zeros((), dtype=blurred.dtype)
        return losses.mean_absolute_difference(blurred, self.blur(self.inner(guide)))

    def adversarial_losses(self, discriminator, fake, real, training):
        """The generator's and the discriminator's loss from one look at `fake` and `real`."""
        fake_logits = discriminator(fake, training=training)
        real_logits = discriminator(real, training=training)
        return (
            losses.adversarial_loss(fake_logits, True, discriminator.head),
            losses.discriminator_loss(real_logits, fake_logits, discriminator.head),
        )

    def train_step(self, data):
        """One iteration: all four networks' gradients from one pass, then both optimizers."""
        pictures = self.unpack(data)
        with tf.GradientTape(persistent=True) as tape:
            values = self.compute_losses(*pictures, training=True)
            generator_loss = self.generator_optimizer.scale_loss(values["generator"])
            discriminators_loss = self.discriminator_optimizer.scale_loss(
                values["color_disc"] + values["texture_disc"]
            )
        for loss, variables, optimizer in (
            (generator_loss, self.generator_variables, self.generator_optimizer),
            (discriminators_loss, self.discriminator_variables, self.discriminator_optimizer),
        ):
            optimizer.apply(tape.gradient(loss, variables), variables)
        return values

    def test_step(self, data):
        """The same losses without training anything."""
        return self.compute_losses(*self.unpack(data), training=False)

    def unpack(self, data):
        """Pictures as uint8 → as [0, 1] in the losses' dtype."""
        return tuple(ops.cast(pictures, self.loss_dtype) / 255.0 for pictures in data)
