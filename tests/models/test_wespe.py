"""WESPE's training step against a second, plain implementation."""

import keras
import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf

from benchmarks import plain
from tests.models.tiny_wespe import (
    NETWORKS,
    SIDE,
    WEIGHTS,
    array,
    make_wespe,
    values_of,
)
from wespe_tf.models.layers import InstanceNormalization
from wespe_tf.models.views import Detail, blur_profile
from wespe_tf.models.wespe import BOTH, DISCRIMINATORS, GENERATORS
from wespe_tf.weights.vgg import load_vgg


def plain_step(values, source, target, w_guide=0, **options):
    """Losses and gradients of one step, from separate tapes and separate forward passes.

    Args:
        values: arrays by (network, name).
        source, target: uint8 batches.
        w_guide: weight of the guide loss.
        options: `content`, `guide` and `border` of `plain.generator_losses`.

    Returns:
        (losses by name, gradients by (network, name)).
    """
    x, y = (tf.constant(p / 255) for p in (source, target))
    nets = {network: {} for network in NETWORKS}
    for (network, name), value in values.items():
        nets[network][name] = tf.constant(value)
    g, f, color_d, texture_d = (nets[network] for network in NETWORKS)
    border = options.get("border", 0)
    gradients = {}

    with tf.GradientTape() as tape:
        tape.watch([g, f])
        weights = {**WEIGHTS, "guide": w_guide}
        losses = plain.generator_losses(x, g, f, color_d, texture_d, weights, **options)
    found = tape.gradient(losses["generator"], [g, f])
    gradients |= {("generator", name): v.numpy() for name, v in found[0].items()}
    gradients |= {("inverse_generator", name): v.numpy() for name, v in found[1].items()}

    for network, loss, d in (
        ("color_discriminator", "color_disc", color_d),
        ("texture_discriminator", "texture_disc", texture_d),
    ):
        with tf.GradientTape() as tape:
            tape.watch(d)
            values = plain.discriminator_losses(x, y, g, color_d, texture_d, border)
        losses[loss] = values[loss]
        found = tape.gradient(values[loss], d)
        gradients |= {(network, name): v.numpy() for name, v in found.items()}
    return {name: float(v) for name, v in losses.items()}, gradients


def assert_same(found, expected, atol, rtol=1e-9):
    assert found.keys() == expected.keys()
    for key in expected:
        np.testing.assert_allclose(
            array(found[key]), expected[key], rtol=rtol, atol=atol, err_msg=str(key)
        )


