"""WESPE's networks and objective a second time, in plain TensorFlow and as simple as possible.

They are written from the formulas, and use no layer or loss of the package. The networks are
functions of a dictionary of arrays and an input. Everything runs in the dtype of the input.
"""

import numpy as np
import tensorflow as tf


def conv(x, weights, name, stride=1):
    kernel, bias = weights[f"{name}.kernel"], weights[f"{name}.bias"]
    return tf.nn.conv2d(x, kernel, stride, "SAME") + bias


def instance_norm(x, weights, name, epsilon=1e-3):
    mean, variance = tf.nn.moments(x, [1, 2], keepdims=True)
    shift, scale = weights[f"{name}.shift"], weights[f"{name}.scale"]
    return tf.nn.batch_normalization(x, mean, variance, shift, scale, epsilon)


def generator(x, weights, tanh_scale=0.58):
    """A generator with four residual blocks and instance norm."""
    x = tf.nn.relu(conv(x, weights, "conv1"))
    for k in (0, 2, 4, 6):
        y = tf.nn.relu(instance_norm(conv(x, weights, f"conv{k + 2}"), weights, f"norm{k + 1}"))
        y = tf.nn.relu(instance_norm(conv(y, weights, f"conv{k + 3}"), weights, f"norm{k + 2}"))
        x = x + y
    x = tf.nn.relu(conv(x, weights, "conv10"))
    x = tf.nn.relu(conv(x, weights, "conv11"))
    return tanh_scale * tf.tanh(conv(x, weights, "conv12")) + 0.5


def generator_variables(model):
    """The variables of a `Generator` with four blocks under the names that `generator` uses."""
    found = {}
    convs = [model.head]
    norms = []
    for conv1, norm1, conv2, norm2 in model.residuals:
        convs += [conv1, conv2]
        norms += [norm1, norm2]
    convs += [*model.tail, model.to_rgb]
    for k, layer in enumerate(convs, 1):
        found |= {f"conv{k}.kernel": layer.kernel, f"conv{k}.bias": layer.bias}
    for k, layer in enumerate(norms, 1):
        found |= {f"norm{k}.scale": layer.scale, f"norm{k}.shift": layer.shift}
    return found


def leaky(x):
    return tf.maximum(x, 0.2 * x)


def discriminator(x, weights, order="activation_norm"):
    """The logits of a discriminator with instance norm."""
    x = leaky(conv(x, weights, "conv1", stride=4))
    for k, stride in ((2, 2), (3, 1), (4, 1), (5, 2)):
        x = conv(x, weights, f"conv{k}", stride)
        if order == "activation_norm":
            x = instance_norm(leaky(x), weights, f"norm{k}")
        else:
            x = leaky(instance_norm(x, weights, f"norm{k}"))
    x = tf.reshape(x, (x.shape[0], -1))
    x = leaky(x @ weights["dense.kernel"] + weights["dense.bias"])
    return x @ weights["logits.kernel"] + weights["logits.bias"]


def discriminator_variables(model):
    """The variables of a `Discriminator` under the names that `discriminator` uses."""
    found = {}
    for k, (layer, norm) in enumerate(zip(model.convs, model.norms), 1):
        found |= {f"conv{k}.kernel": layer.kernel, f"conv{k}.bias": layer.bias}
        if norm is not None:
            found |= {f"norm{k}.scale": norm.scale, f"norm{k}.shift": norm.shift}
    for name, layer in zip(("dense", "logits"), model.denses):
        found |= {f"{name}.kernel": layer.kernel, f"{name}.bias": layer.bias}
    return found


def wespe_variables(model):
    """The variables of a `WESPE`'s four networks, by network and by name."""
    return {
        "generator": generator_variables(model.generator),
        "inverse_generator": generator_variables(model.inverse_generator),
        "color_discriminator": discriminator_variables(model.color_discriminator),
        "texture_discriminator": discriminator_variables(model.texture_discriminator),
    }


def tensors(variables, dtype=tf.float64):
    """A dictionary of Keras variables as tensors of one dtype."""
    return {name: tf.constant(v.numpy(), dtype) for name, v in variables.items()}


def gray(x):
    return 0.2989 * x[..., 0:1] + 0.5870 * x[..., 1:2] + 0.1140 * x[..., 2:3]


