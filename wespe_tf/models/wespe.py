"""WESPE: two generators, two discriminators, and one training step (paper, section 3)."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import tensorflow as tf
from keras import ops

from .. import losses
from .devices import devices, mean_of_all
from .layers import Tensor, statistics_dtype
from .options import LOSSES, Loss
from .staged import Staged
from .views import Detail, GaussianBlur, Grayscale, Luma, detail_energy, fine_part, gray

# Who trains in an iteration.
BOTH, GENERATORS, DISCRIMINATORS = "both", "generators", "discriminators"
# D_t counts fully as long as the limit of detail is at least this far away.
LIMIT_SLOPE = 0.1
TEXTURE_LAYER = {"grayscale": Grayscale, "luma": Luma, "detail": Detail}


class Step(NamedTuple):
    """The tensors from which the losses of one iteration are computed.

    Attributes:
        source: (N, H, W, 3) tensor, x.
        guide: (N, H, W, 3) tensor, or None.
        enhanced: (N, H, W, 3) tensor, G(x).
        fake: what each discriminator sees of G(x), by name.
        judged: the discriminators' logits for `fake`, by name.
        labels: values that replace 1 and 0 in the discriminators' targets.
        training: whether running statistics are updated.
    """

    source: tf.Tensor
    guide: tf.Tensor | None
    enhanced: tf.Tensor
    fake: dict[str, tf.Tensor]
    judged: dict[str, tf.Tensor]
    labels: tuple[tf.Tensor | float, tf.Tensor | float]
    training: bool


class WESPE(keras.Model):
    """Trains a generator G on unpaired pictures against a color and a texture discriminator.

    G maps a source picture x to its enhanced version ŷ. The inverse generator F maps it back. D_c
    judges blurred pictures, and D_t grayscale ones. They compare ŷ with a target picture y, which
    is not paired with x. The losses are low if:

        content   F(ŷ) resembles x            (VGG-19 features, or pixels)
        color     D_c(blur(ŷ)) says "real"
        texture   D_t(gray(ŷ)) says "real"
        tv        ŷ is smooth

    A fifth loss goes beyond the paper. It keeps tone and color from drifting, and is used if
    `guide` has a weight. The guide is a guess of ŷ, computed in closed form
    (`wespe_tf.guide.guide.Guide`):

        guide     blur(ŷ) resembles blur(guide); with `guide_detail`, no detail is invented

    A discriminator whose loss has weight 0 is neither run nor trained. D_t may see detail instead
    of grayscale, which goes beyond the paper, too.

    `terms` declares these losses. To add a loss, add an entry there (in `options.LOSSES` for all
    models, or in a subclass) and a method `<name>_loss` that takes a `Step`. The log, the figures
    and the settings follow.

    After `compile`, train it with Keras's `fit` or, under a schedule, with
    `wespe_tf.training.loop.fit`. The data are batches (x, y), (x, y, guide) or (x, y, guide,
    context) of uint8 pictures. The context is a few other patches of x's photo, see
    `Staged.like_photos`.

    Args:
        generator: G, a `Generator`.
        inverse_generator: F, a `Generator`.
        color_discriminator: D_c, a `Discriminator`.
        texture_discriminator: D_t, a `Discriminator`.
        vgg: a `VGGFeatures` for the content loss, or None to compare pixels.
        weights: weights of the losses by name. A loss that is not named has the weight in `terms`.
            If the weight of `guide` is not 0, batches need a guide.
        blur: kernel of the blur before D_c, see `views.blur_profile`; `"none"`: no blur.
        texture_view: what D_t sees: `"grayscale"`, `"luma"` or `"detail"`, see `views`.
        texture_limit: detail of ŷ, relative to the guide's, at which D_t no longer counts; 0: D_t
            always counts, as without a guide. See `room_for_detail`.
        guide_blur: kernel of the blur in the guide loss. A wide blur leaves texture to D_t.
        guide_detail: within the guide loss, weight of fine detail that is not a multiple of the
            guide's, see `losses.invented_detail`.
        border: width in pixels of the patches' edge that losses and discriminators ignore. Zero
            padding spoils it, so that a discriminator could recognize enhanced pictures by it.
        content_normalise: see `losses.content_vgg`.
        content_pair: what F(ŷ) should resemble: `"source"`: x; `"enhanced"`: ŷ itself, as in the
            report's code (REPRODUCTION.md). Then nothing ties ŷ to x.
        content_extra_division: whether to divide the content loss, which is a mean already, by the
            number of the batch's values, as the report's code does.
        tv_form: see `losses.total_variation`.
        label_smoothing: s: the 1 in the discriminators' targets becomes 1 − s·U(0, 1), drawn once
            per batch.
        smoothed_labels: `"ones"`; or `"both"`: the 0 becomes s·U(0, 1), too.
        flip_labels: whether the discriminators should answer [1, 0] for fake.
        discriminator_weight: factor on the sum of the discriminators' losses in their step. With
            Adam, it acts through ε only.
        unfreeze_discriminators: whether the generators' step also computes the discriminators'
            gradients, which nothing uses, as the report's code does.

    Raises:
        ValueError: if a weight names a loss that does not exist.
    """

    terms: dict[str, Loss] = LOSSES
    adversaries = ("color", "texture")

    def __init__(
        self,
        generator: keras.Model,
        inverse_generator: keras.Model,
        color_discriminator: keras.Model,
        texture_discriminator: keras.Model,
        vgg: keras.Model | None = None,
        weights: Mapping[str, float] | None = None,
        *,
        blur: str = "paper",
        texture_view: str = "grayscale",
        texture_limit: float = 0.0,
        guide_blur: str = "paper",
        guide_detail: float = 0.0,
        border: int = 0,
        content_normalise: bool = False,
        content_pair: str = "source",
        content_extra_division: bool = False,
        tv_form: str = "mean",
        label_smoothing: float = 0.0,
        smoothed_labels: str = "ones",
        flip_labels: bool = False,
        discriminator_weight: float = 1.0,
        unfreeze_discriminators: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        unknown = set(weights or {}) - set(self.terms)
        if unknown:
            raise ValueError(f"weights: expected some of {', '.join(self.terms)}, got {unknown}")
        self.generator = generator
        self.inverse_generator = inverse_generator
        self.color_discriminator = color_discriminator
        self.texture_discriminator = texture_discriminator
        self.vgg = vgg
        self.weight_of = {name: term.weight for name, term in self.terms.items()} | dict(
            weights or {}
        )
        self.texture_limit = texture_limit
        self.guide_detail = guide_detail
        self.border = border
        self.content_normalise = content_normalise
        self.content_pair = content_pair
        self.content_extra_division = content_extra_division
        self.tv_form = tv_form
        self.label_smoothing = label_smoothing
        self.smoothed_labels = smoothed_labels
        self.flip_labels = flip_labels
        self.discriminator_weight = discriminator_weight
        self.unfreeze_discriminators = unfreeze_discriminators
        self.loss_dtype = statistics_dtype(self.compute_dtype)
        self.blur = (
            keras.layers.Identity(dtype=self.loss_dtype)
            if blur == "none"
            else GaussianBlur(blur, dtype=self.loss_dtype)
        )
        self.guide_blur = GaussianBlur(guide_blur, dtype=self.loss_dtype)
        self.texture_view = TEXTURE_LAYER[texture_view](dtype=self.loss_dtype)
        self.smoothing_seed = keras.random.SeedGenerator()
        self.staged = Staged(generator, dtype=self.dtype_policy)

    def compile(
        self,
        generator_optimizer: keras.optimizers.Optimizer,
        discriminator_optimizer: keras.optimizers.Optimizer,
    ) -> None:
        """Sets the optimizers: one for G and F, one for D_c and D_t."""
        super().compile(jit_compile=False)
        self.generator_optimizer = generator_optimizer
        self.discriminator_optimizer = discriminator_optimizer
        self.turn = BOTH

    def build(self, input_shape: tuple[Any, ...]) -> None:
        """Builds networks for patches of `input_shape` = (N, H, W, 3), and the optimizers."""
        batch, height, width, _ = input_shape
        seen = (batch, height - 2 * self.border, width - 2 * self.border)
        self.generator.build(input_shape)
        self.inverse_generator.build(input_shape)
        self.color_discriminator.build((*seen, 3))
        self.texture_discriminator.build(self.texture_view.compute_output_shape((*seen, 3)))
        self.generator_optimizer.build(self.generator_variables)
        self.discriminator_optimizer.build(self.discriminator_variables)
        self.built = True

    @property
    def metrics(self) -> list:
        """No metrics: the progress bar shows the losses that `train_step` returns."""
        return []

    @property
    def generator_variables(self) -> list[keras.Variable]:
        """Trainable variables of G, and of F if the content loss, which trains it, has a weight."""
        if self.weight_of["content"] == 0:
            return self.generator.trainable_variables
        return self.generator.trainable_variables + self.inverse_generator.trainable_variables

    @property
    def discriminator_variables(self) -> list[keras.Variable]:
        """Trainable variables of the discriminators whose loss has a weight."""
        return sum((network.trainable_variables for network in self.discriminators.values()), [])

    def call(self, inputs: Tensor) -> Tensor:
        """Enhances pictures with G."""
        return self.generator(inputs)

    @classmethod
    def loss_names(cls) -> tuple[str, ...]:
        """Names of all values that `train_step` returns: the generators' weighted sum and its
        terms, then the discriminators' losses."""
        return ("generator", *cls.terms, *(f"{name}_disc" for name in cls.adversaries))

    def compute_losses(
        self,
        source: tf.Tensor,
        target: tf.Tensor,
        guide: tf.Tensor | None = None,
        context: tf.Tensor | None = None,
        *,
        training: bool,
        turn: str = BOTH,
    ) -> dict[str, tf.Tensor]:
        """The losses of one pair of batches, from one pass through each network.

        Args:
            source: (N, H, W, 3) tensor of phone pictures x in [0, 1].
            target: (N, H, W, 3) tensor of target pictures y in [0, 1].
            guide: (N, H, W, 3) tensor in [0, 1]; needed if the guide loss has a weight.
            context: (N, K, H, W, 3) tensor in [0, 1], K patches of each source picture's photo; or
                None: G's norms use the statistics of the source picture alone.
            training: whether running statistics are updated.
            turn: the side whose losses are computed: `BOTH`, `GENERATORS` or `DISCRIMINATORS`.

        Returns:
            Dictionary of scalars by `loss_names`. Those of the generators are their `terms` and
            `generator`, the weighted sum. Those of the discriminators end in `_disc`. A loss with
            weight 0 is 0, except for terms that are computed `always`.
        """
        enhanced = self.staged.like_photos(source, context, self.border, training)
        fake, real = self.views(self.inner(enhanced)), self.views(self.inner(target))
        judged = {
            name: discriminator(fake[name], training=training)
            for name, discriminator in self.discriminators.items()
        }
        step = Step(source, guide, enhanced, fake, judged, self.draw_labels(), training)
        values: dict[str, Tensor] = {}
        if turn != DISCRIMINATORS:
            values |= {name: self.term(name, step) for name in self.terms}
            values["generator"] = sum(self.weight_of[name] * values[name] for name in self.terms)
        if turn != GENERATORS:
            nothing = ops.zeros((), dtype=self.loss_dtype)
            values |= {f"{name}_disc": nothing for name in self.adversaries}
            for name, discriminator in self.discriminators.items():
                ones, zeros = discriminator(real[name], training=training), judged[name]
                if self.flip_labels:
                    ones, zeros = zeros, ones
                values[f"{name}_disc"] = losses.discriminator_loss(
                    ones, zeros, discriminator.head, *step.labels
                )
        return values

    def term(self, name: str, step: Step) -> tf.Tensor:
        """A loss of the generators. It is 0 if it has weight 0 and is not computed `always`."""
        if self.weight_of[name] == 0 and not self.terms[name].always:
            return ops.zeros((), dtype=self.loss_dtype)
        return getattr(self, f"{name}_loss")(step)

    def content_loss(self, step: Step) -> tf.Tensor:
        """Difference of F(ŷ) from x, or from ŷ if `content_pair` says so."""
        reconstructed = self.inverse_generator(step.enhanced, training=step.training)
        wanted = self.inner(step.source if self.content_pair == "source" else step.enhanced)
        reconstructed = self.inner(reconstructed)
        if self.vgg is None:
            loss = losses.mean_absolute_difference(reconstructed, wanted)
        else:
            # x depends on no variable, so its features cost no backward pass.
            features = self.vgg(reconstructed), self.vgg(wanted)
            loss = losses.content_vgg(*features, self.content_normalise, mean_of_all)
        if self.content_extra_division:
            loss = loss / ops.cast(ops.size(wanted) * devices(), loss.dtype)
        return loss

    def color_loss(self, step: Step) -> tf.Tensor:
        """Low if D_c says "real" about blur(ŷ)."""
        return self.adversarial_loss("color", step)

    def texture_loss(self, step: Step) -> tf.Tensor:
        """Low if D_t says "real" about its view of ŷ, or if ŷ has reached `texture_limit`."""
        loss = self.adversarial_loss("texture", step)
        if self.texture_limit == 0 or step.guide is None:
            return loss
        return self.room_for_detail(step) * loss

    def room_for_detail(self, step: Step) -> tf.Tensor:
        """How much D_t counts: 1 far below `texture_limit`, 0 above it, and a slope in between.

        A discriminator that knows a few patches by heart asks for ever more detail.
        """
        enhanced, known = (
            mean_of_all(detail_energy(gray(self.inner(pictures))))
            for pictures in (step.enhanced, step.guide)
        )
        room = (self.texture_limit * known - enhanced) / (LIMIT_SLOPE * known + 1e-6)
        return ops.stop_gradient(ops.clip(room, 0.0, 1.0))

    def adversarial_loss(self, name: str, step: Step) -> tf.Tensor:
        """Low if the discriminator of this name says "real" about its view of ŷ."""
        head = self.discriminators[name].head
        real = not self.flip_labels
        return losses.adversarial_loss(step.judged[name], real, head, *step.labels)

    def tv_loss(self, step: Step) -> tf.Tensor:
        """Total variation of ŷ, low if ŷ is smooth."""
        return losses.total_variation(self.inner(step.enhanced), self.tv_form)

    def guide_loss(self, step: Step) -> tf.Tensor:
        """blur(ŷ) resembles blur(guide); with `guide_detail`, no fine detail is invented."""
        pair = self.inner(step.enhanced), self.inner(step.guide)
        loss = losses.mean_absolute_difference(*map(self.guide_blur, pair))
        if self.guide_detail == 0:
            return loss
        detail, known = map(fine_part, pair)
        return loss + self.guide_detail * losses.invented_detail(detail, known, self.guide_blur)

    @property
    def discriminators(self) -> dict[str, keras.Model]:
        """The discriminators whose loss has a weight, by their names in `adversaries`."""
        heard = (name for name in self.adversaries if self.weight_of[name])
        return {name: getattr(self, f"{name}_discriminator") for name in heard}

    def views(self, pictures: Tensor) -> dict[str, Tensor]:
        """What each discriminator sees of pictures."""
        views = {"color": self.blur, "texture": self.texture_view}
        return {name: views[name](pictures) for name in self.discriminators}

    def draw_labels(self) -> tuple[float | Tensor, float | Tensor]:
        """Values that replace 1 and 0 in the discriminators' targets of this batch."""
        if self.label_smoothing == 0:
            return 1.0, 0.0
        draw = keras.random.uniform((), dtype=self.loss_dtype, seed=self.smoothing_seed)
        smoothed = self.label_smoothing * draw
        return 1.0 - smoothed, smoothed if self.smoothed_labels == "both" else 0.0

    def inner(self, pictures: Tensor) -> Tensor:
        """Pictures without the `border` pixels along each edge."""
        if self.border == 0:
            return pictures
        return pictures[:, self.border : -self.border, self.border : -self.border]

    def train_step(self, data: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """A training step of the side whose turn it is, with one pass through the networks.

        With several devices, each one has an equal part of the batch, and the optimizers add up
        the gradients. So each device divides its losses by the number of devices.
        """
        pictures = self.unpack(data)
        scaled = []
        with tf.GradientTape(persistent=True) as tape:
            values = self.compute_losses(*pictures, training=True, turn=self.turn)
            if self.turn != DISCRIMINATORS:
                optimizer = self.generator_optimizer
                loss = optimizer.scale_loss(values["generator"] / devices())
                scaled.append((loss, self.generator_variables, optimizer))
            if self.turn != GENERATORS and self.discriminators:
                optimizer = self.discriminator_optimizer
                loss = sum(values[f"{name}_disc"] for name in self.adversaries)
                loss = self.discriminator_weight * loss
                loss = optimizer.scale_loss(loss / devices())
                scaled.append((loss, self.discriminator_variables, optimizer))
        if self.unfreeze_discriminators and self.turn != DISCRIMINATORS:
            # The report's code computes these gradients, and clears them before any use.
            tape.gradient(scaled[0][0], self.discriminator_variables)
        for loss, variables, optimizer in scaled:
            optimizer.apply(tape.gradient(loss, variables), variables)
        return values

    def test_step(self, data: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Computes the same losses without training."""
        return self.compute_losses(*self.unpack(data), training=False)

    def unpack(self, data: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Converts uint8 pictures to [0, 1] in the losses' dtype."""
        return tuple(ops.cast(pictures, self.loss_dtype) / 255.0 for pictures in data)
