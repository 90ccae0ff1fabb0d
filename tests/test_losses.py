"""Every loss against its formula in plain NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from wespe_tf import losses
from wespe_tf.models.options import HEADS

OUTPUTS = {"two_class_sigmoid": 2, "two_class_softmax": 2, "one_class_sigmoid": 1}


def value(loss):
    assert loss.shape == ()
    return float(loss)


def bce(probabilities, targets):
    """Binary cross-entropy, mean over batch and outputs."""
    p, t = probabilities, np.broadcast_to(targets, probabilities.shape)
    return -np.mean(t * np.log(p) + (1 - t) * np.log(1 - p))


def expected_adversarial(logits, judged_real, head):
    if head == "two_class_softmax":
        exp = np.exp(logits)
        probability = exp[:, 0 if judged_real else 1] / exp.sum(axis=1)
        return -np.mean(np.log(probability))
    target = [1.0, 0.0] if judged_real else [0.0, 1.0]
    return bce(1 / (1 + np.exp(-logits)), np.array(target[: logits.shape[1]]))


@pytest.fixture(params=HEADS)
def head(request):
    return request.param


@pytest.fixture
def logits(rng, head):
    return rng.normal(0, 3, (7, OUTPUTS[head]))


class TestAdversarial:
    @pytest.mark.parametrize("judged_real", [True, False])
    def test_is_the_cross_entropy(self, head, logits, judged_real):
        ours = value(losses.adversarial_loss(tf.constant(logits), judged_real, head))
        assert ours == pytest.approx(expected_adversarial(logits, judged_real, head), rel=1e-12)

    def test_labels_smoothed_on_both_sides(self, logits, head):
        """A target between the two is their mixture."""
        ours = losses.adversarial_loss(tf.constant(logits), True, head, 0.9, 0.1)
        parts = [expected_adversarial(logits, real, head) for real in (True, False)]
        assert value(ours) == pytest.approx(0.9 * parts[0] + 0.1 * parts[1], rel=1e-12)

    def test_discriminator_adds_real_and_fake(self, head, logits, rng):
        fake = rng.normal(0, 3, logits.shape)
        ours = value(losses.discriminator_loss(tf.constant(logits), tf.constant(fake), head))
        real_part = expected_adversarial(logits, True, head)
        fake_part = expected_adversarial(fake, False, head)
        assert ours == pytest.approx(real_part + fake_part, rel=1e-12)

    def test_random_guess_costs_two_ln_two(self, head):
        """Equal logits: every sigmoid, and each class of the softmax, says one half."""
        zeros = tf.zeros((5, OUTPUTS[head]))
        assert value(losses.adversarial_loss(zeros, True, head)) == pytest.approx(np.log(2))
        loss = value(losses.discriminator_loss(zeros, zeros, head))
        assert loss == pytest.approx(2 * np.log(2))

    def test_certain_and_right_costs_nothing(self, head):
        real = tf.constant([[40.0, -40.0]])[:, : OUTPUTS[head]]
        assert value(losses.discriminator_loss(real, -real, head)) < 1e-15

    @pytest.mark.parametrize("size", [1e4, 1e30])
    @pytest.mark.parametrize("judged_real", [True, False])
    def test_extreme_logits_stay_finite(self, head, size, judged_real):
        logits = tf.Variable([[size, -size], [-size, size]])[:, : OUTPUTS[head]]
        with tf.GradientTape() as tape:
            tape.watch(logits)
            loss = losses.adversarial_loss(logits, judged_real, head)
        # One of the two pictures is right and costs 0, the other costs the (difference of) logits.
        wrong = 2 * size if head == "two_class_softmax" else size
        assert value(loss) == pytest.approx(wrong / 2, rel=1e-6)
        gradient = tape.gradient(loss, logits).numpy()
        assert np.isfinite(gradient).all() and np.abs(gradient).max() == pytest.approx(
            1 / (2 * (1 if head == "two_class_softmax" else OUTPUTS[head]))
        )

    def test_generator_gains_where_the_picture_is_found_out(self, head):
        """Non-saturating: the gradient is largest, not smallest, for a certain "fake"."""
        logits = tf.constant([[-20.0, 20.0]])[:, : OUTPUTS[head]]
        with tf.GradientTape() as tape:
            tape.watch(logits)
            loss = losses.adversarial_loss(logits, True, head)
        assert tape.gradient(loss, logits).numpy()[0, 0] <= -0.49


class TestContent:
    def test_vgg_is_the_mean_squared_difference(self, rng):
        a, b = rng.normal(0, 50, (2, 3, 4, 5, 6))
        ours = value(losses.content_vgg(tf.constant(a), tf.constant(b), False))
        assert ours == pytest.approx(np.mean((a - b) ** 2), rel=1e-12)

    def test_vgg_normalized_divides_by_the_sources_mean_square(self, rng):
        reconstructed, source = rng.normal(0, 50, (2, 3, 4, 5, 6)) * [[[[[1]]]], [[[[3]]]]]
        ours = value(losses.content_vgg(tf.constant(reconstructed), tf.constant(source), True))
        expected = np.mean((reconstructed - source) ** 2) / np.mean(source**2)
        assert ours == pytest.approx(expected, rel=1e-12)

    def test_of_pixels_is_the_mean_absolute_difference(self, rng):
        a, b = rng.random((2, 3, 8, 9, 3))
        ours = value(losses.mean_absolute_difference(tf.constant(a), tf.constant(b)))
        assert ours == pytest.approx(np.mean(np.abs(a - b)), rel=1e-12)


class TestTotalVariation:
    def test_is_the_sum_of_two_means(self, rng):
        x = rng.random((2, 5, 9, 3))
        expected = np.mean(np.diff(x, axis=1) ** 2) + np.mean(np.diff(x, axis=2) ** 2)
        assert value(losses.total_variation(tf.constant(x))) == pytest.approx(expected, rel=1e-12)

    def test_by_values_divides_by_what_there_is_more_of(self, rng):
        x = rng.random((2, 5, 9, 3))
        squares = np.sum(np.diff(x, axis=1) ** 2) + np.sum(np.diff(x, axis=2) ** 2)
        ours = losses.total_variation(tf.constant(x), "by_values")
        assert value(ours) == pytest.approx(squares / x.size, rel=1e-12)

    def test_absolute_is_the_sum_for_each_picture(self, rng):
        x = rng.random((2, 5, 9, 3))
        sums = np.sum(np.abs(np.diff(x, axis=1))) + np.sum(np.abs(np.diff(x, axis=2)))
        ours = losses.total_variation(tf.constant(x), "absolute")
        assert value(ours) == pytest.approx(sums / 2, rel=1e-12)

    def test_of_stripes(self):
        """Vertical stripes 0, 1, 0, 1: every horizontal difference is 1, every vertical one 0."""
        stripes = tf.constant(np.tile([0.0, 1.0], (1, 6, 4))[..., None])
        assert value(losses.total_variation(stripes)) == pytest.approx(1)
        assert value(losses.total_variation(tf.transpose(stripes, (0, 2, 1, 3)))) == pytest.approx(
            1
        )

    def test_of_a_uniform_picture_is_zero(self):
        assert value(losses.total_variation(tf.fill((2, 6, 7, 3), 0.3))) == 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_losses_keep_their_inputs_dtype(dtype):
    pictures = keras.ops.ones((2, 8, 8, 3), dtype)
    logits = pictures[:, 0, 0, :2]
    found = [losses.adversarial_loss(logits, True, head) for head in HEADS[:2]]
    found += [losses.total_variation(pictures), losses.mean_absolute_difference(pictures, pictures)]
    found += [losses.content_vgg(pictures, pictures, True)]
    assert {loss.dtype.name for loss in found} == {dtype}


class TestInventedDetail:
    """Its value is compared with SciPy's in tests/models/test_wespe.py."""

    @staticmethod
    def average(pictures):
        """Over the whole picture."""
        return keras.ops.mean(pictures, axis=(1, 2), keepdims=True)

    def test_stronger_detail_costs_nothing_other_detail_does(self, rng):
        known, other = rng.normal(scale=0.2, size=(2, 2, 20, 20, 3))
        for factor in (0.5, 1, 3):
            found = value(losses.invented_detail(factor * known, known, self.average))
            assert found < 0.01 * np.abs(factor * known).mean()
        found = value(losses.invented_detail(known + other, known, self.average))
        assert found == pytest.approx(np.abs(other).mean(), rel=0.1)

    def test_all_detail_counts_five_times_where_the_known_is_noise(self, rng):
        known = rng.normal(scale=0.1 / 255, size=(1, 20, 20, 3))
        found = value(losses.invented_detail(5 * known, known, self.average))
        assert found == pytest.approx(5 * np.abs(5 * known).mean(), rel=0.01)