@pytest.mark.usefixtures("float64")
class TestAgainstPlainStep:
    @pytest.mark.parametrize(
        "border, w_guide", [(3, 1.7), pytest.param(0, 0, marks=pytest.mark.slow)]
    )
    def test_losses_and_gradients(self, batch, border, w_guide):
        """With plain gradient descent of step 1, a variable changes by its gradient."""
        descent = keras.optimizers.SGD(1.0), keras.optimizers.SGD(1.0)
        model = make_wespe(*descent, weights={"guide": w_guide}, border=border)
        options = {"border": border, "w_guide": w_guide}
        before = values_of(model)
        if w_guide:
            guide = batch[0][..., ::-1]
            options["guide"] = tf.constant(guide / 255)
            pictures = (*batch, guide)
        else:
            pictures = batch
        expected_losses, gradients = plain_step(before, *batch, **options)
        # None of the losses is so small that any formula would do.
        small = {name for name, loss in expected_losses.items() if loss <= 1e-3}
        assert small == (set() if w_guide else {"guide"})
        losses = model.train_step(pictures)
        assert_same(losses, expected_losses, atol=1e-12)
        changes = {key: before[key] - value for key, value in values_of(model).items()}
        assert_same(changes, gradients, atol=1e-12, rtol=1e-7)
        for network in NETWORKS:
            largest = max(np.abs(v).max() for key, v in gradients.items() if key[0] == network)
            assert largest > 1e-3, network

    @pytest.mark.slow
    def test_adam_steps(self, batch, rng):
        beta_1 = {"generators": 0.9, "discriminators": 0.5}
        model = make_wespe(
            keras.optimizers.Adam(2e-3, beta_1=0.9, epsilon=1e-8),
            keras.optimizers.Adam(1e-3, beta_1=0.5, epsilon=1e-8),
        )
        # Keras takes β through float32; a β rounded beforehand gives its numbers.
        rounded = {name: float(np.float32(beta)) for name, beta in beta_1.items()}
        beta_2 = float(np.float32(0.999))
        adam_g = plain.Adam(2e-3, rounded["generators"], beta_2)
        adam_d = plain.Adam(1e-3, rounded["discriminators"], beta_2)
        expected = values_of(model)
        for _ in range(3):
            batch = tuple(rng.integers(0, 256, (2, 3, SIDE, SIDE, 3), np.uint8))
            _, gradients = plain_step(expected, *batch)
            # A bias before an instance norm has no gradient but rounding; Adam blows that up.
            gradients = {k: np.where(np.abs(g) > 1e-10, g, 0) for k, g in gradients.items()}
            of_g = {k: g for k, g in gradients.items() if "discriminator" not in k[0]}
            of_d = {k: g for k, g in gradients.items() if "discriminator" in k[0]}
            stepped = adam_g(expected, of_g) | adam_d(expected, of_d)
            model.train_step(batch)
            ours = values_of(model)
            for key, value in stepped.items():
                moved = gradients[key] != 0
                np.testing.assert_allclose(
                    ours[key][moved], value[moved], rtol=0, atol=1e-7, err_msg=str(key)
                )
            expected = ours

    @pytest.mark.parametrize("normalize", [pytest.param(False, marks=pytest.mark.slow), True])
    def test_vgg_content(self, batch, normalize):
        vgg = load_vgg("relu1_2", "random")
        model = make_wespe(
            keras.optimizers.SGD(1e-6), keras.optimizers.SGD(1e-6), vgg, content_normalise=normalize
        )
        kernels = [tf.constant(array(v)) for v in vgg.weights]

        def features(pictures):
            x = pictures[..., ::-1] * 255 - tf.constant([103.939, 116.779, 123.68], tf.float64)
            for kernel, bias in zip(kernels[::2], kernels[1::2]):
                x = tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME") + bias)
            return x

        def content(reconstructed, source):
            a, b = features(reconstructed), features(source)
            loss = tf.reduce_mean((a - b) ** 2)
            return loss / tf.reduce_mean(b**2) if normalize else loss

        before = values_of(model)
        expected, gradients = plain_step(before, *batch, content=content)
        losses = model.train_step(batch)
        assert_same(losses, expected, atol=0, rtol=1e-9)
        for key, value in values_of(model).items():
            np.testing.assert_allclose(
                before[key] - value,
                1e-6 * gradients[key],
                rtol=1e-6,
                atol=1e-12 * (1 + np.abs(gradients[key]).max()),
                err_msg=str(key),
            )
        np.testing.assert_array_equal(array(vgg.weights[0]), kernels[0])


class TestTurns:
    """Who trains in an iteration, and what the other side keeps."""

    @pytest.mark.parametrize(
        "turn, trained", [(GENERATORS, NETWORKS[:2]), (DISCRIMINATORS, NETWORKS[2:])]
    )
    def test_one_side_steps_as_if_both_did(self, batch, float64, turn, trained):
        model = make_wespe(keras.optimizers.SGD(1.0), keras.optimizers.SGD(1.0))
        before = values_of(model)
        expected, gradients = plain_step(before, *batch)
        model.turn = turn
        found = model.train_step(batch)
        of_discriminators = {"color_disc", "texture_disc"}
        names = of_discriminators if turn == DISCRIMINATORS else set(expected) - of_discriminators
        assert_same(found, {name: expected[name] for name in names}, atol=1e-12)
        for key, value in values_of(model).items():
            change = gradients[key] if key[0] in trained else 0 * gradients[key]
            np.testing.assert_allclose(before[key] - value, change, rtol=1e-7, atol=1e-12)

    @pytest.mark.slow
    def test_unfreezing_the_discriminators_changes_no_update(self, batch):
        """The report's remedy, bit for bit: gradients that are cleared before they are used."""
        weights = []
        for unfrozen in (False, True):
            keras.utils.set_random_seed(3)
            model = make_wespe(unfreeze_discriminators=unfrozen)
            for turn in (GENERATORS, DISCRIMINATORS, BOTH):
                model.turn = turn
                model.train_step(batch)
            optimizers = model.generator_optimizer, model.discriminator_optimizer
            slots = [v for optimizer in optimizers for v in optimizer.variables]
            weights.append([array(v) for v in [*model.weights, *slots]])
        for frozen, unfrozen in zip(*weights):
            np.testing.assert_array_equal(frozen, unfrozen)


