"""A start for WESPE's generators: learn the color transfer between the domains, and back."""

import keras
import tensorflow as tf
from keras import ops

from .. import losses
from .layers import statistics_dtype


class WarmStart(keras.Model):
    """Teaches G a color transfer, and F to undo it. An extra beyond the paper.

    Unpaired training from the identity finds tone and color slowly and may lose them again; a
    closed-form guess at them is known before it begins. Train it with `fit` on batches (source,
    target, guide) of uint8 patches, where the guide is the source's transfer, before the `WESPE`
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
            scaled = self.optimizer.scale_loss(loss)
        variables = self.trainable_variables
        self.optimizer.apply(tape.gradient(scaled, variables), variables)
        return {"loss": loss}
