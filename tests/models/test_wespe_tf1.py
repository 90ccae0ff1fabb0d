"""`preset=wespe_tf1` beside WESPE-TF's own code: three iterations.

Three things are not in the preset, and every number that they change is compared with them mended:
`AsTheirs` (`benchmarks/public_codes/wespe_tf1.py`) has that code's losses of the generators and its
range of pictures, and both steps of an iteration see one batch. `test_unsupported` says what the
first two cost.
"""

import numpy as np
import pytest
from keras.ops import convert_to_numpy as array

from benchmarks.public_codes import wespe_tf1
from benchmarks.public_codes.drawing import pictures
from benchmarks.public_codes.wespe_tf1 import MEANS, AsTheirs, variables
from benchmarks.public_codes.wespe_tf1_theirs import draw_vgg
from tests.models.report_code import Recorded, check_draws, stored
from tests.models.test_report_code import assert_near, cut
from tests.shared import needs_shared
from wespe_tf.models.wespe import BOTH, DISCRIMINATORS, GENERATORS, WESPE

SIZES = {"full": (100, 3, 9), "small": (52, 2, 6)}
NAMES = ("generator", "content", "color", "texture", "tv", "color_disc", "texture_disc")


def make_model(kind, size, reference, folder):
    """A `WESPE` of the preset's networks and losses, with the drawn values."""
    draw_vgg(folder / "vgg.mat", "float64")
    model = wespe_tf1.make_model(kind, size, str(folder / "vgg.mat"))
    for network, named in variables(model).items():
        check_draws(named, reference[f"drawn_first8.{network}"])
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
def test_float64_agrees_throughout(prefix, tmp_path):
    reference = stored("wespe_tf1_lockstep", prefix)
    assert list(reference["loss_names"])[1:5] == list(NAMES[1:5])
    size, batch, _ = SIZES[prefix]
    phone, dslr = draw_pictures(prefix, reference)
    model = make_model(AsTheirs, size, reference, tmp_path)
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
def test_unsupported(tmp_path):
    """What the preset itself computes otherwise: these numbers, and no others."""
    reference = stored("wespe_tf1_lockstep", "full")
    size, batch, _ = SIZES["full"]
    phone, dslr = draw_pictures("full", reference)
    both = phone[:batch], dslr[:batch]
    model = make_model(WESPE, size, reference, tmp_path)

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
