"""WESPE and DPED as plain TensorFlow 1 graphs. This project's training is compared with them.

They are written as the authors wrote DPED: placeholders, all losses in one graph, and one
`AdamOptimizer` for each side. Each optimizer has its own `Session.run`, which computes everything
that it needs again. The networks are the functions of `benchmarks/plain.py`.
"""

import abc

import numpy as np
import tensorflow as tf

from benchmarks import plain
from wespe_tf.models.views import blur_profile

v1 = tf.compat.v1

VGG_CONVOLUTIONS = (2, 2, 4, 4, 4)
VGG_MEAN_RGB = (123.68, 116.779, 103.939)


class PlainGraph(abc.ABC):
    """A graph, its session, and an iteration of training.

    Args:
        weights: dictionary from network to dictionary of arrays, with the names of `plain`. The
            networks are `generator`, `inverse_generator`, `color_discriminator`,
            `texture_discriminator` and `vgg`, as far as the objective has them.
        batch: patches in a batch.
        side: side of the square patches, in pixels.
        learning_rate: learning rate of Adam.
    """

    def __init__(self, weights, batch, side, learning_rate):
        self.batch = batch
        with tf.Graph().as_default():
            self.source, self.target = (
                v1.placeholder(tf.float32, [batch, side, side, 3]) for _ in range(2)
            )
            self.vgg_weights = weights["vgg"]
            networks = {
                network: {
                    name: v1.get_variable(
                        f"{network}/{name}", initializer=np.float32(value), use_resource=False
                    )
                    for name, value in arrays.items()
                }
                for network, arrays in weights.items()
                if network != "vgg"
            }
            self.losses, trained = self.build(networks)
            self.steps = []
            for loss, names in trained:
                variables = [v for name in names for v in networks[name].values()]
                optimizer = v1.train.AdamOptimizer(learning_rate)
                step = optimizer.minimize(self.losses[loss], var_list=variables)
                self.steps.append([self.losses[loss], step])
            self.session = v1.Session()
            self.session.run(v1.global_variables_initializer())

    @abc.abstractmethod
    def build(self, networks):
        """The losses, a dictionary of scalars, and a list of (loss, networks that it trains)."""

    def iterate(self, *feeds):
        """Trains with one `Session.run` for each of the steps.

        Args:
            feeds: dictionaries by placeholder, one for each step. Further steps get the last one.
        """
        for k, step in enumerate(self.steps):
            self.session.run(step, feeds[min(k, len(feeds) - 1)])

    def evaluate(self, feed):
        """All losses as floats, without training anything."""
        return {k: float(v) for k, v in self.session.run(self.losses, feed).items()}

    def vgg(self, pictures, style):
        """relu5_4 of VGG-19. `style` is `"keras"` or `"matconvnet"`, see `VGGFeatures`."""
        x = pictures * 255 - tf.constant(VGG_MEAN_RGB)
        x = x[..., ::-1] if style == "keras" else x
        for block, count in enumerate(VGG_CONVOLUTIONS, 1):
            if block > 1:
                x = tf.nn.max_pool2d(x, 2, 2, "VALID" if style == "keras" else "SAME")
            for k in range(1, count + 1):
                x = tf.nn.relu(plain.conv(x, self.vgg_weights, f"block{block}_conv{k}"))
        return x


class PlainWESPE(PlainGraph):
    """WESPE: three runs, one for G with F, one for D_c and one for D_t.

    Args:
        weights, batch, side, learning_rate: see `PlainGraph`.
        loss_weights: weights of content, color, texture and tv.
    """

    def __init__(self, weights, batch, side, learning_rate, loss_weights):
        self.loss_weights = loss_weights
        super().__init__(weights, batch, side, learning_rate)

    def build(self, networks):
        def content(reconstructed, source):
            features = self.vgg(reconstructed, "keras"), self.vgg(source, "keras")
            return tf.reduce_mean((features[0] - features[1]) ** 2)

        g, f, color_d, texture_d = (
            networks[name]
            for name in (
                *("generator", "inverse_generator"),
                *("color_discriminator", "texture_discriminator"),
            )
        )
        losses = plain.generator_losses(
            self.source, g, f, color_d, texture_d, self.loss_weights, content
        )
        losses |= plain.discriminator_losses(self.source, self.target, g, color_d, texture_d)
        return losses, [
            ("generator", ["generator", "inverse_generator"]),
            ("color_disc", ["color_discriminator"]),
            ("texture_disc", ["texture_discriminator"]),
        ]

    def feed(self, source, target):
        """The values of the placeholders for pictures in [0, 1]."""
        return {self.source: source, self.target: target}


class PlainDPED(PlainGraph):
    """DPED with the authors' loss weights: one run for the generator, another one for D."""

    def build(self, networks):
        self.swaps = v1.placeholder(tf.float32, [self.batch, 1])
        enhanced = plain.generator(self.source, networks["generator"])
        swaps = tf.reshape(self.swaps, [-1, 1, 1, 1])
        seen = plain.gray(enhanced) * (1 - swaps) + plain.gray(self.target) * swaps
        logits = plain.discriminator(seen, networks["texture_discriminator"])
        wanted = tf.concat([self.swaps, 1 - self.swaps], 1)
        chances = tf.clip_by_value(tf.nn.softmax(logits), 1e-10, 1.0)
        disc = -tf.reduce_sum(wanted * tf.math.log(chances))
        apart = self.vgg(enhanced, "matconvnet") - self.vgg(self.target, "matconvnet")
        kernel = np.multiply.outer(*2 * [blur_profile("dped_code")])
        blurred = plain.blur(self.target, kernel) - plain.blur(enhanced, kernel)
        losses = {
            "content": tf.reduce_mean(apart**2),
            "color": tf.reduce_sum(blurred**2) / (2 * self.batch),
            "texture": -disc,
            "tv": plain.total_variation(enhanced),
            "texture_disc": disc,
        }
        weights = {"content": 10.0, "color": 0.5, "texture": 1.0, "tv": 2000.0}
        losses["generator"] = sum(w * losses[name] for name, w in weights.items())
        return losses, [
            ("generator", ["generator"]),
            ("texture_disc", ["texture_discriminator"]),
        ]

    def feed(self, source, target, swaps):
        """The values of the placeholders for pictures in [0, 1] and (N, 1) zeros and ones."""
        return {self.source: source, self.target: target, self.swaps: swaps}
