"""A photo in strips, stage by stage, gives what one pass gives."""

import dataclasses
import functools

import keras
import numpy as np
import pytest
import skimage.metrics

from tests.generators import make_generator
from wespe_tf.enhance import stream
from wespe_tf.enhance.fused import prepare
from wespe_tf.enhance.runtimes import choose_runtime
from wespe_tf.enhance.stage_networks import OpenVINOStage
from wespe_tf.enhance.stream import Moments
from wespe_tf.enhance.tiles import Enhancer, Plan
from wespe_tf.models.staged import stages


def sixteen_bits(photo):
    """1e-3 of the range are 66 steps."""
    return photo.astype(np.uint16) * 257


def strips(rows, in_memory=400, in_file=0):
    return Plan("streamed", rows=rows, in_memory=in_memory, in_file=in_file)


def off(one, other):
    return np.abs(one.astype(int) - other).max()


@pytest.mark.parametrize(
    "runtime, norm",
    [
        ("openvino", "instance"),
        pytest.param("keras", "instance", marks=pytest.mark.slow),
        pytest.param("keras", "layer", marks=pytest.mark.slow),
        pytest.param("openvino", "layer", marks=pytest.mark.slow),
    ],
)
def test_equals_the_whole(make_photo, runtime, norm):
    """With strips of several heights, of which the last ones overlap, and in a file."""
    photo = sixteen_bits(make_photo(61, 83))
    enhancer = Enhancer(make_generator(norm), choose_runtime(runtime, "float32"), norm != "layer")
    whole = Enhancer(enhancer.generator, choose_runtime("keras"), norm != "layer")(photo)
    for plan in (strips(6), strips(13, 5, 30), strips(200)):
        assert off(enhancer(photo, plan), whole) <= 3


@pytest.mark.parametrize(
    "size",
    [
        (1, 1),
        *(pytest.param(size, marks=pytest.mark.slow) for size in ((5, 2), (17, 400), (401, 299))),
    ],
)
def test_odd_sizes(make_photo, size):
    photo = sixteen_bits(make_photo(*size))
    enhancer = Enhancer(make_generator("instance"), choose_runtime("keras"))
    assert off(enhancer(photo, strips(6)), enhancer(photo)) <= 3


def test_without_a_frame(make_photo):
    """Zero padding at the photo's edges, as the authors have it."""
    photo = sixteen_bits(make_photo(1, 40))
    enhancer = Enhancer(make_generator("instance"), choose_runtime("keras"), reflect=False)
    assert off(enhancer(photo, strips(6)), enhancer(photo)) <= 3


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["openvino", "keras"])
def test_a_last_convolution_without_margin(make_photo, runtime):
    """The plain ending's is of 1×1, and no tanh follows."""
    photo = sixteen_bits(make_photo(31, 43))
    model = make_generator("instance", blocks=1, ending="plain")
    enhanced = keras.ops.convert_to_numpy(model(photo[None] / np.float32(65535)))[0]
    assert 0.01 < np.std(enhanced) < 0.5
    expected = np.rint(np.clip(enhanced, 0, 1) * 65535)
    enhancer = Enhancer(model, choose_runtime(runtime, "float32"), reflect=False)
    for plan in (Plan("whole"), strips(13, 5, 30)):
        assert off(enhancer(photo, plan), expected) <= 3


@pytest.mark.parametrize("width", [4, 128])
def test_widths(make_photo, width):
    photo = sixteen_bits(make_photo(17, 24))
    model = make_generator("instance", width=width)
    whole = Enhancer(model, choose_runtime("keras"))(photo)
    for runtime in ("keras", "openvino"):
        enhancer = Enhancer(model, choose_runtime(runtime, "float32"))
        assert off(enhancer(photo, strips(9)), whole) <= 6


def test_no_seams(make_photo):
    """Along the strips' borders nothing differs more than elsewhere, at 16 times 16 bits."""
    photo = sixteen_bits(make_photo(150, 40))
    enhancer = Enhancer(make_generator("instance"), choose_runtime("keras"), reflect=False)
    difference = np.abs(enhancer(photo, strips(30)).astype(int) - enhancer(photo))
    borders = np.concatenate([difference[k - 1 : k + 1] for k in range(30, 150, 30)])
    assert borders.max() <= max(2, difference.max()) and borders.mean() <= difference.mean() + 0.5


def test_bfloat16_between_stages(make_photo):
    """Numbers are kept in 16 bits, whatever the processor computes in."""
    runtime = choose_runtime("openvino", "float32")
    halves = dataclasses.replace(
        runtime,
        prepare=functools.partial(prepare, splits=True),
        value_bytes=2,
        stage=functools.partial(
            OpenVINOStage,
            core=runtime.stage.keywords["core"],
            options={"INFERENCE_PRECISION_HINT": "f32"},
            half=True,
        ),
    )
    photo, model = sixteen_bits(make_photo(61, 83)), make_generator("instance")
    whole = Enhancer(model, choose_runtime("keras"))(photo)
    found = Enhancer(model, halves)(photo, strips(13, 5, 30))
    assert skimage.metrics.peak_signal_noise_ratio(whole, found) > 50


def test_a_generator_of_mixed_precision(make_photo):
    """Its norms are measured in float32: its strips are no worse than one pass."""
    photo, model = make_photo(61, 83), make_generator("instance")
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    half = Enhancer(make_generator("instance"), choose_runtime("keras"))
    keras.config.set_dtype_policy(policy)
    expected = Enhancer(model, choose_runtime("keras"))(photo)
    psnr = skimage.metrics.peak_signal_noise_ratio
    assert psnr(expected, half(photo, strips(13))) > psnr(expected, half(photo)) - 1 > 40


@pytest.mark.parametrize("keeps", [True, False])
def test_a_second_photo_has_its_own_statistics(make_photo, monkeypatch, keeps):
    """Whether the graphs are kept, or compiled again as after large photos."""
    monkeypatch.setattr(stream, "LARGE", np.inf if keeps else 0)
    enhancer = Enhancer(make_generator("instance"), choose_runtime("openvino", "float32"))
    enhancer(make_photo(40, 30, 1), strips(9))
    assert all((network.compiled is not None) == keeps for network in enhancer.stage_networks)
    photo = make_photo(33, 30, 2)
    assert off(enhancer(photo, strips(9)), enhancer(photo)) <= 1


def test_moments_keep_their_digits(rng):
    """Of values far from zero, about a pilot near their mean."""
    values = 1000 + 1e-3 * rng.normal(size=(2, 50, 40, 4))
    stage = next(stage for stage in stages(make_generator("instance", width=4)) if stage.measures)
    pilot, moments = values[0].mean(axis=(0, 1)), Moments()
    for strip in values - pilot:
        moments.add(np.stack([strip.sum(axis=1), (strip**2).sum(axis=1)]), 40)
    gain, offset = moments.affine(stage, pilot)
    norm = stage.step.norm
    deviation = np.sqrt(values.var(axis=(0, 1, 2)) + norm.epsilon)
    np.testing.assert_allclose(gain, np.array(norm.scale) / deviation, rtol=1e-5)
    mean = (values - pilot).mean(axis=(0, 1, 2))
    expected = np.array(norm.shift) - mean * np.array(norm.scale) / deviation
    np.testing.assert_allclose(offset, expected, atol=0.02)
