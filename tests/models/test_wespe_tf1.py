"""`preset=wespe_tf1` beside WESPE-TF's own code: three iterations.

Three things are not in the preset, and every number that they change is compared with them mended
here: `AsTheirs` has that code's losses of the generators and its range of pictures, and both steps
of an iteration see one batch. `test_unsupported` says what the first two cost.
"""

import keras
import numpy as np
import pytest
from keras import ops
from keras.ops import convert_to_numpy as array

from tests.models.report_code import Recorded, drawn, pictures, stored
from tests.models.test_report_code import assert_near, cut
from tests.shared import needs_shared
from wespe_tf.config.loading import load
from wespe_tf.config.schema import TrainConfig
from wespe_tf.models.adam import PyTorchAdam
from wespe_tf.models.vgg import VGGFeatures
from wespe_tf.models.wespe import BOTH, DISCRIMINATORS, GENERATORS, WESPE
from wespe_tf.training.build import make_discriminator, make_generator, options_of

SIZES = {"full": (100, 3, 9), "small": (52, 2, 6)}
MEANS = np.array([123.68, 116.779, 103.939])
NAMES = ("generator", "content", "color", "texture", "tv", "color_disc", "texture_disc")
BLOCKS = [f"resblock_{k}_CONV_{part}" for k in range(1, 5) for part in (1, 2)]


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
    """TensorFlow's Adam in float64 throughout; Keras takes the powers of β through float32."""

    def update_step(self, gradient, variable, learning_rate):
        self.epsilon = 1e-8 / np.sqrt(1 - 0.999 ** (int(self.iterations) + 1))
        super().update_step(gradient, variable, learning_rate)


def generator_variables(generator):
    convs = [generator.head, *(layer for block in generator.residuals for layer in block[::2])]
    convs += [*generator.tail, generator.to_rgb]
    names = ["CONV_1", *BLOCKS, "CONV_2", "CONV_3", "CONV_4", "CONV_5"]
    return [
        (f"{name}.{part}", part, getattr(conv, part))
        for name, conv in zip(names, convs, strict=True)
        for part in ("kernel", "bias")
    ]


def discriminator_variables(discriminator):
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


def variables(model):
    return {
        "G": generator_variables(model.generator),
        "F": generator_variables(model.inverse_generator),
        "D_color": discriminator_variables(model.color_discriminator),
        "D_texture": discriminator_variables(model.texture_discriminator),
    }


def make_model(kind, size, reference):
    """A `WESPE` of the preset's networks and losses, with the drawn values."""
    config = load(TrainConfig, ["preset=wespe_tf1"])
    vgg = VGGFeatures(config.content_layer, "matconvnet")
    vgg.build(None)
    parts = ("vgg_kernel", "bias")
    named = [(c.name, k, v) for c in vgg.conv_layers() for k, v in zip(parts, c.weights)]
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
    keras.config.set_floatx("float64")
    try:
        model.compile(ExactAdam(config.learning_rate), ExactAdam(config.learning_rate))
        model.build((2, size, size, 3))
    finally:
        keras.config.set_floatx("float32")
    bases = {"G": 6000, "F": 7000, "D_color": 8000, "D_texture": 9000, "vgg": 5900}
    for network, found in {**variables(model), "vgg": named}.items():
        for k, (name, of_kind, variable) in enumerate(found):
            value = drawn(bases[network] + k, of_kind, tuple(variable.shape))
            variable.assign(value)
            first = value.reshape(-1)[:8]
            expected = reference[f"drawn_first8.{network}"][k, : len(first)]
            np.testing.assert_allclose(first, expected, rtol=1e-12, err_msg=f"{network} {name}")
    return model


def values_of(model, batch):
    """All losses, as an array by `NAMES`."""
    found = model.compute_losses(*model.unpack(batch), training=True, turn=BOTH)
    return np.array([float(found[name]) for name in NAMES])


def draw_pictures(prefix, reference):
    size, _, count = SIZES[prefix]
    phone, dslr = (pictures(seed, count, size) for seed in (30, 40))
    np.testing.assert_array_equal(phone.sum((1, 2, 3)), reference["phone_sums"])
    np.testing.assert_array_equal(dslr.sum((1, 2, 3)), reference["dslr_sums"])
    return phone, dslr