class TestAsInTheReport:
    def losses(self, model, batch):
        source, target = (p.astype(np.float32) / 255 for p in batch)
        values = model.compute_losses(source, target, training=True)
        return {name: float(value) for name, value in values.items()}

    def test_content_of_the_enhanced_picture(self, batch):
        model = make_wespe(content_pair="enhanced")
        enhanced = model.generator(batch[0].astype(np.float32) / 255)
        expected = np.abs(array(model.inverse_generator(enhanced)) - array(enhanced)).mean()
        assert self.losses(model, batch)["content"] == pytest.approx(expected, rel=1e-5)

    @pytest.mark.slow
    def test_content_divided_again(self, batch):
        keras.utils.set_random_seed(1)
        plain_mean = self.losses(make_wespe(), batch)["content"]
        keras.utils.set_random_seed(1)
        divided = self.losses(make_wespe(content_extra_division=True), batch)["content"]
        assert divided * (3 * SIDE * SIDE * 3) == pytest.approx(plain_mean, rel=1e-5)

    def test_without_content_the_inverse_generator_is_not_run(self, batch):
        model = make_wespe(weights={"content": 0.0})
        before = values_of(model)
        assert self.losses(model, batch)["content"] == 0
        model.train_step(batch)
        same = {key[0]: True for key in before}
        for key, value in values_of(model).items():
            same[key[0]] &= np.array_equal(before[key], value)
        assert same == {network: network == "inverse_generator" for network in NETWORKS}

    def test_flipped_labels_swap_the_answers(self, batch):
        keras.utils.set_random_seed(1)
        model = make_wespe(flip_labels=True, head="one_class_sigmoid")
        losses = self.losses(model, batch)
        source, target = (p.astype(np.float32) / 255 for p in batch)
        for name, view in (("color", plain.paper_blur), ("texture", plain.gray)):
            judge = getattr(model, f"{name}_discriminator")
            fake = array(judge(view(model.generator(source))))
            real = array(judge(view(tf.constant(target))))
            assert losses[name] == pytest.approx(np.log1p(np.exp(fake)).mean(), rel=1e-4)
            judging = np.log1p(np.exp(-fake)).mean() + np.log1p(np.exp(real)).mean()
            assert losses[f"{name}_disc"] == pytest.approx(judging, rel=1e-4)

    def test_smoothing_draws_once_a_batch(self, batch):
        model = make_wespe(label_smoothing=0.5)
        draws = [float(model.draw_labels()[0]) for _ in range(100)]
        assert 0.5 <= min(draws) < 0.53 and 0.97 < max(draws) <= 1 and len(set(draws)) > 95
        first, second = (self.losses(model, batch)["color"] for _ in range(2))
        assert first != second
        assert make_wespe().draw_labels() == (1, 0)
        one, zero = make_wespe(label_smoothing=0.5, smoothed_labels="both").draw_labels()
        assert float(one + zero) == 1 and 0 < zero < 0.5


@pytest.mark.parametrize("head", ["two_class_softmax", "one_class_sigmoid"])
def test_discriminators_head_decides_their_losses(batch, head):
    model = make_wespe(head=head)
    source, target = (p.astype(np.float32) / 255 for p in batch)
    losses = model.compute_losses(source, target, training=True)
    enhanced = model.generator(source)
    for name, judge, view in (
        ("color", model.color_discriminator, plain.paper_blur),
        ("texture", model.texture_discriminator, plain.gray),
    ):
        fake, real = (array(judge(view(tf.constant(p)))) for p in (enhanced, target))
        # The probability of being real is a sigmoid of the (difference of) logits.
        if head == "two_class_softmax":
            fake, real = fake[:, :1] - fake[:, 1:], real[:, :1] - real[:, 1:]
        adversarial = np.log1p(np.exp(-fake)).mean()
        judging = np.log1p(np.exp(-real)).mean() + np.log1p(np.exp(fake)).mean()
        assert float(losses[name]) == pytest.approx(adversarial, rel=1e-4)
        assert float(losses[f"{name}_disc"]) == pytest.approx(judging, rel=1e-4)


