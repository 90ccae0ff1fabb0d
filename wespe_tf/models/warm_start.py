"""A start for WESPE's generators: learn the color transfer between the domains, and back."""

import keras
import tensorflow as tf
from keras import ops

from .. import losses
from .layers import statistics_dtype


class WarmStart(keras.Model):
    """Teaches G a color transfer, and F to undo it. An extra beyond the paper.

    Unpaired training from the identity finds tone and color slowly and may lose them again; a
    closed-form guess at them is known before it begins. Train it with `fit` on batches of uint8
    source and target patches, before the `WESPE` that shares its generators.

    Args:
        generator: G, a `Generator`.
        inverse_generator: F, a `Generator`.
        transfer: function from (N, H, W, 3) pictures in [0, 1] to transferred ones.
        border: pixels along each edge that the loss skips.
    """

    def __init__(self, generator, inverse_generator, transfer, border=0, **kwargs):
        super().__init__(**kwargs)
        self.generator = generator
        self.inverse_generator = inverse_generator
        self.transfer = transfer
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
        """One step of both generators on the source half of a batch."""
        values, _ = data
        source = ops.cast(values, self.loss_dtype) / 255.0
        transferred = self.transfer(source)
        end = -self.border or None
        inner = (slice(None), slice(self.border, end), slice(self.border, end))
        with tf.GradientTape() as tape:
            enhanced = self.generator(source, training=True)
            reconstructed = self.inverse_generator(transferred, training=True)
            loss = losses.mean_absolute_difference(enhanced[inner], transferred[inner])
            loss += losses.mean_absolute_difference(reconstructed[inner], source[inner])
            scaled = self.optimizer.scale_loss(loss)
        variables = self.trainable_variables
        self.optimizer.apply(tape.gradient(scaled, variables), variables)
        return {"loss": loss}
