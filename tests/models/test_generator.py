"""The generator: size, shapes, arithmetic, starts, saving."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.ops import convert_to_numpy as array

from benchmarks import plain
from tests.shared import SHARED, needs_shared
from wespe_tf.data.sample import build_sample
from wespe_tf.images.picture import read_picture, to_uint8
from wespe_tf.metrics.quality import psnr
from wespe_tf.models.generator import Generator
from wespe_tf.models.options import GENERATOR_NORMS, GENERATOR_STARTS


def built(**options):
    generator = Generator(**options)
    generator.build((None, None, None, 3))
    return generator


def randomise(model, rng):
    """Gives every weight a value that no initializer would."""
    for variable in model.weights:
        low, high = (0.5, 1.5) if "variance" in variable.name else (-0.2, 0.2)
        variable.assign(rng.uniform(low, high, variable.shape))


@pytest.fixture
def pictures(rng):
    return rng.random((2, 21, 18, 3)).astype(np.float32)


class TestParameters:
    def test_default_is_the_authors_401475(self):
        first, last = 9 * 9 * 3 * 64 + 64, 9 * 9 * 64 * 3 + 3
        middle, norms = 3 * 3 * 64 * 64 + 64, 8 * 2 * 64
        assert first + 10 * middle + norms + last == 401_475
        assert built().count_params() == 401_475

    def test_trainable_are_all_but_batch_norms_running_statistics(self):
        without_norm = 401_475 - 8 * 2 * 64
        for norm, in_all, trained in (
            ("none", 0, 0),
            ("instance", 2, 2),
            ("layer", 2, 2),
            ("batch", 4, 2),
        ):
            generator = built(norm=norm)
            assert generator.count_params() == without_norm + in_all * 8 * 64
            counted = sum(int(np.prod(v.shape)) for v in generator.trainable_variables)
            assert counted == without_norm + trained * 8 * 64

    @pytest.mark.parametrize("width, blocks", [(8, 2), (4, 0), (16, 5)])
    def test_width_and_blocks(self, width, blocks):
        first, last = 9 * 9 * 3 * width + width, 9 * 9 * width * 3 + 3
        convs, norms = 2 * blocks + 2, 2 * blocks
        expected = first + convs * (9 * width**2 + width) + norms * 2 * width + last
        assert built(width=width, blocks=blocks).count_params() == expected


class TestShapesAndRange:
    @pytest.mark.parametrize("size", [(100, 100), (37, 53), (9, 130), (1, 1)])
    def test_any_height_and_width(self, size):
        generator = Generator(width=8, blocks=1)
        assert generator(np.zeros((2, *size, 3), np.float32)).shape == (2, *size, 3)
        assert generator.compute_output_shape((2, *size, 3)) == (2, *size, 3)

    def test_one_network_takes_one_size_after_the_other(self, rng):
        generator = built(width=8, blocks=1)
        for size in ((16, 16), (33, 20)):
            assert generator(rng.random((1, *size, 3))).shape == (1, *size, 3)

    @pytest.mark.parametrize("scale, low, high", [(0.58, -0.08, 1.08), (0.5, 0, 1)])
    def test_outputs_fill_half_plus_minus_tanh_scale(self, pictures, scale, low, high):
        generator = built(width=8, blocks=1, tanh_scale=scale)
        generator.to_rgb.bias.assign([50, -50, 0])
        output = array(generator(pictures))
        np.testing.assert_allclose(output[..., 0], high, atol=1e-6)
        np.testing.assert_allclose(output[..., 1], low, atol=1e-6)
        assert (low < output[..., 2]).all() and (output[..., 2] < high).all()

    def test_pictures_of_a_batch_do_not_touch(self, pictures, rng):
        generator = built(width=8)
        randomise(generator, rng)
        together = array(generator(pictures))
        alone = array(generator(pictures[1:]))
        np.testing.assert_allclose(together[1:], alone, atol=1e-5)


class TestArithmetic:
    def test_equals_the_network_written_plainly(self, policy, rng):
        policy("float64")
        generator = built(width=6)
        randomise(generator, rng)
        pictures = rng.random((2, 17, 22, 3))
        weights = plain.tensors(plain.generator_variables(generator))
        expected = plain.generator(tf.constant(pictures), weights)
        assert expected.numpy().std() > 0.05
        np.testing.assert_allclose(array(generator(pictures)), expected, rtol=0, atol=1e-12)

    @needs_shared
    @pytest.mark.parametrize("phone", ["iphone_orig", "sony_orig"])
    def test_the_authors_weights_give_the_authors_output(self, phone):
        reader = tf.train.load_checkpoint(str(SHARED / "checkpoints" / "dped" / phone))
        generator = built()
        convs = [generator.head]
        norms = []
        for conv1, norm1, conv2, norm2 in generator.residuals:
            convs += [conv1, conv2]
            norms += [norm1, norm2]
        convs += [*generator.tail, generator.to_rgb]
        assert len(convs) == 12 and len(norms) == 8
        for k, conv in enumerate(convs, 1):
            conv.kernel.assign(reader.get_tensor(f"generator/W{k}"))
            conv.bias.assign(reader.get_tensor(f"generator/b{k}"))
        names = ["generator/Variable"] + [f"generator/Variable_{k}" for k in range(1, 16)]
        for k, norm in enumerate(norms):
            norm.shift.assign(reader.get_tensor(names[2 * k]))
            norm.scale.assign(reader.get_tensor(names[2 * k + 1]))

        stored = np.load(SHARED / "reference" / "dped_generator.npz")
        output = array(generator(stored["input_uint8"].astype(np.float32) / 255))
        np.testing.assert_allclose(output, stored[phone], rtol=0, atol=1e-5)

    def test_batch_norm_follows_the_training_flag(self, pictures):
        generator = built(width=8, blocks=1, norm="batch")
        moving = [v for v in generator.non_trainable_variables if "moving" in v.path]
        before = [array(v) for v in moving]
        generator(pictures)
        assert all((array(v) == b).all() for v, b in zip(moving, before))
        generator(pictures, training=True)
        assert all((array(v) != b).any() for v, b in zip(moving, before))
        assert len(moving) == 4


class TestStarts:
    @pytest.mark.parametrize(
        "init, bound",
        [
            ("truncated_normal", lambda fan_in, fan_out: 0.02),
            ("kaiming_uniform", lambda fan_in, fan_out: (6 / fan_in) ** 0.5),
            ("glorot", lambda fan_in, fan_out: (6 / (fan_in + fan_out)) ** 0.5),
            ("torch_default", lambda fan_in, fan_out: fan_in**-0.5),
        ],
    )
    def test_every_kernel_has_the_bound_of_its_own_fan(self, init, bound):
        kernels = [v for v in built(init=init, blocks=1).weights if v.name == "kernel"]
        assert len(kernels) == 6
        for kernel in kernels:
            size, _, inputs, outputs = kernel.shape
            limit = bound(size**2 * inputs, size**2 * outputs)
            assert 0.99 * limit < np.abs(array(kernel)).max() <= limit * (1 + 1e-6)

    @pytest.mark.slow
    @pytest.mark.parametrize("norm", GENERATOR_NORMS)
    @pytest.mark.parametrize("seed", [0, 1])
    def test_identity_passes_patches_of_the_sample(self, sample_photos, norm, seed):
        keras.utils.set_random_seed(seed)
        generator = built(init="identity", norm=norm)
        patches = np.stack([photo[20:84, 30:94] for photo in sample_photos])
        enhanced = to_uint8(array(generator(patches.astype(np.float32) / 255)))
        assert min(psnr(*pair) for pair in zip(enhanced, patches)) >= 24

    @pytest.mark.slow
    def test_identity_passes_whole_photos_of_the_sample(self, sample_photos):
        generator = built(init="identity")
        for photo in sample_photos:
            output = generator(photo[None].astype(np.float32) / 255)
            assert psnr(to_uint8(array(output))[0], photo) >= 24

    @pytest.mark.parametrize("width, tanh_scale", [(4, 0.58), (8, 0.5), (64, 0.5)])
    def test_identity_at_other_widths_and_scales(self, make_photo, width, tanh_scale):
        photo = make_photo(64, 64)
        generator = built(init="identity", width=width, tanh_scale=tanh_scale)
        output = generator(photo[None].astype(np.float32) / 255)
        assert psnr(to_uint8(array(output))[0], photo) >= 24

    def test_identity_leaves_every_kernel_and_norm_a_gradient(self, pictures, rng):
        """A residual branch or a copied channel that is exactly zero would never learn."""
        generator = built(init="identity", width=16)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((generator(pictures) - rng.random(pictures.shape)) ** 2)
        gradients = tape.gradient(loss, generator.trainable_variables)
        # A bias just before an instance norm is without effect by construction.
        dead = [
            v.path
            for v, g in zip(generator.trainable_variables, gradients)
            if v.name != "bias" and not np.abs(array(g)).max() > 1e-8
        ]
        assert dead == []


@pytest.fixture(scope="module")
def sample_photos(tmp_path_factory):
    folders = build_sample(tmp_path_factory.mktemp("data") / "sample")
    paths = [*sorted(folders.source.iterdir()), *sorted(folders.target.iterdir())]
    assert len(paths) >= 10
    return [read_picture(path) for path in paths]


class TestOptions:
    @pytest.mark.parametrize(
        "norm, init",
        [*itertools.product(GENERATOR_NORMS, ["truncated_normal"])]
        + [*itertools.product(["instance"], GENERATOR_STARTS)],
    )
    def test_loads_from_keras_file_in_safe_mode(self, tmp_path, pictures, rng, norm, init):
        options = {"width": 5, "blocks": 2, "norm": norm, "init": init}
        options |= {"norm_epsilon": 1e-5, "tanh_scale": 0.5, "name": "painter"}
        generator = built(**options)
        randomise(generator, rng)
        generator.save(tmp_path / "generator.keras")
        loaded = keras.saving.load_model(tmp_path / "generator.keras", safe_mode=True)
        assert type(loaded) is Generator
        assert {name: getattr(loaded, name) for name in options} == options
        np.testing.assert_array_equal(array(loaded(pictures)), array(generator(pictures)))
        assert loaded.count_params() == generator.count_params()

    @pytest.mark.parametrize(
        "name, dtype",
        [
            ("float64", "float64"),
            ("float32", "float32"),
            ("mixed_bfloat16", "float32"),
            ("mixed_float16", "float32"),
        ],
    )
    @pytest.mark.parametrize("norm", GENERATOR_NORMS)
    def test_output_is_never_below_float32(self, policy, pictures, name, dtype, norm):
        policy(name)
        generator = built(width=8, blocks=1, norm=norm, init="identity")
        assert generator.head.compute_dtype == name.removeprefix("mixed_")
        assert {v.dtype for v in generator.trainable_variables} == {dtype}
        output = generator(pictures.astype(dtype))
        assert output.dtype == dtype
        # Close to the input: eight bits of mantissa are enough for an identity.
        assert np.abs(array(output) - pictures).mean() < 0.05

    def test_dtype_argument_reaches_the_layers(self, policy):
        generator = built(width=8, blocks=1, dtype="float64")
        assert {v.dtype for v in generator.weights} == {"float64"}
        policy("mixed_bfloat16")
        plain_float32 = built(width=8, blocks=1, dtype="float32")
        layers = [layer for layer in plain_float32._flatten_layers() if layer.weights]
        assert {layer.compute_dtype for layer in layers} == {"float32"}

    def test_refuses_unknown_options(self):
        with pytest.raises(ValueError, match="init: expected one of identity, .*got 'zeros'"):
            Generator(init="zeros")
        for norm in ("spectral", "affine"):  # These are the discriminators'.
            with pytest.raises(ValueError, match=f"norm: expected one of inst.*got '{norm}'"):
                Generator(norm=norm)
