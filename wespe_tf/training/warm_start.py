"""A start for WESPE's generators: learn the guide, and the way back."""

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from .. import losses
from ..data.batches import GuidedStream
from ..models.layers import statistics_dtype
from .build import rising_cosine
from .loop import fit


class WarmStart(keras.Model):
    """Teaches G the guide, and F to undo it. An extra beyond the paper.

    Unpaired training from the identity finds tone and color slowly and may lose them again; a
    closed-form guess at them is known before it begins. Train it with `fit` on batches (source,
    target, guide) of uint8 patches, where the guide is a `Guide`'s, before the `WESPE`
    that shares its generators.

    Args:
        generator: G, a `Generator`.
        inverse_generator: F, a `Generator`.
        border: pixels along each edge that the loss skips.
    """

    def __init__(self, generator, inverse_generator, border=0, **kwargs):
        super().__init__(**kwargs)
        self.generator = generator
        self.inverse_generator = inverse_generator
        self.border = border
        self.loss_dtype = statistics_dtype(self.compute_dtype)

    @property
    def metrics(self):
        """None: the progress bar shows the losses as `train_step` returns them."""
        return []

    def call(self, inputs):
        """Enhances pictures: G."""
        return self.generator(inputs)

    def train_step(self, data):
        """One step of both generators; the target half of the batch is not looked at."""
        source, _, guide = data
        source, guide = (ops.cast(p, self.loss_dtype) / 255.0 for p in (source, guide))
        end = -self.border or None
        inner = (slice(None), slice(self.border, end), slice(self.border, end))
        with tf.GradientTape() as tape:
            enhanced = self.generator(source, training=True)
            reconstructed = self.inverse_generator(guide, training=True)
            loss = losses.mean_absolute_difference(enhanced[inner], guide[inner])
            loss += losses.mean_absolute_difference(reconstructed[inner], source[inner])
            devices = tf.distribute.get_strategy().num_replicas_in_sync
            scaled = self.optimizer.scale_loss(loss / devices)
        variables = self.trainable_variables
        self.optimizer.apply(tape.gradient(scaled, variables), variables)
        return {"loss": loss}


def fit_last_layer(generator, pictures, wanted, pixels=100_000, ridge=1e-4):
    """Solves the last layer's center taps and biases for pictures to become `wanted` ones.

    Weighted least squares on the layer's inputs, before its tanh, with the tanh's slope as weight;
    `ridge` keeps near the present taps. An identity start has features that bend at many colors,
    so this finds any smooth map of colors without a gradient step: Adam, whose steps are alike for
    all taps, would blur the picture while it learns one.

    Args:
        generator: a built `Generator`.
        pictures: (N, H, W, 3) float array in [0, 1].
        wanted: the same shape.
        pixels: bound on how many are used, evenly spread.
        ridge: per pixel.
    """
    features = keras.ops.convert_to_numpy(keras.ops.cast(generator.features(pictures), "float32"))
    output = keras.ops.convert_to_numpy(generator(pictures))
    stride = max(1, wanted[..., 0].size // pixels) | 1
    features, output, wanted = (
        a.reshape(-1, a.shape[-1])[::stride].astype(np.float64) for a in (features, output, wanted)
    )
    features = np.concatenate([features, np.ones((len(features), 1))], axis=1)

    def inside(colors):
        return np.clip((colors - 0.5) / generator.tanh_scale, -0.97, 0.97)

    kernel, bias = (ops.convert_to_numpy(v).copy() for v in generator.to_rgb.weights)
    size = kernel.shape[0]
    for channel in range(3):
        aim = inside(wanted[:, channel])
        missing = np.arctanh(aim) - np.arctanh(inside(output[:, channel]))
        slope = 1 - aim**2
        a = features * slope[:, None]
        normal = a.T @ a + ridge * len(a) * np.eye(a.shape[1])
        change = np.linalg.solve(normal, a.T @ (missing * slope))
        kernel[size // 2, size // 2, :, channel] += change[:-1]
        bias[channel] += change[-1]
    generator.to_rgb.set_weights([kernel, bias])


def filter_last_layer(generator, noise_filter):
    """Folds a noise filter into a last layer that uses its center taps only.

    The filter acts before the tanh instead of behind it, where values are nearly the same.

    Args:
        generator: a built `Generator`, as `fit_last_layer` leaves it.
        noise_filter: `NoiseFilter`, no longer than the last layer's kernel.
    """
    kernel, bias = (ops.convert_to_numpy(v).copy() for v in generator.to_rgb.weights)
    middle = kernel.shape[0] // 2
    # Everything before the tanh is centerd: 0 stands for gray, which the filter leaves alone.
    center = kernel[middle, middle].copy()
    kernel += np.einsum("fi,xyio->xyfo", center, noise_filter.of_rgb())
    kernel[middle, middle] -= center
    generator.to_rgb.set_weights([kernel, bias])


FITTED_PATCHES = 64


def fit_guide(model, guide, source):
    """Solves the last layers of G and F of a `WESPE` for the guide of source patches, and back."""
    colors = GuidedStream(source, guide.transfer)
    patches, transferred = map(np.stack, zip(*(colors[n] for n in range(FITTED_PATCHES))))
    patches, transferred = patches / np.float32(255), transferred / np.float32(255)
    fit_last_layer(model.generator, patches, transferred)
    if guide.noise_filter is not None:
        filter_last_layer(model.generator, guide.noise_filter)
    fit_last_layer(model.inverse_generator, transferred, patches)


def warm_start(model, data, strategy, config, callbacks):
    """Trains G and F of a `WESPE` on the guide of the source patches, and back.

    Returns:
        Whether it was stopped before its end.
    """
    with strategy.scope():
        warm = WarmStart(model.generator, model.inverse_generator, config.border)
        learning_rate = rising_cosine(config.warm_start_learning_rate, config.warm_start_iters)
        optimizer = keras.optimizers.Adam(learning_rate, epsilon=1e-8)
        warm.compile(optimizer, jit_compile=False)
        optimizer.build(warm.trainable_variables)
    iterations = config.warm_start_iters
    return fit(warm, data, iterations, iterations, callbacks)
