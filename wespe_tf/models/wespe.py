"""WESPE: two generators, two discriminators, and one training step (paper, section 3)."""

import keras
import tensorflow as tf
from keras import ops

from .. import losses
from .layers import GaussianBlur, Grayscale, statistics_dtype

# Who trains in an iteration.
BOTH, GENERATORS, DISCRIMINATORS = TURNS = ("both", "generators", "discriminators")


class WESPE(keras.Model):
    """Trains a generator G on unpaired pictures against a color and a texture discriminator.

    G maps a source picture x to its enhanced version ŷ, the inverse generator F maps it back.
    D_c judges blurred pictures, D_t grayscale ones; y is a target picture, not paired with x:

        content   F(ŷ) resembles x            (VGG-19 features, or pixels)
        color     D_c(blur(ŷ)) says "real"
        texture   D_t(gray(ŷ)) says "real"
        tv        ŷ is smooth

    An extra beyond the paper keeps tone and color from drifting: with `w_guide`, a
    fifth loss compares ŷ with the guide, a closed-form guess (`wespe_tf.guide.guide.Guide`):

        guide     blur(ŷ) resembles blur(guide)

    After `compile` train it with Keras's `fit` or, under a schedule, with
    `wespe_tf.training.loop.fit`, on a dataset of batches (x, y) or (x, y, guide) of uint8 pictures.

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
        content_pair: what F(ŷ) should resemble: `"source"`, x, or `"enhanced"`, ŷ itself, as in
            report-code, where nothing ties ŷ to x.
        content_extra_division: whether to divide the content loss, a mean already, by the number
            of the batch's values, as report-code does.
        label_smoothing: s: "1" in the discriminators' targets becomes 1 − s·U(0, 1), drawn once a
            batch.
        flip_labels: whether the discriminators answer [1, 0] for fake.
        unfreeze_discriminators: whether the generators' step computes the discriminators'
            gradients too, as in the report; they are dropped before the discriminators' own step.
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
        content_pair="source",
        content_extra_division=False,
        label_smoothing=0.0,
        flip_labels=False,
        unfreeze_discriminators=False,
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
        self.content_pair = content_pair
        self.content_extra_division = content_extra_division
        self.label_smoothing = label_smoothing
        self.flip_labels = flip_labels
        self.unfreeze_discriminators = unfreeze_discriminators
        self.w_content = w_content
        self.w_color = w_color
        self.w_texture = w_texture
        self.w_tv = w_tv
        self.w_guide = w_guide
        self.loss_dtype = statistics_dtype(self.compute_dtype)
        self.blur = GaussianBlur(blur, dtype=self.loss_dtype)
        self.grayscale = Grayscale(dtype=self.loss_dtype)
        self.smoothing_seed = keras.random.SeedGenerator()

    def compile(self, generator_optimizer, discriminator_optimizer):
        """Sets the optimizers: one for G and F, one for D_c and D_t."""
        super().compile(jit_compile=False)
        self.generator_optimizer = generator_optimizer
        self.discriminator_optimizer = discriminator_optimizer
        self.turn = BOTH

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
        """Trainable variables of G, and of F, which only the content loss trains."""
        if self.w_content == 0:
            return self.generator.trainable_variables
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

    def compute_losses(self, source, target, guide=None, *, training, turn=BOTH):
        """The losses of one pair of batches, from one pass through each network.

        Args:
            source: (N, H, W, 3) tensor of phone pictures x in [0, 1].
            target: (N, H, W, 3) tensor of target pictures y in [0, 1].
            guide: (N, H, W, 3) tensor in [0, 1], needed where `w_guide` is not 0.
            training: whether running statistics are updated.
            turn: whose losses: `schedule.BOTH`, `GENERATORS` or `DISCRIMINATORS`.

        Returns:
            Dictionary of scalars. Of the generators: `content`, `tv`, `guide`, `color`, `texture`
            (`content` and `guide` are 0 where they have no weight) and their weighted sum
            `generator`. Of the discriminators: `color_disc` and `texture_disc`.
        """
        enhanced = self.generator(source, training=training)
        inner = self.inner(enhanced)
        real = self.views(self.inner(target))
        fake = self.views(inner)
        confidence = self.draw_confidence()
        values = {}
        if turn != DISCRIMINATORS:
            values["content"] = self.content_loss(source, enhanced, training)
            values["tv"] = losses.total_variation(inner)
            values["guide"] = self.guide_loss(fake["color"], guide)
        for name, discriminator in self.discriminators.items():
            fake_logits = discriminator(fake[name], training=training)
            if turn != DISCRIMINATORS:
                values[name] = losses.adversarial_loss(
                    fake_logits, not self.flip_labels, discriminator.head, confidence
                )
            if turn != GENERATORS:
                logits = discriminator(real[name], training=training), fake_logits
                values[f"{name}_disc"] = losses.discriminator_loss(
                    *(reversed(logits) if self.flip_labels else logits),
                    discriminator.head,
                    confidence,
                )
        if turn != DISCRIMINATORS:
            values["generator"] = sum(
                getattr(self, f"w_{name}") * values[name]
                for name in ("content", "color", "texture", "tv", "guide")
            )
        return values

    @property
    def discriminators(self):
        """D_c and D_t by the names of their losses."""
        return {"color": self.color_discriminator, "texture": self.texture_discriminator}

    def views(self, pictures):
        """What each discriminator sees of pictures."""
        return {"color": self.blur(pictures), "texture": self.grayscale(pictures)}

    def draw_confidence(self):
        """What stands for 1 in the discriminators' targets of this batch."""
        if self.label_smoothing == 0:
            return 1.0
        draw = keras.random.uniform((), dtype=self.loss_dtype, seed=self.smoothing_seed)
        return 1.0 - self.label_smoothing * draw

    def inner(self, pictures):
        """Pictures without the `border` pixels along each edge."""
        if self.border == 0:
            return pictures
        return pictures[:, self.border : -self.border, self.border : -self.border]

    def content_loss(self, source, enhanced, training):
        """Content loss between F(ŷ) and x, or ŷ where `content_pair` says so."""
        if self.w_content == 0:
            return ops.zeros((), dtype=self.loss_dtype)
        reconstructed = self.inner(self.inverse_generator(enhanced, training=training))
        wanted = self.inner(source if self.content_pair == "source" else enhanced)
        if self.vgg is None:
            loss = losses.mean_absolute_difference(reconstructed, wanted)
        else:
            # x depends on no variable, so its features cost no backward pass.
            features = self.vgg(reconstructed), self.vgg(wanted)
            loss = losses.content_vgg(*features, self.content_normalise, mean_of_all)
        if self.content_extra_division:
            loss = loss / ops.cast(ops.size(wanted) * devices(), loss.dtype)
        return loss

    def guide_loss(self, blurred, guide):
        """Guide loss between the blurred G(x) and the guide, blurred here."""
        if self.w_guide == 0:
            return ops.zeros((), dtype=blurred.dtype)
        return losses.mean_absolute_difference(blurred, self.blur(self.inner(guide)))

    def train_step(self, data):
        """One iteration of those whose turn it is, from one pass through the networks.

        Under a strategy every device has an equal part of the batch, and optimizers add up what
        the devices find; so each takes its share of the losses.
        """
        pictures = self.unpack(data)
        scaled = []
        with tf.GradientTape(persistent=True) as tape:
            values = self.compute_losses(*pictures, training=True, turn=self.turn)
            if self.turn != DISCRIMINATORS:
                optimizer = self.generator_optimizer
                loss = optimizer.scale_loss(values["generator"] / devices())
                scaled.append((loss, self.generator_variables, optimizer))
            if self.turn != GENERATORS:
                optimizer = self.discriminator_optimizer
                loss = (values["color_disc"] + values["texture_disc"]) / devices()
                loss = optimizer.scale_loss(loss)
                scaled.append((loss, self.discriminator_variables, optimizer))
        if self.unfreeze_discriminators and self.turn != DISCRIMINATORS:
            # What the report's code left to be computed, and cleared before it was used.
            tape.gradient(scaled[0][0], self.discriminator_variables)
        for loss, variables, optimizer in scaled:
            optimizer.apply(tape.gradient(loss, variables), variables)
        return values

    def test_step(self, data):
        """The same losses without training anything."""
        return self.compute_losses(*self.unpack(data), training=False)

    def unpack(self, data):
        """Pictures as uint8 → as [0, 1] in the losses' dtype."""
        return tuple(ops.cast(pictures, self.loss_dtype) / 255.0 for pictures in data)


def devices():
    """How many devices share a batch."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def mean_of_all(values):
    """Mean of a tensor of which every device has an equal part; within a step."""
    mean = ops.mean(values)
    if devices() == 1:
        return mean
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.MEAN, mean)
