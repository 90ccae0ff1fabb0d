"""Small generators whose every part counts."""

import keras
import numpy as np

from wespe_tf import Generator
from wespe_tf.models.staged import norms


def make_generator(norm="instance", init="identity", blocks=4, width=6, seed=0, ending="dped"):
    """A generator with drawn norms and last layer, so that gains, offsets and running
    statistics count."""
    keras.utils.set_random_seed(seed)
    model = Generator(width=width, blocks=blocks, norm=norm, init=init, ending=ending)
    model.build((None, None, None, 3))
    rng = np.random.default_rng(seed)
    for layer in norms(model):
        for variable in [] if layer is None else layer.weights:
            variable.assign(rng.uniform(0.2, 0.6, variable.shape))
    kernel = model.to_rgb.kernel
    kernel.assign(kernel + rng.normal(0, 3e-3, kernel.shape))
    return model


def toned_generator(seed):
    """A tiny generator that changes tone and texture."""
    keras.utils.set_random_seed(seed)
    model = Generator(width=8, blocks=1, init="identity")
    model.build((None, None, None, 3))
    kernel = model.to_rgb.kernel
    kernel.assign(kernel + np.random.default_rng(0).normal(0, 2e-3, kernel.shape))
    return model


def save_as_run(generator, folder):
    """Writes a generator as that of a run `models/mine` below a folder."""
    (folder / "models" / "mine").mkdir(parents=True)
    generator.save(folder / "models" / "mine" / "generator.keras")
