"""Colors of other spaces become sRGB, by the definitions of those spaces."""

import io

import imagecodecs
import imageio.v3 as iio
import numpy as np
import pytest
from PIL import Image, ImageCms

from tests.images.photo_files import (
    ADOBE_TO_XYZ,
    P3_TO_XYZ,
    XYZ_TO_SRGB,
    in_srgb,
    linear,
    profile,
)
from wespe_tf.data.patches import PatchStream
from wespe_tf.images.photo import Photo, read_photo, write_photo
from wespe_tf.images.profiles import SRGB

DISPLAY_P3 = {
    "whitepoint": [0.3127, 0.329, 1],
    "primaries": [0.68, 0.32, 1, 0.265, 0.69, 1, 0.15, 0.06, 1],
    "transferfunction": np.rint(65535 * linear(np.linspace(0, 1, 1024))).astype(np.uint16),
}


def no_ink(pixels, icc, space):
    """In place of `profiles.converted`."""
    return 255 - pixels[..., :3] if space == "CMYK" else pixels


class TestColors:
    @pytest.mark.parametrize("wide_pixels", [False, True])
    def test_other_profiles_become_srgb(self, tmp_path, pixels, wide, wide_pixels):
        """A profile whose red is sRGB's blue: the conversion exchanges the channels."""
        given = wide if wide_pixels else pixels
        write_photo(tmp_path / "a.png", Photo(given, icc=profile("swapped")))
        photo = read_photo(tmp_path / "a.png")
        one = 257 if wide_pixels else 1
        assert np.abs(photo.pixels.astype(int) - given[..., ::-1]).max() <= 2 * one
        assert "sRGB" in ImageCms.getProfileDescription(io.BytesIO(photo.icc))

    @pytest.mark.parametrize("name", ["Adobe RGB", "Display P3"])
    @pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
    def test_wide_spaces_by_their_definitions(self, tmp_path, pixels, name, suffix):
        if name == "Adobe RGB":
            matrix, curve = ADOBE_TO_XYZ, lambda values: values**2.19921875
            icc = imagecodecs.cms_profile("adobergb")
        else:
            matrix, curve = P3_TO_XYZ, linear
            icc = imagecodecs.cms_profile("rgb", **DISPLAY_P3)
        path = tmp_path / f"a{suffix}"
        Image.fromarray(pixels).save(
            path, icc_profile=icc, **{"quality": 100} if suffix == ".jpg" else {}
        )
        given = iio.imread(path, plugin="pillow")
        photo = read_photo(path)
        assert photo.icc == SRGB
        assert np.abs(photo.pixels - in_srgb(given, matrix, curve)).max() < 1.5
        assert np.abs(photo.pixels.astype(int) - given).max() > 8

    def test_a_wide_file_and_its_srgb_twin_give_the_same_patches(self, tmp_path, make_photo):
        """What is learned from does not depend on the space that a camera writes."""
        photo = make_photo(64, 96)
        icc = imagecodecs.cms_profile("rgb", **DISPLAY_P3)
        wide = imagecodecs.cms_transform(photo, SRGB, icc, colorspace="rgb", outcolorspace="rgb")
        for name, pixels, options in (("p3", wide, {"icc_profile": icc}), ("srgb", photo, {})):
            (tmp_path / name).mkdir()
            Image.fromarray(pixels).save(tmp_path / name / "a.png", **options)
        assert np.abs(wide.astype(int) - photo).max() > 8
        streams = [PatchStream(tmp_path / name, 32, 0, "dir") for name in ("p3", "srgb")]
        for number in range(8):
            found, expected = (stream[number].astype(int) for stream in streams)
            off = np.abs(found - expected)
            assert off.max() <= 4 and off.mean() < 0.5  # P3 in 8 bits is coarse near black.

    def test_linear_srgb_is_converted_whatever_its_name(self, tmp_path, pixels):
        icc = imagecodecs.cms_profile(
            "rgb",
            whitepoint=[0.3127, 0.329, 1],
            primaries=[0.64, 0.33, 1, 0.3, 0.6, 1, 0.15, 0.06, 1],
            gamma=1.0,
        )
        named = icc.replace("RGB built-in".encode("utf-16-be"), "sRGB linear!".encode("utf-16-be"))
        assert "sRGB" in ImageCms.getProfileDescription(io.BytesIO(named))
        write_photo(tmp_path / "a.png", Photo(pixels, icc=named))
        photo = read_photo(tmp_path / "a.png")
        expected = in_srgb(pixels, np.linalg.inv(XYZ_TO_SRGB), lambda values: values)
        assert photo.icc == SRGB and np.abs(photo.pixels - expected).max() < 1.5

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_gray_profiles(self, tmp_path, pixels, dtype):
        """Gray of gamma 1.8 becomes RGB of sRGB's tones; its profile would say nothing of RGB."""
        icc = imagecodecs.cms_profile("gray", whitepoint=[0.3127, 0.329, 1], gamma=1.8)
        one = 257 if dtype == np.uint16 else 1
        gray = pixels[..., 0].astype(dtype) * one
        Image.fromarray(gray).save(tmp_path / "a.png", icc_profile=icc)
        photo = read_photo(tmp_path / "a.png")
        identity = np.linalg.inv(XYZ_TO_SRGB)
        expected = in_srgb(pixels[..., :1].repeat(3, -1), identity, lambda values: values**1.8)
        assert photo.icc == SRGB and photo.pixels.dtype == dtype
        assert np.abs(photo.pixels / one - expected).max() < 1.5

    def test_gray_with_a_profile_of_rgb(self, tmp_path, pixels):
        Image.fromarray(pixels[..., 0]).save(tmp_path / "a.png", icc_profile=profile("sRGB"))
        photo = read_photo(tmp_path / "a.png")
        np.testing.assert_array_equal(photo.pixels, pixels[..., :1].repeat(3, -1))
        assert photo.icc == profile("sRGB")

    @pytest.mark.parametrize("suffix", [".jpg", ".tif"])
    def test_cmyk_with_a_profile_is_turned(self, tmp_path, pixels, monkeypatch, suffix):
        """A conversion that takes black off white, in place of a printer's megabytes of tables."""
        monkeypatch.setattr("wespe_tf.images.decoding.converted", no_ink)
        block = Image.Exif()
        block[0x0112] = 6
        cmyk = Image.fromarray(pixels).convert("CMYK")
        cmyk.save(tmp_path / f"a{suffix}", exif=block, icc_profile=SRGB, quality=100)
        photo = read_photo(tmp_path / f"a{suffix}")
        upright = np.rot90(np.asarray(cmyk)[..., :3], -1)
        assert photo.pixels.shape == (40, 24, 3) and photo.icc == SRGB
        assert np.abs(photo.pixels.astype(int) - (255 - upright)).mean() < 3

    def test_cmyk_with_a_profile_of_rgb(self, tmp_path, pixels):
        """It says nothing of such pixels, which become RGB without it."""
        cmyk = Image.fromarray(pixels).convert("CMYK")
        cmyk.save(tmp_path / "a.tif", icc_profile=profile("sRGB"))
        photo = read_photo(tmp_path / "a.tif")
        np.testing.assert_array_equal(photo.pixels, np.asarray(cmyk.convert("RGB")))

    def test_srgb_stays(self, tmp_path, pixels):
        write_photo(tmp_path / "a.png", Photo(pixels, icc=profile("sRGB")))
        np.testing.assert_array_equal(read_photo(tmp_path / "a.png").pixels, pixels)

    def test_a_damaged_profile_counts_as_none(self, tmp_path, pixels):
        write_photo(tmp_path / "a.png", Photo(pixels, icc=b"no profile" * 20))
        photo = read_photo(tmp_path / "a.png")
        np.testing.assert_array_equal(photo.pixels, pixels)
        assert photo.icc == b""

    def test_a_profile_of_a_space_that_is_no_text(self, tmp_path, pixels):
        icc = profile("sRGB")
        write_photo(tmp_path / "a.png", Photo(pixels, icc=icc[:16] + b"R\xd0B " + icc[20:]))
        np.testing.assert_array_equal(read_photo(tmp_path / "a.png").pixels, pixels)
