"""A tiny `WESPE` for tests, a batch for it, and its variables by name."""

import keras
import numpy as np
from keras.ops import convert_to_numpy as array

from benchmarks import plain
from wespe_tf.models.discriminator import Discriminator
from wespe_tf.models.generator import Generator
from wespe_tf.models.wespe import WESPE

SIDE = 24
LAYERS = ((4, 11, 4), (5, 5, 2), (6, 3, 1), (6, 3, 1), (5, 3, 2))
WEIGHTS = {"content": 1.3, "color": 0.4, "texture": 0.7, "tv": 2.5, "guide": 0}
NETWORKS = ("generator", "inverse_generator", "color_discriminator", "texture_discriminator")


def make_wespe(
    generator_optimizer=None,
    discriminator_optimizer=None,
    vgg=None,
    norm="instance",
    head="two_class_sigmoid",
    generator_norm="instance",
    weights=None,
    **options,
):
    """A tiny `WESPE`, built for patches of 24×24."""
    discriminator = {"layers": LAYERS, "dense": 7, "norm": norm, "head": head}
    discriminator["init"] = "kaiming_uniform"
    model = WESPE(
        Generator(width=5, norm=generator_norm, init="glorot", name="generator"),
        Generator(width=5, norm=generator_norm, init="identity", name="inverse_generator"),
        Discriminator(**discriminator),
        Discriminator(**discriminator),
        vgg,
        {**WEIGHTS, **(weights or {})},
        **options,
    )
    model.compile(
        generator_optimizer or keras.optimizers.Adam(1e-3, epsilon=1e-8),
        discriminator_optimizer or keras.optimizers.Adam(1e-3, epsilon=1e-8),
    )
    model.build((3, SIDE, SIDE, 3))
    return model


def draw_batch(rng):
    """Three source and three target patches, uint8."""
    return tuple(rng.integers(0, 256, (2, 3, SIDE, SIDE, 3), np.uint8))


def values_of(model):
    """The model's variables as arrays, by (network, name)."""
    return {
        (network, name): array(variable).copy()
        for network, variables in plain.wespe_variables(model).items()
        for name, variable in variables.items()
    }