@needs_shared
@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("prefix", SIZES)
def test_float64_agrees_throughout(prefix):
    reference = stored("wespe_tf1_lockstep", prefix)
    assert list(reference["loss_names"])[1:5] == list(NAMES[1:5])
    size, batch, _ = SIZES[prefix]
    phone, dslr = draw_pictures(prefix, reference)
    model = make_model(AsTheirs, size, reference)
    x, y = model.unpack((phone[:batch], dslr[:batch]))
    enhanced = model.generator(x)
    reconstructed = model.inverse_generator(enhanced)
    assert_near(cut(enhanced), reference["first_enhanced"], 1e-9)
    assert_near(cut(reconstructed), reference["first_reconstructed"], 1e-9)
    for name, seen in (("source", x), ("reconstructed", reconstructed)):
        features = array(model.vgg(seen))[:, ::5, ::5, ::8]
        assert_near(features, reference[f"first_vgg_{name}"], 1e-9)
    for side, seen in (("real", y), ("fake", enhanced)):
        for name, view in model.views(seen).items():
            logits = array(model.discriminators[name](view))[:, 0]
            assert_near(logits, reference[f"first_logits_{name}_{side}"], 1e-9)

    watched = Recorded(model.generator_optimizer), Recorded(model.discriminator_optimizer)
    named = variables(model)
    for i in range(3):
        part = slice(i * batch, (i + 1) * batch)
        both = phone[part], dslr[part]
        found = [values_of(model, both)]
        model.turn = GENERATORS
        model.train_step(both)
        found.append(values_of(model, both))
        model.turn = DISCRIMINATORS
        model.train_step(both)
        # Theirs step one after the other, and each changes its own losses alone.
        after, of_color = values_of(model, both), [NAMES.index(n) for n in ("color", "color_disc")]
        third = found[1].copy()
        third[of_color] = after[of_color]
        third[0] += model.weight_of["color"] * (third[2] - found[1][2])
        np.testing.assert_allclose([*found, third], reference["losses"][i], rtol=1e-9)
        gradients = {**watched[0].gradients.pop(), **watched[1].gradients.pop()}
        for network, labeled in named.items():
            ours = [gradients[variable.path] for *_, variable in labeled]
            norms = [np.linalg.norm(gradient) for gradient in ours]
            expected = reference[f"gradient_norms.{i}.{network}"]
            np.testing.assert_allclose(norms, expected, rtol=1e-9, err_msg=network)
        if i != 1:
            for network, labeled in named.items():
                for name, _, variable in labeled:
                    value = array(variable).reshape(-1)[:64]
                    assert_near(value, reference[f"after{i + 1}.{network}.{name}"], 1e-9, name)
    assert_near(cut(model.generator(x)), reference["final_enhanced"], 1e-9)


@needs_shared
@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_unsupported():
    """What the preset itself computes otherwise: these numbers, and no others."""
    reference = stored("wespe_tf1_lockstep", "full")
    size, batch, _ = SIZES["full"]
    phone, dslr = draw_pictures("full", reference)
    both = phone[:batch], dslr[:batch]
    model = make_model(WESPE, size, reference)

    def losses(means):
        x, y = ((p - means) / 255 for p in both)
        found = model.compute_losses(x, y, training=True)
        return np.array([float(found[name]) for name in NAMES])

    theirs = reference["losses"][0][0]
    equal = np.isclose(losses(MEANS), theirs, rtol=1e-9)
    assert [n for n, same in zip(NAMES, equal) if not same] == ["generator", "color", "texture"]
    np.testing.assert_allclose(losses(MEANS)[2:4], [0.6093, 0.5682], atol=1e-4)
    np.testing.assert_allclose(theirs[2:4], [0.7428, 0.7623], atol=1e-4)

    # With another first bias, pictures in [0, 1] are the same inside.
    x = phone[:batch] / 255
    expected = array(model.generator(x - MEANS / 255))
    head = model.generator.head
    head.bias.assign_sub(np.sum(array(head.kernel), (0, 1)).T @ (MEANS / 255))
    apart = np.abs(array(model.generator(x)) - expected)
    reach = 4 + 8 + 3  # of 9×9, eight and three 3×3, 1×1
    assert apart[:, reach:-reach, reach:-reach].max() < 1e-12
    assert apart.max() == pytest.approx(0.17, abs=0.01)