def test_unnormalised_blur_reaches_the_color_discriminator(batch):
    model = make_wespe(blur="unnormalised")
    _, target = batch
    seen = model.blur(target / 255.0)
    # Away from the edge the kernel's whole sum, 7.5² ≈ 56, counts.
    assert array(seen)[:, 10, 10].mean() == pytest.approx(56 * target.mean() / 255, rel=0.1)


class TestSteps:
    @pytest.mark.parametrize("norm", ["batch", "spectral"])
    def test_test_step_trains_nothing(self, batch, norm):
        model = make_wespe(norm=norm, generator_norm="batch")
        before = [array(v) for v in model.weights]
        losses = model.test_step(batch)
        assert np.isfinite(float(losses["generator"]))
        for variable, value in zip(model.weights, before):
            np.testing.assert_array_equal(array(variable), value, err_msg=variable.path)
        assert int(model.generator_optimizer.iterations) == 0

    def test_all_instance_norms_have_the_gradient_that_saves_memory(self, batch, monkeypatch):
        """Also those of G, which is not called as a layer."""
        used, with_gradient = set(), InstanceNormalization._with_gradient

        def noted(norm, *arguments):
            used.add(norm.path)
            return with_gradient(norm, *arguments)

        monkeypatch.setattr(InstanceNormalization, "_with_gradient", noted)
        model = make_wespe()
        model.train_step(batch)
        networks = (getattr(model, name) for name in NETWORKS)
        layers = (layer for network in networks for layer in network._flatten_layers())
        expected = {layer.path for layer in layers if isinstance(layer, InstanceNormalization)}
        assert len(expected) > 8 and used == expected

    @pytest.mark.parametrize("norm", ["batch", "spectral"])
    def test_train_step_trains_every_network(self, batch, norm):
        model = make_wespe(norm=norm, generator_norm="batch")
        running = [v for v in model.weights if "moving" in v.path or "vector_u" in v.path]
        before = {
            name: [array(v) for v in getattr(model, name).trainable_variables] for name in NETWORKS
        }
        running_before = [array(v) for v in running]
        model.train_step(batch)
        for name in NETWORKS:
            after = getattr(model, name).trainable_variables
            changed = [(array(v) != b).any() for v, b in zip(after, before[name])]
            assert np.mean(changed) > 0.7, name
        assert running
        assert all((array(v) != b).any() for v, b in zip(running, running_before))

    @pytest.mark.slow
    def test_evaluate_reports_the_losses_by_name(self, batch):
        model = make_wespe()
        found = model.evaluate(tf.data.Dataset.from_tensors(batch), return_dict=True, verbose=0)
        expected = {name: float(v) for name, v in model.test_step(batch).items()}
        assert found.keys() == expected.keys()
        for name in expected:
            assert float(found[name]) == pytest.approx(expected[name], rel=1e-4)

    def test_call_enhances(self, batch):
        model = make_wespe()
        source = batch[0].astype(np.float32) / 255
        np.testing.assert_array_equal(array(model(source)), array(model.generator(source)))

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "name, norm",
        [
            ("mixed_bfloat16", "spectral"),
            ("mixed_float16", "instance"),
            ("float64", "spectral"),
        ],
    )
    def test_every_policy_runs_a_step(self, policy, batch, name, norm):
        policy(name)
        optimizers = [keras.optimizers.Adam(1e-3) for _ in range(2)]
        if name == "mixed_float16":
            # From its usual start, 2¹⁵, it would skip steps until it suits the raw VGG loss.
            optimizers = [keras.optimizers.LossScaleOptimizer(o, 1) for o in optimizers]
        model = make_wespe(*optimizers, norm=norm, vgg=load_vgg("relu1_1", "random"))
        before = array(model.generator.to_rgb.kernel)
        losses = model.train_step(batch)
        dtype = "float64" if name == "float64" else "float32"
        assert {loss.dtype.name for loss in losses.values()} == {dtype}
        assert all(np.isfinite(float(loss)) for loss in losses.values())
        assert (array(model.generator.to_rgb.kernel) != before).any()

    @pytest.mark.slow
    @pytest.mark.parametrize("name", ["mixed_bfloat16", "mixed_float16"])
    def test_low_precision_losses_are_near_float32s(self, policy, batch, name):
        full = make_wespe()
        policy(name)
        low = make_wespe()
        for network in NETWORKS:
            getattr(low, network).set_weights(getattr(full, network).get_weights())
        expected, ours = full.test_step(batch), low.test_step(batch)
        for key in expected:
            assert float(ours[key]) == pytest.approx(float(expected[key]), rel=0.05, abs=0.01)


