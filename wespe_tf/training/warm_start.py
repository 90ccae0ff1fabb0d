"""Warm start: before the training, G learns to apply the guide, and F to undo it."""

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from .. import losses
from ..data.batches import GuidedStream
from ..guide.samples import stride
from ..models.devices import devices
from ..models.layers import statistics_dtype
from ..models.views import Detail
from .build import rising_cosine
from .loop import fit


class WarmStart(keras.Model):
    """Trains G to apply the guide, and F to undo it. This goes beyond the paper.

    Unpaired training that starts from the identity finds tone and color slowly, and may lose them
    again. The guide is a guess of both, computed before the training. Train this model with `fit`
    on batches (source, target, guide) of uint8 patches, where a `Guide` made the third part.
    Then train the `WESPE` that has the same generators.

    Args:
        generator: G, a `Generator`.
        inverse_generator: F, a `Generator`.
        border: width of the patches' edge that the loss ignores, in pixels.
    """

    def __init__(self, generator, inverse_generator, border=0, **kwargs):
        super().__init__(**kwargs)
        self.generator = generator
        self.inverse_generator = inverse_generator
        self.border = border
        self.loss_dtype = statistics_dtype(self.compute_dtype)

    @property
    def metrics(self):
        """No metrics: the progress bar shows the losses that `train_step` returns."""
        return []

    def call(self, inputs):
        """Enhances pictures with G."""
        return self.generator(inputs)

    def train_step(self, data):
        """Trains both generators for one step. The target patches are not used."""
        source, _, guide, *_ = data
        source, guide = (ops.cast(p, self.loss_dtype) / 255.0 for p in (source, guide))
        end = -self.border or None
        inner = (slice(None), slice(self.border, end), slice(self.border, end))
        with tf.GradientTape() as tape:
            enhanced = self.generator(source, training=True)
            reconstructed = self.inverse_generator(guide, training=True)
            loss = losses.mean_absolute_difference(enhanced[inner], guide[inner])
            loss += losses.mean_absolute_difference(reconstructed[inner], source[inner])
            scaled = self.optimizer.scale_loss(loss / devices())
        variables = self.trainable_variables
        self.optimizer.apply(tape.gradient(scaled, variables), variables)
        return {"loss": loss}


# About how many pixels the fit uses at most; they are evenly spread.
FITTED_PIXELS = 100_000


def fit_last_layer(generator, features, wanted, ridge=1e-5):
    """Changes the last layer so that it turns `features` into nearly `wanted`.

    Only the biases and the weights at the center of the kernel change. They follow from weighted
    least squares on the layer's inputs and its values before the tanh. The weights of this fit are
    the tanh's slope. Because the features of an identity start bend at many colors, the fit can
    find any smooth map of colors. Adam would blur the picture while it learns such a map, because
    its steps are equally large for all weights of the kernel.

    Args:
        generator: a built `Generator`.
        features: for each picture, the input of the last layer, a (1, H, W, width) tensor. An
            iterator takes less memory than a list.
        wanted: (N, H, W, 3) float array in [0, 1].
        ridge: penalty per pixel on the squared change of a weight.
    """
    step = stride(wanted[..., 0].size, FITTED_PIXELS)

    def pixels(values):
        values = ops.convert_to_numpy(ops.cast(values, "float64"))
        return values.reshape(-1, values.shape[-1])[::step]

    found = [
        [pixels(values) for values in (seen, generator.picture(seen), aim)]
        for seen, aim in zip(features, wanted)
    ]
    features, output, wanted = map(np.concatenate, zip(*found))
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


def filter_last_layer(generator, detail_filter):
    """Adds a detail filter to a last layer.

    The filter then acts before the tanh instead of after it, which makes little difference.

    Args:
        generator: a built `Generator` whose last kernel is (9, 9, C, 3). It uses only the weights
            at the center, as after `fit_last_layer`.
        detail_filter: `DetailFilter`.
    """
    kernel, bias = (ops.convert_to_numpy(v).copy() for v in generator.to_rgb.weights)
    middle = kernel.shape[0] // 2
    # Before the tanh, 0 stands for gray. The filter does not change gray, so the biases stay.
    center = kernel[middle, middle].copy()
    kernel += np.einsum("fi,xyio->xyfo", center, detail_filter.kernel)
    kernel[middle, middle] -= center
    generator.to_rgb.set_weights([kernel, bias])


FITTED_PATCHES = 64


def divide_detail(model, guide):
    """Lets a `WESPE`'s D_t change the colors as good photos divide their detail among them."""
    if guide.detail_filter is not None and isinstance(model.texture_view, Detail):
        model.texture_view.shares = tuple(map(float, guide.detail_filter.shares))


def fit_guide(model, guide, source, context):
    """Fits the last layers of a `WESPE` to source patches: G applies the guide, F undoes it.

    Args:
        model: a built `WESPE`.
        guide: `Guide`.
        source: `PatchStream`.
        context: how many more patches of each photo stand for it, as in training.
    """
    colors = GuidedStream(source, guide.transfer)
    cuts = (colors.cut(number, context) for number in range(FITTED_PATCHES))
    patches, transferred, around = (np.stack(each) for each in zip(*cuts))
    transferred = transferred / np.float32(255)

    def in_photo(number):
        seen, others = (
            ops.convert_to_tensor(pictures[number : number + 1] / np.float32(255))
            for pictures in (patches, around)
        )
        return model.staged.features(seen, others if context else None, model.border)

    fit_last_layer(model.generator, map(in_photo, range(FITTED_PATCHES)), transferred)
    if guide.detail_filter is not None:
        filter_last_layer(model.generator, guide.detail_filter)
    inverse = model.inverse_generator
    features = (inverse.features(picture[None]) for picture in transferred)
    fit_last_layer(inverse, features, patches / np.float32(255))


def warm_start(model, data, strategy, config, callbacks):
    """Trains a `WESPE`'s G to apply the guide to source patches, and F to undo it.

    Returns:
        Whether a callback stopped it before its end.
    """
    with strategy.scope():
        warm = WarmStart(model.generator, model.inverse_generator, config.border)
        learning_rate = rising_cosine(config.warm_start_learning_rate, config.warm_start_iters)
        optimizer = keras.optimizers.Adam(learning_rate, epsilon=1e-8)
        warm.compile(optimizer, jit_compile=False)
        optimizer.build(warm.trainable_variables)
    iterations = config.warm_start_iters
    return fit(warm, data, iterations, iterations, callbacks)
