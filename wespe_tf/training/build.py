"""Networks as the settings describe them."""

import keras

from ..errors import UserError
from ..models.discriminator import Discriminator
from ..models.generator import Generator
from ..models.wespe import WESPE
from ..weights.vgg import load_vgg


def make_generator(config, name):
    """A `Generator` with the options of a `TrainConfig`."""
    return Generator(
        width=config.generator_width,
        blocks=config.generator_blocks,
        norm=config.generator_norm,
        tanh_scale=config.tanh_scale,
        init=config.generator_init,
        name=name,
    )


def make_discriminator(config, name, norm):
    """A `Discriminator` with the options of a `TrainConfig`, and the norm of its kind."""
    return Discriminator(
        width_multiplier=config.discriminator_width,
        head=config.discriminator_head,
        norm=norm,
        order=config.discriminator_order,
        init=config.discriminator_init,
        name=name,
    )


def build_model(config):
    """A compiled and built `WESPE`.

    Args:
        config: `TrainConfig`.

    Raises:
        UserError: if the VGG weights cannot be had or the border leaves no patch.
    """
    # Of 16 pixels the discriminators' convolutions leave one, and instance norm nothing of that.
    if config.patch_size - 2 * config.border <= 16:
        raise UserError(
            f"border={config.border}: leaves less than 17 pixels of patch_size={config.patch_size}"
        )

    uses_vgg = config.content_features == "vgg19" and config.w_content > 0
    model = WESPE(
        make_generator(config, "generator"),
        make_generator(config, "inverse_generator"),
        make_discriminator(config, "color_discriminator", config.color_norm),
        make_discriminator(config, "texture_discriminator", config.texture_norm),
        load_vgg(config.content_layer, config.vgg_weights, config.vgg_preprocessing == "report")
        if uses_vgg
        else None,
        content_normalise=config.content_normalise,
        blur=config.blur,
        border=config.border,
        content_pair=config.content_pair,
        content_extra_division=config.content_extra_division,
        label_smoothing=config.label_smoothing,
        flip_labels=config.flip_labels,
        unfreeze_discriminators=config.unfreeze_discriminators,
        w_content=config.w_content,
        w_color=config.w_color,
        w_texture=config.w_texture,
        w_tv=config.w_tv,
        w_guide=config.w_guide,
    )
    model.compile(
        adam(config, config.learning_rate, config.generator_beta_1, config.ema),
        adam(config, config.discriminator_learning_rate, config.discriminator_beta_1),
    )
    model.build((config.batch_size, config.patch_size, config.patch_size, 3))
    return model


def adam(config, learning_rate, beta_1, ema=0.0):
    """Adam with the settings' decay, moving average and loss scaling."""
    if config.learning_rate_decay == "cosine":
        learning_rate = rising_cosine(learning_rate, config.num_train_iters)
    average = {"use_ema": True, "ema_momentum": ema} if ema else {}
    optimizer = keras.optimizers.Adam(learning_rate, beta_1=beta_1, epsilon=1e-8, **average)
    if config.precision == "float16":
        return keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer


def rising_cosine(peak, iterations):
    """A step size that rises to `peak` over a tenth of the iterations and falls along a cosine.

    Adam's first steps are as long as its later ones, but know a single batch only: at full size
    they would spoil details that take long to come back.
    """
    rising = iterations // 10
    return keras.optimizers.schedules.CosineDecay(
        0.0, iterations - rising, warmup_target=peak, warmup_steps=rising
    )
