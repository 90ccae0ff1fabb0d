"""Networks as the settings describe them."""

from .discriminator import Discriminator
from .generator import Generator


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
