"""`preset=wespe_tf1` beside WESPE-TF's own code.

Three things of that code are not in the preset, and are mended here, so that every number can be
compared: `AsTheirs` has its losses of the generators and its range of pictures, and both turns of
an iteration see one batch.
"""

import keras
import numpy as np
from keras import ops

from benchmarks.public_codes import lockstep
from benchmarks.public_codes.wespe_tf1_theirs import NETWORKS, draw_data, draw_vgg, run_theirs
from wespe_tf.config.loading import load
from wespe_tf.config.schema import TrainConfig
from wespe_tf.models.adam import PyTorchAdam
from wespe_tf.models.wespe import WESPE
from wespe_tf.training.build import make_discriminator, make_generator, options_of
from wespe_tf.training.schedule import make_schedule
from wespe_tf.weights.vgg import load_vgg

# What their code subtracts from pictures.
MEANS = np.array([123.68, 116.779, 103.939])
BLOCKS = [f"resblock_{k}_CONV_{part}" for k in range(1, 5) for part in (1, 2)]


def compare(checkout, iterations, size, output):
    """`Column`s of the table. `checkout` and `output` are absolute paths."""
    works = run_theirs, run_ours
    return lockstep.compare("WESPE-TF", works, output, checkout, iterations, size)


def run_ours(_, iterations, size, precision):
    """A process: trains `preset=wespe_tf1`, as `AsTheirs`."""
    lockstep.use(precision)
    draw_vgg("vgg.mat", precision)
    model = make_model(AsTheirs, int(size), "vgg.mat")
    lockstep.train_ours(
        model,
        variables(model),
        draw_data(int(iterations), int(size)),
        make_schedule(load(TrainConfig, ["preset=wespe_tf1"])),
        turns=2,
    )


class AsTheirs(WESPE):
    """What the preset leaves out: logits as labels, and pictures less the means."""

    def unpack(self, data):
        return tuple((ops.cast(p, self.loss_dtype) - MEANS) / 255.0 for p in data)

    def compute_losses(self, source, target, guide=None, **options):
        self.target_views = self.views(target)
        return super().compute_losses(source, target, guide, **options)

    def adversarial_loss(self, name, step):
        logits = self.discriminators[name](self.target_views[name])
        labels = step.judged[name]
        return ops.mean(ops.relu(logits) - logits * labels + ops.softplus(-ops.abs(logits)))


class ExactAdam(PyTorchAdam):
    """TensorFlow's Adam in the variables' precision; Keras takes powers of β through float32."""

    def update_step(self, gradient, variable, learning_rate):
        step = ops.cast(self.iterations + 1, variable.dtype)
        beta = ops.convert_to_tensor(self.beta_2, dtype=variable.dtype)
        self.epsilon = 1e-8 / ops.sqrt(1 - ops.power(beta, step))
        super().update_step(gradient, variable, learning_rate)


def make_model(kind, size, vgg_file):
    """A model of the preset's networks and losses, with the drawn values.

    Args:
        kind: `WESPE` or `AsTheirs`. Both take pictures less the means.
        size: side of the patches, pixels.
        vgg_file: path of the file that `draw_vgg` wrote.
    """
    config = load(TrainConfig, ["preset=wespe_tf1"])
    vgg = load_vgg(config.content_layer, vgg_file)
    model = kind(
        make_generator(config, "generator"),
        make_generator(config, "inverse_generator"),
        make_discriminator(config, "color", config.color_norm, config.color_layers),
        make_discriminator(config, "texture", config.texture_norm, config.texture_layers),
        None,
        **options_of(config, WESPE),
    )
    # What it is given is less the means already.
    model.vgg = lambda x: vgg(x + MEANS / 255.0)
    # Step sizes are variables of Keras's float type.
    before = keras.config.floatx()
    keras.config.set_floatx(keras.config.dtype_policy().compute_dtype)
    try:
        model.compile(ExactAdam(config.learning_rate), ExactAdam(config.learning_rate))
        model.build((2, size, size, 3))
    finally:
        keras.config.set_floatx(before)
    for name, named in variables(model).items():
        lockstep.draw(named, NETWORKS[name][1])
    return model


def variables(model):
    """Lists of (name, kind, variable) in the order of the drawing, by network."""
    return {
        "G": generator_variables(model.generator),
        "F": generator_variables(model.inverse_generator),
        "D_color": discriminator_variables(model.color_discriminator),
        "D_texture": discriminator_variables(model.texture_discriminator),
    }


def generator_variables(generator):
    """(name, kind, variable) in the order of the drawing."""
    convs = [generator.head, *(layer for block in generator.residuals for layer in block[::2])]
    convs += [*generator.tail, generator.to_rgb]
    names = ["CONV_1", *BLOCKS, "CONV_2", "CONV_3", "CONV_4", "CONV_5"]
    return [
        (f"{name}.{part}", part, getattr(conv, part))
        for name, conv in zip(names, convs, strict=True)
        for part in ("kernel", "bias")
    ]


def discriminator_variables(discriminator):
    """(name, kind, variable) in the order of the drawing."""
    found = []
    for k, (conv, norm) in enumerate(zip(discriminator.convs, discriminator.norms), 1):
        found += [
            (f"CONV_{k}.kernel", "kernel", conv.kernel),
            (f"CONV_{k}.bias", "bias", conv.bias),
        ]
        if norm is not None:
            found += [(f"BN_{k}.gamma", "scale", norm.gamma), (f"BN_{k}.beta", "shift", norm.beta)]
    for name, dense in zip(("dense", "dense_1"), discriminator.denses):
        found += [(f"{name}.kernel", "dense", dense.kernel), (f"{name}.bias", "bias", dense.bias)]
    return found