class TestBeyondThePaper:
    """What the recommended recipe adds: the detail view, the guide's own blur, fewer networks."""

    def test_guide_behind_its_own_blur_and_invented_detail(self, float64, batch):
        model = make_wespe(
            weights={"guide": 2.0}, guide_blur="dped_code", guide_detail=0.3, border=3
        )
        source, guide = batch[0] / 255, batch[0][..., ::-1] / 255
        losses = model.compute_losses(source, batch[1] / 255, guide, training=True)
        enhanced, known = (p[:, 3:-3, 3:-3] for p in (array(model.generator(source)), guide))

        def blurred(pictures):
            profile = blur_profile("dped_code")
            for axis in (1, 2):
                pictures = scipy.ndimage.correlate1d(pictures, profile, axis, mode="constant")
            return pictures

        def fine(pictures):
            smooth = scipy.ndimage.gaussian_filter(
                pictures, (0, 3, 3, 0), mode="mirror", radius=(0, 9, 9, 0)
            )
            return pictures - smooth

        detail = fine(known)
        common, power = (
            blurred(product).mean(axis=-1, keepdims=True)
            for product in (fine(enhanced) * detail, detail**2)
        )
        invented = fine(enhanced) - common / (power + (3 / 255) ** 2) * detail
        # The flatter a place of the guide, the more its invented detail counts: 1 to 5 times.
        weight = 1 + 4 * (3 / 255) ** 2 / (power + (3 / 255) ** 2)
        expected = np.abs(blurred(enhanced - known)).mean()
        expected += 0.3 * np.mean(weight * np.abs(invented))
        assert float(losses["guide"]) == pytest.approx(expected, rel=1e-9)

    def test_the_texture_discriminator_sees_detail(self, batch):
        model = make_wespe(texture_view="detail", head="one_class_sigmoid")
        source, target = (p.astype(np.float32) / 255 for p in batch)
        losses = model.compute_losses(source, target, training=True)
        luminance = array(model.generator(source)) @ np.float32([0.2989, 0.5870, 0.1140])
        blurred = scipy.ndimage.gaussian_filter(
            luminance, (0, 3, 3), mode="mirror", radius=(0, 9, 9)
        )
        logits = array(model.texture_discriminator(8 * (luminance - blurred)[..., None]))
        expected = np.log1p(np.exp(-logits)).mean()
        assert float(losses["texture"]) == pytest.approx(expected, rel=1e-4)

    @pytest.mark.parametrize("shares", [(1 / 3, 1 / 3, 1 / 3), (0.3, 0.5, 0.2)])
    def test_shares_divide_the_gradient_of_the_detail_view(self, batch, shares):
        """Luminance alone would change green five times as much as blue, and make fringes."""
        pictures = tf.constant(batch[0].astype(np.float32) / 255)
        view = Detail(shares=shares)
        with tf.GradientTape() as tape:
            tape.watch(pictures)
            loss = tf.reduce_sum(tf.square(view(pictures)))
        gradient = array(tape.gradient(loss, pictures))
        assert np.abs(gradient).max() > 1
        expected = gradient[..., :1] / shares[0] * shares
        np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5)

    def test_enough_detail_silences_the_texture_discriminator(self, float64, batch):
        """D_t counts less, the closer the detail comes to a multiple of the guide's."""
        source, target = (p / 255 for p in batch)
        guide = source[..., ::-1] ** 2
        free = make_wespe(texture_view="detail", border=3)
        enhanced = array(free.generator(source))
        loss = float(free.compute_losses(source, target, training=True)["texture"])

        def energy(pictures):
            luminance = pictures[:, 3:-3, 3:-3] @ [0.2989, 0.5870, 0.1140]
            laplacians = [scipy.ndimage.laplace(picture)[1:-1, 1:-1] for picture in luminance]
            return np.mean([laplacian.std() for laplacian in laplacians])

        ratio = energy(enhanced) / energy(guide)
        for limit, room in ((ratio - 0.01, 0), (ratio + 0.03, 0.3), (ratio + 0.2, 1)):
            model = make_wespe(texture_view="detail", texture_limit=limit, border=3)
            for network in NETWORKS:
                getattr(model, network).set_weights(getattr(free, network).get_weights())
            found = model.compute_losses(source, target, guide, training=True)["texture"]
            assert float(found) == pytest.approx(room * loss, rel=1e-4)
        # A uniform guide has no detail that could grow.
        model = make_wespe(texture_view="detail", texture_limit=2.0, border=3)
        found = model.compute_losses(source, target, np.ones_like(guide), training=True)
        assert float(found["texture"]) == 0

    @pytest.mark.parametrize("norm", ["instance", "layer"])
    def test_patches_are_enhanced_like_their_photos(self, rng, norm):
        """With the photo as context, a patch comes out as if the whole photo were enhanced."""
        model = make_wespe(generator_norm=norm)
        photos = rng.random((3, 70, 70, 3), np.float32)
        photos[:, :, :35] *= 0.3  # so a patch has other statistics than its photo
        photos *= np.float32([[[[0.2]]], [[[0.5]]], [[[1.0]]]])
        patches, context = tf.constant(photos[:, 5:65, 5:65]), tf.constant(photos[:, None])
        # 18 pixels from the edge, no zero padding can be seen.
        whole = array(model.generator(photos))[:, 23:47, 23:47]
        alone = array(model.generator(patches))[:, 18:42, 18:42]
        for training in (False, True):
            found = array(model.staged.like_photos(patches, context, 0, training))[:, 18:42, 18:42]
            np.testing.assert_allclose(found, whole, atol=1e-5)
        assert np.abs(alone - whole).max() > 1e-3

    def test_statistics_of_the_context_pass_no_gradient(self, rng):
        model = make_wespe()
        patches = tf.constant(rng.random((3, 24, 24, 3), np.float32))
        context = tf.constant(rng.random((3, 2, 24, 24, 3), np.float32))
        norm = model.generator.residuals[0][1]
        with tf.GradientTape() as tape:
            tape.watch([patches, context])
            enhanced = model.staged.like_photos(patches, context, training=True)
        found = tape.gradient(enhanced, [patches, context, norm.scale.value])
        assert found[1] is None and np.abs(found[0]).max() > 0 and np.abs(found[2]).max() > 0

    @pytest.mark.parametrize("name", ["mixed_bfloat16", "mixed_float16", "float64"])
    def test_every_policy_enhances_with_a_context(self, policy, rng, name):
        full = make_wespe()
        policy(name)
        other = make_wespe()
        other.generator.set_weights(full.generator.get_weights())
        patches = tf.constant(rng.random((3, 24, 24, 3), np.float32))
        context = tf.constant(rng.random((3, 2, 24, 24, 3), np.float32))
        expected = array(full.staged.like_photos(patches, context, training=True))
        inputs = (tf.cast(pictures, other.loss_dtype) for pictures in (patches, context))
        found = other.staged.like_photos(*inputs, training=True)
        assert found.dtype == other.loss_dtype
        np.testing.assert_allclose(array(found), expected, atol=1e-5 if name == "float64" else 0.05)

    @pytest.mark.parametrize("norm", ["batch", "none"])
    def test_norms_that_measure_no_picture_ignore_the_context(self, rng, norm):
        model = make_wespe(generator_norm=norm)
        patches = rng.random((3, 24, 24, 3), np.float32)
        found = model.staged.like_photos(patches, 0 * patches[:, None])
        np.testing.assert_array_equal(array(found), array(model.generator(patches)))

    @pytest.mark.parametrize(
        "idle", [{"color"}, {"texture"}, pytest.param({"color", "texture"}, marks=pytest.mark.slow)]
    )
    def test_a_discriminator_without_weight_is_not_trained(self, batch, idle):
        model = make_wespe(weights=dict.fromkeys(idle, 0.0))
        before = values_of(model)
        losses = model.train_step(batch)
        for name in ("color", "texture"):
            assert (float(losses[name]) == 0) == (name in idle)
            assert (float(losses[f"{name}_disc"]) == 0) == (name in idle)
            network = f"{name}_discriminator"
            same = [
                np.array_equal(before[key], value)
                for key, value in values_of(model).items()
                if key[0] == network
            ]
            assert all(same) == (name in idle)
