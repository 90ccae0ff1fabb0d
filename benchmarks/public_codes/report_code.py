"""`preset=report_code` beside the report's own code."""

import keras
import tensorflow as tf

from benchmarks.public_codes import lockstep
from benchmarks.public_codes.drawing import BATCH_SIZE
from benchmarks.public_codes.report_code_theirs import SEEDS, draw_data, run_theirs
from wespe_tf.config.loading import load
from wespe_tf.config.schema import TrainConfig
from wespe_tf.training.build import build_model
from wespe_tf.training.schedule import make_schedule

# By name in the drawing: the networks here.
NETWORKS = {
    "G": "generator",
    "F": "inverse_generator",
    "D_color": "color_discriminator",
    "D_texture": "texture_discriminator",
    "vgg": "vgg",
}
SMOOTHING = 0.1


def compare(checkout, iterations, size, output):
    """`Column`s of the table. `checkout` and `output` are absolute paths."""
    works = run_theirs, run_ours
    return lockstep.compare("report-code", works, output, checkout, iterations, size)


def run_ours(_, iterations, size, precision):
    """A process: trains `preset=report_code`."""
    lockstep.use(precision)
    *data, smoothing = draw_data(int(iterations), int(size))
    model = make_model(int(size), BATCH_SIZE)
    smoothed = tf.Variable(0.0, dtype=precision)
    model.draw_labels = lambda: (1 - smoothed, smoothed.value())
    lockstep.train_ours(
        model,
        variables(model),
        data,
        make_schedule(load(TrainConfig, ["preset=report_code"])),
        before=lambda iteration: smoothed.assign(SMOOTHING * smoothing[iteration]),
    )


def make_model(size, batch_size):
    """`preset=report_code`, built for patches of `size` pixels, with the drawn values."""
    settings = [f"patch_size={size}", f"batch_size={batch_size}", "vgg_weights=random"]
    config = load(TrainConfig, ["preset=report_code", *settings])
    # Step sizes are variables of Keras's float type; in float32 they would be off by 3e-8.
    before = keras.config.floatx()
    keras.config.set_floatx(keras.config.dtype_policy().compute_dtype)
    try:
        model = build_model(config)
    finally:
        keras.config.set_floatx(before)
    for name, named in variables(model).items():
        lockstep.draw(named, SEEDS[name])
    return model


def variables(model):
    """Lists of (name, kind, variable) in the order of the drawing, by network."""
    found = {}
    for name, attribute in NETWORKS.items():
        part = getattr(model, attribute)
        if name == "vgg":
            found[name] = vgg_variables(part)
        elif "discriminator" in attribute:
            found[name] = discriminator_variables(part)
        else:
            found[name] = generator_variables(part)
    return found


def generator_variables(generator):
    """(name, kind, variable) in the order of the drawing."""
    found = [("conv1.kernel", "kernel", generator.head.kernel)]
    found.append(("conv1.bias", "bias", generator.head.bias))
    number = 1
    for block in generator.residuals:
        for conv, norm in (block[:2], block[2:]):
            number += 1
            found += [
                (f"conv{number}.kernel", "kernel", conv.kernel),
                (f"conv{number}.bias", "bias", conv.bias),
                (f"norm{number - 1}.scale", "scale", norm.scale),
                (f"norm{number - 1}.shift", "shift", norm.shift),
            ]
    for conv in (*generator.tail, generator.to_rgb):
        number += 1
        found.append((f"conv{number}.kernel", "kernel", conv.kernel))
        found.append((f"conv{number}.bias", "bias", conv.bias))
    return found


def discriminator_variables(discriminator):
    """(name, kind, variable) in the order of the drawing."""
    found = []
    for k, (conv, norm) in enumerate(zip(discriminator.convs, discriminator.norms), 1):
        found += [
            (f"conv{k}.kernel", "kernel", conv.kernel),
            (f"conv{k}.bias", "bias", conv.bias),
            (f"norm{k}.scale", "scale", norm.scale),
            (f"norm{k}.shift", "shift", norm.shift),
        ]
    dense, logits = discriminator.denses
    norm = discriminator.norm_of_dense
    return [
        *found,
        ("dense.kernel", "dense", dense.kernel),
        ("layer_norm.scale", "scale", norm.gamma),
        ("layer_norm.shift", "shift", norm.beta),
        ("logits.kernel", "dense", logits.kernel),
        ("logits.bias", "bias", logits.bias),
    ]


def vgg_variables(vgg):
    """(name, kind, variable) in the order of the drawing."""
    found = []
    for conv in vgg.conv_layers():
        norm = vgg.norms[conv.name]
        parts = (conv.kernel, conv.bias, norm.scale, norm.shift)
        found += zip([conv.name] * 4, ("vgg_kernel", "bias", "scale", "shift"), parts)
    return found
