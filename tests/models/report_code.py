"""The report's own code, step by step: the drawn numbers and what it computed of them.

`../shared/reference/report_code_lockstep.npz` holds the results, REPORT_CODE_AND_WESPE_TF.md beside
it says what they are.
"""

import keras
import numpy as np
from keras.ops import convert_to_numpy as array

from tests.shared import SHARED
from wespe_tf.config.loading import load
from wespe_tf.config.schema import TrainConfig
from wespe_tf.training.build import build_model

SIZES = {"full": (100, 3, 18), "small": (52, 2, 12)}
BASES = {
    "generator": ("G", 1000),
    "inverse_generator": ("F", 2000),
    "color_discriminator": ("D_color", 3000),
    "texture_discriminator": ("D_texture", 4000),
    "vgg": ("vgg", 5000),
}


def drawn(seed, kind, shape):
    """A variable's value."""
    z = np.random.RandomState(seed).standard_normal(shape)
    if kind in ("kernel", "dense"):
        return z / np.sqrt(np.prod(shape[:-1]))
    if kind == "vgg_kernel":
        return z * np.sqrt(2 / np.prod(shape[:-1]))
    return 1 + 0.1 * z if kind == "scale" else 0.1 * z


def pictures(seed, count, size):
    """(count, size, size, 3) uint8."""
    side = -(-size // 20)
    flat = np.random.RandomState(seed).randint(20, 236, (count, side, side, 3))
    flat = flat.repeat(20, 1).repeat(20, 2)[:, :size, :size]
    noise = np.random.RandomState(seed + 1).randint(-20, 21, (count, size, size, 3))
    return (flat + noise).astype(np.uint8)


def stored(name, prefix):
    """The arrays of a reference file whose keys begin with a prefix, or are its `drawn_first8`."""
    with np.load(SHARED / "reference" / f"{name}.npz") as file:
        found = {key.removeprefix(f"{prefix}."): file[key] for key in file.files}
    return {key: value for key, value in found.items() if not key.startswith(("full.", "small"))}


def generator_variables(generator):
    """(name, kind, variable) in the order of the description."""
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
    """(name, kind, variable) in the order of the description."""
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
    """(name, kind, variable) in the order of the description."""
    found = []
    for conv in vgg.conv_layers():
        norm = vgg.norms[conv.name]
        parts = (conv.kernel, conv.bias, norm.scale, norm.shift)
        found += zip([conv.name] * 4, ("vgg_kernel", "bias", "scale", "shift"), parts)
    return found


def variables(model):
    """Those of each network, by the description's name of it."""
    found = {}
    for network, (name, _) in BASES.items():
        part = getattr(model, network)
        if network == "vgg":
            found[name] = vgg_variables(part)
        elif "discriminator" in network:
            found[name] = discriminator_variables(part)
        else:
            found[name] = generator_variables(part)
    return found


def draw_variables(model, reference):
    """Gives all networks the drawn values, and compares these with those that were drawn there."""
    for name, named in variables(model).items():
        draw(named, name, reference)


def draw(named, network, reference):
    """Gives a network's variables the drawn values."""
    base = dict(BASES.values())[network]
    assert len(named) == len(reference[f"drawn_first8.{network}"])
    for k, (label, kind, variable) in enumerate(named):
        value = drawn(base + k, kind, tuple(variable.shape))
        variable.assign(value)
        first = value.reshape(-1)[:8]
        expected = reference[f"drawn_first8.{network}"][k, : len(first)]
        np.testing.assert_allclose(first, expected, rtol=1e-12, err_msg=f"{network} {label}")


class Recorded:
    """An optimizer of Keras, watched: what gradients it was given in each step."""

    def __init__(self, optimizer):
        self.optimizer, self.gradients = optimizer, []
        self._apply = optimizer.apply
        optimizer.apply = self.apply

    def apply(self, gradients, variables):
        """Keeps the gradients by their variables' paths, and lets the optimizer step."""
        self.gradients.append({v.path: array(g) for g, v in zip(gradients, variables)})
        self._apply(gradients, variables)


def make_model(prefix, reference):
    """`preset=report_code`, built for the pictures of a prefix, with the drawn values."""
    size, batch, _ = SIZES[prefix]
    settings = [f"patch_size={size}", f"batch_size={batch}", "vgg_weights=random"]
    config = load(TrainConfig, ["preset=report_code", *settings])
    # Step sizes are variables of Keras's float type; in float32 they would be off by 3e-8.
    before = keras.config.floatx()
    keras.config.set_floatx(keras.config.dtype_policy().compute_dtype)
    try:
        model = build_model(config)
    finally:
        keras.config.set_floatx(before)
    draw_variables(model, reference)
    return model
