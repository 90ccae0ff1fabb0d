"""Builds networks and optimizers from the settings."""

import inspect
from collections.abc import Callable
from typing import Any

import keras

from ..config.schema import LEAST_SIDE, TrainConfig
from ..errors import UserError
from ..models.adam import PyTorchAdam
from ..models.discriminator import Discriminator
from ..models.generator import Generator
from ..models.options import DISCRIMINATOR_LAYERS
from ..models.wespe import WESPE
from ..weights.vgg import load_vgg
from .schedule import Alternating, make_schedule


def options_of(config: TrainConfig, make: Callable, prefix: str = "") -> dict[str, Any]:
    """The options of `make` that the settings hold, under `prefix` + name or the name alone."""
    found = {}
    for option in inspect.signature(make).parameters:
        for setting in (prefix + option, option):
            if hasattr(config, setting):
                found[option] = getattr(config, setting)
                break
    return found


def make_generator(config: TrainConfig, name: str) -> Generator:
    """A `Generator` with the options of the settings."""
    return Generator(**options_of(config, Generator, "generator_"), name=name)


def make_discriminator(config: TrainConfig, name: str, norm: str, layers: str) -> Discriminator:
    """A `Discriminator` with these layers and this norm, and the other options of the settings.

    Raises:
        UserError: if the layers end in a mean over the patch, and a norm comes directly before it.
    """
    found = DISCRIMINATOR_LAYERS[layers]
    if found.pooled and config.discriminator_order == "activation_norm":
        raise UserError(
            f"discriminator_order=activation_norm: expected norm_activation with layers {layers}; "
            "they judge a mean over the patch, which a norm before it makes equal for all patches"
        )
    return Discriminator(
        **found._asdict(),
        width_multiplier=config.discriminator_width,
        norm=norm,
        name=name,
        **options_of(config, Discriminator, "discriminator_"),
    )


def build_model(config: TrainConfig) -> WESPE:
    """A compiled and built `WESPE`.

    Raises:
        UserError: if the VGG weights cannot be read, or if settings contradict each other.
    """
    if config.patch_size - 2 * config.border < LEAST_SIDE:
        raise UserError(
            f"border={config.border}: leaves less than {LEAST_SIDE} pixels of "
            f"patch_size={config.patch_size}"
        )
    if config.generator_ending == "plain" and (config.weights["guide"] or config.warm_start_iters):
        raise UserError(
            "generator_ending=plain: expected dped with w_guide or warm_start_iters, because these "
            "fit the input of a tanh"
        )
    vgg = None
    if config.content_features == "vgg19" and config.weights["content"] > 0:
        is_reports = config.vgg_preprocessing == "report"
        vgg = load_vgg(config.content_layer, config.vgg_weights, is_reports, config.vgg_norm)
    model = WESPE(
        make_generator(config, "generator"),
        make_generator(config, "inverse_generator"),
        make_discriminator(config, "color_discriminator", config.color_norm, config.color_layers),
        make_discriminator(
            config, "texture_discriminator", config.texture_norm, config.texture_layers
        ),
        vgg,
        **options_of(config, WESPE),
    )
    of_generators, of_discriminators = steps_of_sides(config)
    beta_1 = config.discriminator_beta_1
    model.compile(
        adam(config, config.learning_rate, ema=config.ema, steps=of_generators),
        adam(config, config.discriminator_learning_rate, beta_1, steps=of_discriminators),
    )
    model.build((config.batch_size, config.patch_size, config.patch_size, 3))
    return model


def steps_of_sides(config: TrainConfig) -> tuple[int, int]:
    """The most steps that the generators and the discriminators train in a run.

    What they train under schedule=balance depends on their losses.
    """
    schedule, iterations = make_schedule(config), config.num_train_iters
    if not isinstance(schedule, Alternating):
        return iterations, iterations
    periods, rest = divmod(iterations, schedule.period)
    generators = periods * schedule.generator_steps + min(rest, schedule.generator_steps)
    return generators, iterations - generators


def adam(
    config: TrainConfig,
    learning_rate: float,
    beta_1: float = 0.9,
    ema: float = 0.0,
    steps: int | None = None,
) -> keras.optimizers.Optimizer:
    """Adam with the settings' decay, moving average and loss scaling.

    Args:
        config: the settings.
        learning_rate: size of the steps.
        beta_1: Adam's β1.
        ema: share of itself that the moving average keeps, or 0.
        steps: steps in the run; by default `num_train_iters`.
    """
    step: float | keras.optimizers.schedules.LearningRateSchedule = learning_rate
    if config.learning_rate_decay == "cosine":
        step = rising_cosine(learning_rate, steps or config.num_train_iters)
    average = {"use_ema": True, "ema_momentum": ema} if ema else {}
    kind = PyTorchAdam if config.adam == "pytorch" else keras.optimizers.Adam
    optimizer = kind(step, beta_1=beta_1, epsilon=1e-8, **average)
    if config.precision == "float16":
        return keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer


def rising_cosine(peak: float, iterations: int) -> keras.optimizers.schedules.LearningRateSchedule:
    """A step size that rises to `peak` in a tenth of the iterations, then falls to 0 as a cosine.

    Adam's first steps are as long as its later ones, but follow from a single batch. At full size
    they would spoil details that take long to come back.
    """
    rising = iterations // 10
    return keras.optimizers.schedules.CosineDecay(
        0.0, iterations - rising, warmup_target=peak, warmup_steps=rising
    )
