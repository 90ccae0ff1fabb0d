"""The warm start: the last layer is fitted, the detail filter put in, both generators trained."""

import keras
import numpy as np
import pytest
import scipy.linalg
import tensorflow as tf
from PIL import Image

from benchmarks import plain
from tests.models.tiny_wespe import (
    SIDE,
    array,
    make_wespe,
)
from wespe_tf.data.batches import GuidedStream
from wespe_tf.data.patches import PatchStream
from wespe_tf.guide.color_transfer import LEVELS, ColorTransfer
from wespe_tf.guide.detail_filter import DetailFilter, short_kernel
from wespe_tf.guide.guide import Guide
from wespe_tf.models.generator import Generator
from wespe_tf.models.views import EQUAL_SHARES
from wespe_tf.training import warm_start
from wespe_tf.training.warm_start import (
    WarmStart,
    divide_detail,
    filter_last_layer,
    fit_guide,
    fit_last_layer,
)


class TestFitLastLayer:
    @staticmethod
    def graded(pictures):
        """A tone curve, then a map of colors, of pictures in [0, 1]."""
        matrix = np.array([[1.1, -0.15, 0.05], [-0.1, 1.2, -0.1], [0.05, -0.2, 1.1]])
        return np.clip(pictures**0.7 @ matrix.T, 0, 1)

    @pytest.mark.parametrize("norm", ["instance", "none"])
    def test_finds_a_color_map_that_holds_for_other_pictures(self, make_photo, norm):
        generator = Generator(init="identity", norm=norm)
        generator.build((None, None, None, 3))
        seen, unseen = (make_photo(96, 96, seed)[None] / np.float32(255) for seed in (0, 1))
        before = [array(v) for v in generator.weights]
        fit_last_layer(generator, [generator.features(seen)], self.graded(seen))
        for pictures in (seen, unseen):
            error = np.clip(array(generator(pictures)), 0, 1) - self.graded(pictures)
            idle = pictures - self.graded(pictures)
            assert -10 * np.log10(np.mean(error**2)) > 31
            assert np.mean(error**2) < 0.1 * np.mean(idle**2)
        changed = [not np.array_equal(b, array(v)) for b, v in zip(before, generator.weights)]
        assert changed == [False] * (len(before) - 2) + [True, True]
        kernel = array(generator.to_rgb.kernel) - before[-2]
        assert np.abs(kernel[4, 4]).max() > 0.01
        kernel[4, 4] = 0
        assert np.abs(kernel).max() == 0

    def test_is_the_weighted_ridge_regression(self, float64, batch):
        """Against SciPy's least squares on stacked rows."""
        generator = Generator(width=6, blocks=1, init="identity")
        generator.build((None, SIDE, SIDE, 3))
        pictures = batch[0] / 255
        wanted = self.graded(pictures)
        features = array(generator.features(pictures)).reshape(-1, 6)
        features = np.c_[features, np.ones(len(features))]
        present = np.arctanh((array(generator(pictures)) - 0.5) / 0.58).reshape(-1, 3)
        aim = ((wanted - 0.5) / 0.58).reshape(-1, 3)
        before = [array(v) for v in generator.to_rgb.weights]
        fit_last_layer(
            generator, (generator.features(p[None]) for p in pictures), wanted, ridge=0.01
        )
        for channel in range(3):
            slope = 1 - aim[:, channel : channel + 1] ** 2
            rows = np.r_[features * slope, np.sqrt(0.01 * len(features)) * np.eye(7)]
            missing = np.arctanh(aim[:, channel]) - present[:, channel]
            answers = np.r_[missing * slope[:, 0], np.zeros(7)]
            expected = scipy.linalg.lstsq(rows, answers)[0]
            kernel, bias = (array(v) - b for v, b in zip(generator.to_rgb.weights, before))
            np.testing.assert_allclose(kernel[4, 4, :, channel], expected[:6], atol=1e-9)
            np.testing.assert_allclose(bias[channel], expected[6], atol=1e-9)