def blur(x, kernel):
    """One depthwise convolution with a kernel of (height, width)."""
    kernel = np.repeat(kernel[:, :, None, None], x.shape[-1], axis=2)
    return tf.nn.depthwise_conv2d(x, tf.constant(kernel, x.dtype), [1, 1, 1, 1], "SAME")


def paper_blur(x):
    """A·exp(−(k² + l²)/(2·3)) of sum 1, 21×21."""
    k = np.arange(-10, 11)
    kernel = np.exp(-(k[:, None] ** 2 + k[None, :] ** 2) / 6)
    return blur(x, kernel / kernel.sum())


def sigmoid_bce(logits, targets):
    """−mean(t·log p + (1 − t)·log(1 − p)); `targets` is one row."""
    p = 1 / (1 + tf.exp(-logits))
    t = tf.constant([targets], logits.dtype)
    return -tf.reduce_mean(t * tf.math.log(p) + (1 - t) * tf.math.log(1 - p))


def total_variation(x):
    across = tf.reduce_mean((x[:, :, 1:] - x[:, :, :-1]) ** 2)
    return across + tf.reduce_mean((x[:, 1:] - x[:, :-1]) ** 2)


def mean_absolute_difference(a, b):
    return tf.reduce_mean(tf.abs(a - b))


REAL, FAKE = [1.0, 0.0], [0.0, 1.0]


def cut(x, border):
    return x[:, border : x.shape[1] - border, border : x.shape[2] - border]


def generator_losses(x, g, f, color_d, texture_d, weights, content=None, guide=None, border=0):
    """Losses of the generators on source pictures `x`.

    Args:
        x: (N, H, W, 3) tensor in [0, 1].
        g, f, color_d, texture_d: dictionaries of the networks' tensors.
        weights: weights of content, color, texture, tv and guide.
        content: function of (reconstructed, source); the mean absolute difference by default.
        guide: (N, H, W, 3) tensor in [0, 1], or None.
        border: pixels that are cut off at each edge before any loss.
    """
    enhanced = generator(x, g)
    reconstructed = cut(generator(enhanced, f), border)
    enhanced, source = cut(enhanced, border), cut(x, border)
    losses = {
        "content": (content or mean_absolute_difference)(reconstructed, source),
        "color": sigmoid_bce(discriminator(paper_blur(enhanced), color_d), REAL),
        "texture": sigmoid_bce(discriminator(gray(enhanced), texture_d), REAL),
        "tv": total_variation(enhanced),
        "guide": tf.constant(0.0, x.dtype),
    }
    if guide is not None:
        blurred = paper_blur(enhanced), paper_blur(cut(guide, border))
        losses["guide"] = mean_absolute_difference(*blurred)
    total = sum(w * losses[name] for name, w in weights.items())
    return {**losses, "generator": total}


def discriminator_losses(x, y, g, color_d, texture_d, border=0):
    """Losses of the discriminators on source pictures `x` and target pictures `y`."""
    enhanced, y = cut(generator(x, g), border), cut(y, border)

    def loss(d, view):
        real, fake = discriminator(view(y), d), discriminator(view(enhanced), d)
        return sigmoid_bce(real, REAL) + sigmoid_bce(fake, FAKE)

    return {"color_disc": loss(color_d, paper_blur), "texture_disc": loss(texture_d, gray)}


class Adam:
    """Adam (Kingma & Ba 2015) in NumPy, ε outside the bias correction as in TensorFlow."""

    def __init__(self, step, beta_1, beta_2=0.999, epsilon=1e-8):
        self.step, self.beta_1, self.beta_2, self.epsilon = step, beta_1, beta_2, epsilon
        self.t, self.m, self.v = 0, {}, {}

    def __call__(self, values, gradients):
        """The values after a step. Arguments and result are dictionaries of arrays."""
        self.t += 1
        rate = self.step * np.sqrt(1 - self.beta_2**self.t) / (1 - self.beta_1**self.t)
        after = {}
        for name, g in gradients.items():
            self.m[name] = self.beta_1 * self.m.get(name, 0.0) + (1 - self.beta_1) * g
            self.v[name] = self.beta_2 * self.v.get(name, 0.0) + (1 - self.beta_2) * g**2
            change = rate * self.m[name] / (np.sqrt(self.v[name]) + self.epsilon)
            after[name] = values[name] - change
        return after
