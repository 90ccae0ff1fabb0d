"""`preset=report_code` beside the report's own code: six iterations, and the balance of 240.

Both sizes of the iterations take ten seconds of processor time and more, so they are slow tests;
the discriminators, which hold most of what is special, are a fast one.
"""

import numpy as np
import pytest
from keras.ops import convert_to_numpy as array

from benchmarks.public_codes import drawing, lockstep
from benchmarks.public_codes import report_code as public
from benchmarks.public_codes.report_code_theirs import SEEDS
from tests.models import report_code
from tests.shared import needs_shared
from wespe_tf.config.loading import load
from wespe_tf.config.schema import TrainConfig
from wespe_tf.models.views import GaussianBlur, Luma
from wespe_tf.models.wespe import DISCRIMINATORS, GENERATORS
from wespe_tf.training.build import make_discriminator
from wespe_tf.training.schedule import make_schedule

TURNS = (GENERATORS, DISCRIMINATORS, DISCRIMINATORS) * 2
TERMS = ("color", "texture", "tv", "content")


def assert_near(found, expected, tolerance, message=""):
    """Equal but for `tolerance` of the largest expected value."""
    found, expected = array(found), np.asarray(expected)
    assert found.shape == expected.shape, message
    largest = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, 0, tolerance * largest, err_msg=message)


def cut(pictures):
    return array(pictures)[:, ::9, ::9]


def first_outputs(model, x, y):
    """What the stored arrays `first_…` hold."""
    enhanced = model.generator(x)
    reconstructed = model.inverse_generator(enhanced)
    found = {"enhanced": cut(enhanced), "reconstructed": cut(reconstructed)}
    for side, pictures in (("fake", enhanced), ("real", y)):
        views = model.views(pictures)
        found[f"{side}_blurred"], found[f"{side}_gray"] = cut(views["color"]), cut(views["texture"])
        for name, discriminator in model.discriminators.items():
            found[f"logits_{name}_{side}"] = array(discriminator(views[name]))[:, 0]
    found["vgg_enhanced"] = array(model.vgg(enhanced))[..., ::8]
    found["vgg_reconstructed"] = array(model.vgg(reconstructed))[..., ::8]
    return found


def run(prefix):
    """Runs the iterations.

    Returns:
        The stored arrays, the model, every iteration's losses, the gradients by iteration and
        network, values of all variables after three and six iterations, G(x) in the last one.
    """
    reference = report_code.stored("report_code_lockstep", prefix)
    size, batch, count = report_code.SIZES[prefix]
    phone, dslr = (drawing.pictures(seed, count, size) for seed in (10, 20))
    np.testing.assert_array_equal(phone.sum((1, 2, 3)), reference["phone_sums"])
    np.testing.assert_array_equal(dslr.sum((1, 2, 3)), reference["dslr_sums"])
    model = report_code.make_model(prefix, reference)
    watched = {
        GENERATORS: report_code.Recorded(model.generator_optimizer),
        DISCRIMINATORS: report_code.Recorded(model.discriminator_optimizer),
    }
    x, y = (p.astype(model.loss_dtype) / 255 for p in (phone, dslr))
    first = first_outputs(model, x[:batch], y[:batch])
    losses, gradients, after, enhanced = [], [], {}, None
    for i in range(6):
        smoothed = 0.1 * reference["smoothing_draws"][i]
        model.draw_labels = lambda smoothed=smoothed: (1 - smoothed, smoothed)
        part = slice(i * batch, (i + 1) * batch)
        model.turn = TURNS[i]
        if i == 5:
            enhanced = cut(model.generator(x[part]))
        values = model.train_step((phone[part], dslr[part]))
        losses.append({name: float(value) for name, value in values.items()})
        gradients.append(watched[TURNS[i]].gradients.pop())
        if i in (2, 5):
            after[i + 1] = {
                f"{network}.{name}": array(variable).reshape(-1)[:64].copy()
                for network, named in public.variables(model).items()
                for name, _, variable in named
                if network != "vgg"
            }
    return reference, model, first, losses, gradients, after, enhanced


def check_losses(reference, losses, tolerances):
    """Every loss of the iterations that were run, to each iteration's tolerance."""
    of_g = [i for i in range(len(losses)) if TURNS[i] == GENERATORS]
    of_d = [i for i in range(len(losses)) if TURNS[i] == DISCRIMINATORS]
    assert tuple(reference["terms_names"]) == TERMS
    for k, i in enumerate(of_g):
        assert losses[i]["generator"] == pytest.approx(
            reference["generator_losses"][k], rel=tolerances[i]
        )
        found = [losses[i][name] for name in TERMS]
        np.testing.assert_allclose(found, reference["generator_terms"][k], rtol=tolerances[i])
    for k, i in enumerate(of_d):
        for name in ("color", "texture"):
            expected = reference[f"{name}_disc_losses"][k]
            assert losses[i][f"{name}_disc"] == pytest.approx(expected, rel=tolerances[i])