class TestFitGuide:
    @pytest.mark.parametrize("context", [0, 5])
    def test_fits_patches_as_they_are_within_their_photos(self, tmp_path, monkeypatch, context):
        """Both fits, G's and F's, against all patches at once."""
        monkeypatch.setattr(warm_start, "FITTED_PATCHES", 6)
        for number, photo in enumerate(np.random.default_rng(0).integers(0, 256, (3, 60, 70, 3))):
            Image.fromarray((photo // (number + 1)).astype(np.uint8)).save(
                tmp_path / f"{number}.png"
            )
        stream = PatchStream(tmp_path, SIDE, 0, "source_dir")
        guide = Guide(
            ColorTransfer(LEVELS + 1, LEVELS[::-1] + 1, 0.5, 1.0, 0.8 * np.eye(3), [0.1] * 3)
        )
        cuts = [GuidedStream(stream, guide.transfer).cut(number, context) for number in range(6)]
        patches, wanted, around = (np.stack(each) / np.float32(255) for each in zip(*cuts))
        model, expected = make_wespe(border=4), make_wespe(border=4)
        expected.set_weights(model.get_weights())
        features = expected.staged.features(patches, around if context else None, 4)
        fit_last_layer(expected.generator, [features], wanted[None])
        inverse = expected.inverse_generator
        fit_last_layer(inverse, [inverse.features(wanted)], patches[None])
        fit_guide(model, guide, stream, context)
        for name in ("generator", "inverse_generator"):
            found, right = (getattr(side, name).to_rgb.get_weights() for side in (model, expected))
            np.testing.assert_allclose(found[0], right[0], atol=1e-3)
            np.testing.assert_allclose(found[1], right[1], atol=1e-3)


class TestFilterLastLayer:
    def test_filters_what_the_generator_returns(self, float64, make_photo):
        """Nearly: the filter acts before the tanh, where colors are a little farther apart."""
        generator = Generator(width=6, blocks=1, init="identity")
        generator.build((None, None, None, 3))
        kernel, bias = generator.to_rgb.get_weights()
        center_only = np.zeros_like(kernel)
        center_only[4, 4] = kernel[4, 4]
        generator.to_rgb.set_weights([center_only, bias])
        pictures = make_photo(48, 48, 0)[None] / 255
        before = array(generator(pictures))[0]
        gains = np.cos(np.pi / 2 * np.fft.fftfreq(16))
        gains = np.einsum("x,y,io->xyio", gains, gains, [[0.9, 0, 0], [0.1, 1, 0.2], [0, 0, 0.8]])
        detail_filter = DetailFilter(short_kernel(gains))
        filter_last_layer(generator, detail_filter)
        inner = slice(12, -12), slice(12, -12)
        found, expected = array(generator(pictures))[0][inner], detail_filter(before)[inner]
        assert np.abs(found - expected).max() < 0.1 * np.abs(before[inner] - expected).max()
        np.testing.assert_array_equal(array(generator.to_rgb.bias), bias)


class TestDivideDetail:
    def test_the_detail_view_gets_the_shares_of_good_photos(self):
        guide = Guide(None, DetailFilter(np.zeros((9, 9, 3, 3)), [0.2, 0.7, 0.1]))
        model = make_wespe(texture_view="detail")
        divide_detail(model, guide)
        assert model.texture_view.shares == pytest.approx((0.2, 0.7, 0.1))

    def test_other_views_and_guides_without_a_filter_stay(self):
        divide_detail(make_wespe(), Guide(None, DetailFilter(np.zeros((9, 9, 3, 3)))))
        model = make_wespe(texture_view="detail")
        divide_detail(model, Guide(None))
        assert model.texture_view.shares == EQUAL_SHARES


class TestWarmStart:
    @pytest.fixture
    def guided(self, batch):
        """A batch (source, target, guide) whose guide is the source with red and blue swapped."""
        return (*batch, batch[0][..., ::-1])

    @pytest.mark.parametrize("border", [0, 4])
    def test_loss_and_gradients(self, float64, guided, border):
        generators = [Generator(width=5, init="glorot") for _ in range(2)]
        for generator in generators:
            generator.build((None, SIDE, SIDE, 3))
        weights = [plain.tensors(plain.generator_variables(g)) for g in generators]
        x, guide = (tf.constant(guided[k] / 255) for k in (0, 2))
        with tf.GradientTape() as tape:
            tape.watch(weights)
            forth = plain.generator(x, weights[0]) - guide
            back = plain.generator(guide, weights[1]) - x
            expected = sum(tf.reduce_mean(tf.abs(plain.cut(d, border))) for d in (forth, back))
        gradients = tape.gradient(expected, weights)

        warm = WarmStart(*generators, border)
        warm.compile(keras.optimizers.SGD(1.0))
        loss = warm.train_step(guided)["loss"]
        assert float(loss) == pytest.approx(float(expected), rel=1e-12)
        for generator, before, gradient in zip(generators, weights, gradients):
            for name, variable in plain.generator_variables(generator).items():
                np.testing.assert_allclose(
                    before[name] - array(variable), gradient[name], atol=1e-12, err_msg=name
                )

    @pytest.mark.slow
    def test_fit_learns_the_transfer_and_leaves_the_discriminators(self, guided):
        model = make_wespe()
        judges = [array(v) for v in model.discriminator_variables]
        warm = WarmStart(model.generator, model.inverse_generator)
        warm.compile(keras.optimizers.Adam(3e-3))
        warm.jit_compile = False
        data = tf.data.Dataset.from_tensors(guided).repeat()
        history = warm.fit(data, steps_per_epoch=8, epochs=4, verbose=0).history["loss"]
        assert history[-1] < 0.85 * history[0]
        for variable, value in zip(model.discriminator_variables, judges):
            np.testing.assert_array_equal(array(variable), value)
        losses = model.train_step(guided)
        assert np.isfinite(float(losses["generator"]))

    @pytest.mark.slow
    def test_runs_in_low_precision(self, policy, guided):
        policy("mixed_float16")
        model = make_wespe()
        warm = WarmStart(model.generator, model.inverse_generator)
        warm.compile(keras.optimizers.Adam(1e-3))
        loss = warm.train_step(guided)["loss"]
        assert loss.dtype == "float32" and np.isfinite(float(loss))
