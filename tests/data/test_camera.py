"""Each step of the camera against its formula, computed another way."""

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from wespe_tf.data import camera
from wespe_tf.data.camera import PhoneCamera


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.fixture
def picture(rng):
    """Smooth colors, so that JPEG changes little: float32 (48, 64, 3) in [0, 1]."""
    coarse = rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((64, 48)), np.float32) / 255


def decoded(content):
    """The pixels of a JPEG file, uint8 (H, W, 3)."""
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def test_srgb_matches_known_values():
    # IEC 61966-2-1: display 0.5 is linear 0.21404, 0.02 is on the straight part.
    display = np.array([0, 0.02, 0.5, 1], np.float32)
    linear = np.array([0, 0.02 / 12.92, 0.2140411, 1], np.float32)
    np.testing.assert_allclose(camera.srgb_to_linear(display), linear, atol=1e-6)
    np.testing.assert_allclose(camera.linear_to_srgb(linear), display, atol=1e-6)


def test_blur_spreads_a_point_by_its_variance():
    light = np.zeros((41, 41, 3), np.float32)
    light[20, 20] = 1
    blurred = camera.blur_lens(light, 2.0)
    offset = np.arange(41) - 20
    np.testing.assert_allclose(blurred.sum((0, 1)), 1, rtol=1e-5)
    for axis in (0, 1):
        variance = (blurred.sum(axis) * offset[:, None] ** 2).sum(0)
        np.testing.assert_allclose(variance, 2.0**2, rtol=0.01)


def test_blur_keeps_colors_apart():
    light = np.zeros((9, 9, 3), np.float32)
    light[..., 0] = 0.7
    np.testing.assert_allclose(camera.blur_lens(light, 1.5), light, atol=1e-6)


def test_vignette_falls_with_the_squared_distance():
    gain = camera.vignette(np.ones((31, 61, 3), np.float32), 0.4)[..., 1]
    assert gain[15, 30] == pytest.approx(1)
    assert gain[0, 0] == pytest.approx(0.6)
    assert gain[30, 60] == pytest.approx(0.6)
    # Round: the middle of the upper edge lies at 31 / hypot(31, 61) of the corner's distance.
    assert gain[0, 30] == pytest.approx(1 - 0.4 * 31**2 / (31**2 + 61**2))


@pytest.mark.parametrize("ev", [-2, -0.5, 1])
def test_exposure_is_factors_of_two(ev):
    light = np.full((2, 2, 3), 0.1, np.float32)
    np.testing.assert_allclose(camera.expose(light, ev), 0.1 * 2**ev, rtol=1e-6)


def test_noise_variance_grows_linearly_with_the_signal(rng):
    levels = np.array([0, 0.1, 0.4, 0.9])
    noisy = [
        camera.add_noise(np.full((200, 200, 3), level, np.float32), 0.02, 0.03, rng)
        for level in levels
    ]
    # 120 000 draws know a variance to 0.4 % (one standard deviation), a mean to 0.0004.
    np.testing.assert_allclose([n.var() for n in noisy], 0.02 * levels + 0.03**2, rtol=0.02)
    np.testing.assert_allclose([n.mean() for n in noisy], levels, atol=0.002)


def test_noise_is_independent_between_pixels_and_channels(rng):
    noise = camera.add_noise(np.full((200, 200, 3), 0.5, np.float32), 0.02, 0, rng)
    red, green = noise[..., 0] - 0.5, noise[..., 1] - 0.5
    assert abs(np.corrcoef(red.ravel(), green.ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(red[:, 1:].ravel(), red[:, :-1].ravel())[0, 1]) < 0.02


def test_white_balance_scales_channels():
    light = np.full((2, 2, 3), 0.5, np.float32)
    balanced = camera.balance_white(light, (1.2, 1.0, 0.6))
    np.testing.assert_allclose(balanced[0, 0], [0.6, 0.5, 0.3], rtol=1e-6)


def test_saturation_zero_is_gray_of_the_luminance(picture):
    gray = camera.saturate(picture, 0)
    luminance = picture @ [0.2125, 0.7154, 0.0721]  # Rec. 709
    np.testing.assert_allclose(gray, np.repeat(luminance[..., None], 3, 2), atol=1e-6)


def test_saturation_scales_differences_of_channels(picture):
    less = camera.saturate(picture, 0.4)
    np.testing.assert_allclose(np.diff(less), 0.4 * np.diff(picture), atol=1e-6)
    np.testing.assert_allclose(camera.saturate(picture, 1), picture, atol=1e-6)


def test_contrast_pivots_on_middle_gray(picture):
    flat = camera.stretch_contrast(picture, 0.6)
    np.testing.assert_allclose(flat, 0.6 * picture + 0.2, atol=1e-6)


def test_jpeg_quality_trades_size_for_error(picture):
    small, large = camera.encode_jpeg(picture, 20), camera.encode_jpeg(picture, 95)
    assert len(small) < len(large)
    assert Image.open(io.BytesIO(small)).format == "JPEG"
    errors = [np.abs(decoded(file) / 255 - picture).mean() for file in (small, large)]
    assert errors[1] < errors[0]
    assert errors[1] < 0.01


def test_camera_without_faults_returns_the_picture(picture, rng):
    perfect = PhoneCamera(
        blur=0,
        vignetting=0,
        exposure=0,
        shot_noise=0,
        read_noise=0,
        white_balance=(1, 1, 1),
        saturation=1,
        contrast=1,
    )
    np.testing.assert_allclose(perfect.develop(picture, rng), picture, atol=1e-5)


def test_steps_are_in_physical_order():
    """A flat patch without noise: light is changed before, display values after the encoding."""
    phone = dataclasses.replace(PhoneCamera(), shot_noise=0, read_noise=0, vignetting=0)
    display = phone.develop(np.full((8, 8, 3), 0.5, np.float32), np.random.default_rng(0))
    linear = 0.2140411 * 2**phone.exposure * np.array(phone.white_balance)
    encoded = 1.055 * linear ** (1 / 2.4) - 0.055
    gray = encoded @ [0.2125, 0.7154, 0.0721]
    expected = 0.5 + phone.contrast * (gray + phone.saturation * (encoded - gray) - 0.5)
    np.testing.assert_allclose(display[4, 4], expected, atol=1e-5)


def test_the_file_holds_what_was_developed(picture):
    phone = PhoneCamera()
    display = phone.develop(picture, np.random.default_rng(5))
    assert display.dtype == np.float32
    assert display.min() >= 0 and display.max() <= 1
    photo = decoded(phone.encode(display))
    assert photo.dtype == np.uint8 and photo.shape == picture.shape
    assert np.abs(photo / 255 - display).mean() < 0.02


def test_seed_determines_the_photo(picture):
    phone = PhoneCamera()
    first, again, other = (
        phone.encode(phone.develop(picture, np.random.default_rng(seed))) for seed in (1, 1, 2)
    )
    assert first == again != other


def test_refuses_what_is_not_a_color_picture(rng):
    with pytest.raises(ValueError, match=r"\(H, W, 3\), got \(8, 8\)"):
        PhoneCamera().develop(np.zeros((8, 8), np.float32), rng)