def drawn_discriminator(name, reference):
    """One of preset=report_code, with the drawn values, and target pictures for it."""
    size, batch, count = report_code.SIZES["small"]
    config = load(TrainConfig, ["preset=report_code"])
    discriminator = make_discriminator(config, name, "instance", config.color_layers)
    discriminator.build((None, size, size, {"color": 3, "texture": 1}[name]))
    named = public.discriminator_variables(discriminator)
    lockstep.draw(named, SEEDS[f"D_{name}"])
    report_code.check_draws(named, reference[f"drawn_first8.D_{name}"])
    return discriminator, drawing.pictures(20, count, size)[:batch] / 255


@needs_shared
@pytest.mark.usefixtures("float64")
def test_discriminators_judge_alike():
    reference = report_code.stored("report_code_lockstep", "small")
    for name, view in (("color", GaussianBlur("unnormalised")), ("texture", Luma())):
        discriminator, y = drawn_discriminator(name, reference)
        logits = array(discriminator(view(y)))[:, 0]
        assert_near(logits, reference[f"first_logits_{name}_real"], 1e-9, name)


@needs_shared
@pytest.mark.usefixtures("float64")
def test_discriminators_are_blind_to_brightness():
    """An eighth of the light changes no logit, nor does a blur that sums to 56 and not to 1."""
    reference = report_code.stored("report_code_lockstep", "small")
    for name, view, tolerance in (
        ("color", GaussianBlur("unnormalised"), 1e-5),
        ("texture", Luma(), 1e-2),
    ):
        discriminator, y = drawn_discriminator(name, reference)
        seen = array(view(y))
        logits = array(discriminator(seen))
        assert_near(discriminator(seen / 8), logits, tolerance)
        assert np.ptp(logits) > 10 * tolerance * np.abs(logits).max()
        if name == "color":
            assert_near(discriminator(seen / reference["blur_sum"]), logits, 1e-3)


@needs_shared
@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("prefix", ["small", "full"])
def test_float64_agrees_throughout(prefix):
    reference, model, first, losses, gradients, after, enhanced = run(prefix)
    for name, value in first.items():
        assert_near(value, reference[f"first_{name}"], 1e-9, name)
    check_losses(reference, losses, 6 * [1e-9])

    named = public.variables(model)
    for i, found in enumerate(gradients):
        for network in ("G", "F") if TURNS[i] == GENERATORS else ("D_color", "D_texture"):
            ours = [found[variable.path] for _, _, variable in named[network]]
            norms = np.array([np.linalg.norm(gradient) for gradient in ours])
            expected = reference[f"gradient_norms.{i}.{network}"]
            # Biases in front of a norm have none, but for rounding.
            real = expected > 1e-12 * expected.max()
            assert real.sum() > 10
            np.testing.assert_allclose(norms[real], expected[real], rtol=1e-9)
            assert norms[~real].max(initial=0) < 1e-11 * expected.max()
            if i < 3:
                heads = reference[f"gradient_first8.{i}.{network}"]
                for k in np.flatnonzero(real):
                    first_8 = ours[k].reshape(-1)[:8]
                    assert_near(first_8, heads[k, : len(first_8)], 1e-8)
    for iteration, values in after.items():
        for name, value in values.items():
            expected = reference[f"after{iteration}.{name}"]
            # A bias without a gradient moves by rounding, divided by itself and ε.
            idle = name.endswith("bias") and ".conv" in name and not name.endswith("conv1.bias")
            assert_near(value, expected, 1e-7 if idle else 1e-9, f"{name} after {iteration}")
    assert_near(enhanced, reference["final_enhanced"], 1e-9)


@needs_shared
@pytest.mark.slow
def test_float32_agrees_as_far_as_their_own():
    """Their own float32, against float64: 1e-5 in two iterations, 3e-3 in content later."""
    reference, _, first, losses, *_ = run("small")
    for name in ("enhanced", "logits_color_fake", "logits_texture_real"):
        assert_near(first[name], reference[f"first_{name}"], 2e-5, name)
    check_losses(reference, losses, [1e-4, 1e-4, 3e-3, 1e-2, 3e-3, 3e-3])


@needs_shared
def test_balance_decides_alike_in_240_iterations():
    reference = report_code.stored("report_code_lockstep", "small")
    schedule = make_schedule(load(TrainConfig, ["preset=report_code"]))
    of_d = ("balance_color_disc_losses", "balance_texture_disc_losses")
    for i in range(240):
        side = schedule.turn()
        ratio = (schedule.ratio.generator_steps, schedule.ratio.period)
        expected = reference["balance_ratio"][i]
        assert side == (GENERATORS, DISCRIMINATORS)[reference["balance_side"][i]], i
        assert ratio == (expected[0], expected.sum()), i
        if side == GENERATORS:
            schedule.observe(generator_loss=reference["balance_generator_losses"][i])
        else:
            schedule.observe(discriminator_loss=np.mean([reference[name][i] for name in of_d]))
