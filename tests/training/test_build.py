"""Settings reach the networks, the losses and the optimizers."""

import keras
import numpy as np
import pytest

from tests.training.runs import tiny
from wespe_tf.config.loading import load
from wespe_tf.config.schema import TrainConfig
from wespe_tf.errors import UserError
from wespe_tf.models.adam import PyTorchAdam
from wespe_tf.models.views import Luma
from wespe_tf.training.build import adam, build_model


class TestSettingsReachTheModel:
    def test_networks(self):
        model = build_model(
            tiny(
                "generator_norm=layer",
                "generator_init=glorot",
                "tanh_scale=0.5",
                "discriminator_head=one_class_sigmoid",
                "color_norm=spectral",
                "texture_norm=batch",
                "discriminator_init=torch_default",
                "discriminator_order=norm_activation",
                "content_pair=enhanced",
                "content_extra_division=true",
                "label_smoothing=0.2",
                "flip_labels=true",
                "unfreeze_discriminators=true",
                "blur=dped_code",
                "w_color=0.3",
                "w_guide=0",
            )
        )
        for generator in (model.generator, model.inverse_generator):
            assert (generator.width, generator.blocks, generator.norm) == (8, 1, "layer")
            assert (generator.init, generator.tanh_scale) == ("glorot", 0.5)
        for discriminator, norm in (
            (model.color_discriminator, "spectral"),
            (model.texture_discriminator, "batch"),
        ):
            assert (discriminator.norm, discriminator.head) == (norm, "one_class_sigmoid")
            assert (discriminator.init, discriminator.width_multiplier) == ("torch_default", 0.1)
            assert discriminator.order == "norm_activation"
        assert (model.blur.kernel, model.weight_of["color"], model.border) == ("dped_code", 0.3, 4)
        assert (model.content_pair, model.content_extra_division) == ("enhanced", True)
        assert (model.label_smoothing, model.flip_labels) == (0.2, True)
        assert model.unfreeze_discriminators
        assert model.vgg is None
        assert model.generator.norm_epsilon == 1e-3 and model.tv_form == "mean"
        generator_start = model.generator.head.kernel.numpy()
        assert (generator_start != model.inverse_generator.head.kernel.numpy()).any()

    def test_as_the_report_code_has_them(self):
        small = ["generator_width=8", "generator_blocks=1", "patch_size=32", "batch_size=2"]
        settings = ["preset=report_code", "vgg_weights=random", "content_layer=relu1_2"]
        model = build_model(load(TrainConfig, [*settings, *small]))
        judges = model.color_discriminator, model.texture_discriminator
        for network in (model.generator, model.inverse_generator, *judges):
            assert network.norm_epsilon == 1e-5
        for judge in judges:
            assert judge.pooled and judge.first_norm and judge.dense_norm and judge.dense == 128
        assert model.vgg.style == "report" and len(model.vgg.norms) == 2
        assert (model.tv_form, model.smoothed_labels) == ("by_values", "both")
        assert (type(model.texture_view), model.discriminator_weight) == (Luma, 0.5)
        with pytest.raises(UserError, match="expected norm_activation with layers report"):
            other = "discriminator_order=activation_norm"
            build_model(load(TrainConfig, [*settings, *small, other]))
        for optimizer in (model.generator_optimizer, model.discriminator_optimizer):
            assert type(optimizer) is PyTorchAdam

    def test_plain_ending_and_views(self):
        plain = ["generator_ending=plain", "generator_norm=none", "color_norm=affine", "blur=none"]
        with pytest.raises(UserError, match="generator_ending=plain: expected dped with w_guide"):
            build_model(tiny(*plain))
        model = build_model(tiny(*plain, "w_guide=0", "warm_start_iters=0", "w_color=1"))
        assert [len(model.generator.tail), *model.generator.to_rgb.kernel_size] == [3, 1, 1]
        pictures = np.ones((1, 24, 24, 3), np.float32)
        np.testing.assert_array_equal(model.views(pictures)["color"], pictures)
        norm = model.color_discriminator.norms[1]
        outputs = norm(np.full((1, 2, 2, norm.gamma.shape[0]), 5, np.float32), training=True)
        np.testing.assert_allclose(outputs, 5 / np.sqrt(1.001), rtol=1e-5)

    def test_content_layer(self):
        config = tiny(
            "w_content=1", "content_features=vgg19", "vgg_weights=random", "content_layer=relu1_2"
        )
        model = build_model(config)
        assert len(model.vgg.conv_layers()) == 2 and model.vgg.style == "keras"
        settings = [
            "w_content=1",
            "content_features=vgg19",
            "vgg_weights=random",
            "vgg_preprocessing=report",
        ]
        assert build_model(tiny(*settings)).vgg.style == "report"
        # Nothing to download for a loss without weight.
        assert build_model(tiny("content_features=vgg19", "w_content=0")).vgg is None

    def test_optimizers(self):
        model = build_model(
            tiny(
                "learning_rate=3e-4",
                "discriminator_learning_rate=2e-4",
                "discriminator_beta_1=0.4",
                "learning_rate_decay=none",
                "ema=0.9",
            )
        )
        of_g, of_d = model.generator_optimizer, model.discriminator_optimizer
        assert float(of_g.learning_rate) == pytest.approx(3e-4)
        assert float(of_d.learning_rate) == pytest.approx(2e-4)
        assert (of_g.beta_1, of_d.beta_1) == (0.9, 0.4)
        assert (of_g.epsilon, of_d.epsilon, of_g.beta_2) == (1e-8, 1e-8, 0.999)
        assert of_g.use_ema and of_g.ema_momentum == 0.9 and not of_d.use_ema

    def test_cosine_rises_over_a_tenth_and_ends_at_zero(self):
        config = tiny("learning_rate_decay=cosine", "num_train_iters=200")
        optimizer = adam(config, 1e-3, 0.9)
        found = []
        for iteration in (0, 10, 20, 110, 200):
            optimizer.iterations.assign(iteration)
            found.append(float(optimizer.learning_rate))
        np.testing.assert_allclose(found, [0, 5e-4, 1e-3, 5e-4, 0], atol=1e-9)

    @pytest.mark.parametrize(
        "schedule, steps",
        [
            (["schedule=simultaneous"], (42, 42)),
            (["schedule=alternating", "ratio=1:3"], (11, 31)),
            (["schedule=alternating", "ratio=3:1"], (32, 10)),
        ],
    )
    def test_cosine_ends_at_zero_with_the_last_step_of_each_side(self, schedule, steps):
        run = ["learning_rate_decay=cosine", "num_train_iters=42", "w_guide=0", *schedule]
        model = build_model(tiny(*run))
        for side, count in zip(("generator", "discriminator"), steps):
            optimizer = getattr(model, f"{side}_optimizer")
            optimizer.iterations.assign(count - 1)
            assert float(optimizer.learning_rate) > 1e-7
            optimizer.iterations.assign(count)
            assert float(optimizer.learning_rate) < 1e-9

    def test_half_precision_scales_its_losses(self):
        config = tiny("precision=float16", "ema=0.9")
        optimizer = adam(config, 1e-3, 0.9, config.ema)
        assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
        assert optimizer.inner_optimizer.use_ema
        for precision in ("float32", "bfloat16"):
            assert type(adam(tiny(f"precision={precision}"), 1e-3, 0.9)) is keras.optimizers.Adam

    def test_smallest_patch_leaves_the_discriminators_something_to_see(self, rng):
        """Down to one pixel, instance norm would make all pictures equal."""
        config = tiny("patch_size=17", "border=0", "w_guide=0", "color_norm=instance")
        judge = build_model(config).color_discriminator
        logits = judge(rng.random((2, 17, 17, 3)).astype(np.float32)).numpy()
        assert np.abs(logits[0] - logits[1]).max() > 1e-4
        with pytest.raises(
            UserError, match="border=8: leaves less than 17 pixels of patch_size=32"
        ):
            build_model(tiny("border=8"))
