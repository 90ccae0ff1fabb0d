"""HEIC, AVIF and JPEG XL files: against the pixels put in, and against another library."""

import logging

import imagecodecs
import numpy as np
import pytest
import skimage.io
from PIL import Image

from tests.images.photo_files import UPRIGHT, XMP, cameras_exif, exif, of_block, profile
from wespe_tf.images.exif import made_true, without_orientation
from wespe_tf.images.jxl import Header, boxes, stream
from wespe_tf.images.opening import UnreadablePicture
from wespe_tf.images.photo import Photo, pixel_bytes, read_photo, write_photo
from wespe_tf.images.picture import picture_size, read_picture

# HEIC without loss: RGB as it is.
LOSSLESS = {"quality": -1, "chroma": 444, "matrix_coefficients": 0}


class TestHeic:
    def test_pixels_upright(self, tmp_path, pixels):
        """The orientation is the container's; it is not applied a second time for EXIF's sake."""
        path, icc = tmp_path / "a.heic", profile("sRGB")
        options = {"exif": exif(6), "xmp": XMP, "icc_profile": icc}
        Image.fromarray(pixels).save(path, **LOSSLESS, **options)
        photo = read_photo(path)
        np.testing.assert_array_equal(photo.pixels, np.rot90(pixels, -1))
        np.testing.assert_array_equal(read_picture(path), np.rot90(pixels, -1))
        assert picture_size(path) == (40, 24) and pixel_bytes(path) == pixels.nbytes
        assert photo.exif == exif(1) and photo.icc == icc

    def test_colors_of_a_profile(self, tmp_path, pixels):
        Image.fromarray(pixels).save(
            tmp_path / "a.heic", icc_profile=profile("swapped"), **LOSSLESS
        )
        found = read_picture(tmp_path / "a.heic").astype(int)
        assert np.abs(found - pixels[..., ::-1]).mean() < 3

    def test_of_several_pictures_the_main_one(self, tmp_path, pixels, caplog):
        first, second = Image.fromarray(pixels[:12]), Image.fromarray(pixels)
        path = tmp_path / "a.heic"
        options = {"save_all": True, "append_images": [second], "primary_index": 1}
        first.save(path, **options, **LOSSLESS)
        with caplog.at_level(logging.WARNING):
            np.testing.assert_array_equal(read_photo(path).pixels, pixels)
        assert caplog.messages == [f"{path}: the main picture is read, not its other pictures"]


def test_a_gain_map_is_told(tmp_path, pixels, caplog):
    path = tmp_path / "a.jpg"
    packet = XMP.replace(b"/></", b' xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/"/></')
    Image.fromarray(pixels).save(path, xmp=packet)
    with caplog.at_level(logging.WARNING):
        read_photo(path)
    assert caplog.messages == [f"{path}: the main picture is read, not its gain map"]


@pytest.mark.parametrize("suffix", [".heic", ".avif", ".jxl"])
def test_what_is_written(tmp_path, pixels, suffix):
    path = tmp_path / f"a{suffix}"
    alpha = np.full(pixels.shape[:2], 200, np.uint8)
    photo = Photo(pixels, alpha, exif=exif(), xmp=UPRIGHT, icc=profile("sRGB"))
    write_photo(path, photo)
    content = path.read_bytes()
    block = without_orientation(photo.exif) if suffix == ".avif" else photo.exif
    assert block in content and photo.xmp in content
    assert (photo.icc in content) == (suffix != ".jxl")  # There sRGB has a number.
    back = read_photo(path)
    assert of_block(back.exif)[0][0x010F] == "Maker" and back.xmp == photo.xmp
    assert np.abs(back.alpha.astype(int) - 200).max() <= 2
    decode = {".avif": imagecodecs.avif_decode, ".jxl": imagecodecs.jpegxl_decode}.get(suffix)
    if decode:
        np.testing.assert_allclose(back.pixels, decode(content)[..., :3], atol=1)
    assert np.abs(back.pixels.astype(int) - pixels).mean() < 6


@pytest.mark.parametrize("endian", ["<", ">"])
def test_makers_notes_keep_their_places_in_avif(tmp_path, pixels, endian):
    """EXIF lacks the orientation there. Pillow would move all values."""
    block = made_true(cameras_exif(endian), 40, 24)
    write_photo(tmp_path / "a.avif", Photo(pixels, exif=block))
    back = read_photo(tmp_path / "a.avif").exif
    assert len(back) == len(block) and back.index(b"a note") == block.index(b"a note")
    before, after = of_block(block), of_block(back)
    del before[0][0x0112]
    assert [dict(found) for found in after] == [dict(found) for found in before]
    alone = Image.Exif()
    alone[0x0112] = 1
    assert without_orientation(alone.tobytes().removeprefix(b"Exif\0\0")) == b""


def test_avif_of_another_encoder(tmp_path, pixels):
    path = tmp_path / "a.avif"
    path.write_bytes(imagecodecs.avif_encode(pixels, level=100))
    np.testing.assert_allclose(read_picture(path), imagecodecs.avif_decode(path.read_bytes()))
    assert np.abs(read_picture(path).astype(int) - pixels).mean() < 1


class TestJxl:
    @pytest.mark.parametrize("container", [False, True])
    @pytest.mark.parametrize("channels", [1, 2, 3, 4])
    def test_pixels(self, tmp_path, rng, channels, container):
        given = rng.integers(0, 256, (33, 57, channels)).astype(np.uint8)
        content = imagecodecs.jpegxl_encode(
            given[..., 0] if channels == 1 else given, lossless=True, usecontainer=container
        )
        path = tmp_path / "a.jxl"
        path.write_bytes(content)
        photo = read_photo(path)
        colors = given[..., :3] if channels > 2 else np.repeat(given[..., :1], 3, axis=-1)
        np.testing.assert_array_equal(photo.pixels, colors)
        assert picture_size(path) == (33, 57) and photo.is_gray == (channels < 3)
        if channels in (2, 4):
            np.testing.assert_array_equal(photo.alpha, given[..., -1])

    @pytest.mark.parametrize("size", [(1, 1), (8, 264), (600, 400), (2000, 17), (90, 160)])
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_headers(self, rng, size, dtype):
        """16 bits are linear light, as this encoder says."""
        given = rng.integers(0, 256, (*size, 3)).astype(dtype)
        header = Header(stream(list(boxes(imagecodecs.jpegxl_encode(given, distance=2.0)))))
        assert header.size == size[::-1] and not header.has_alpha and not header.is_moving
        assert (header.bits, header.is_srgb) == ((8, True) if dtype == np.uint8 else (16, False))

    @pytest.mark.parametrize("dtype", [np.float32, np.float16])
    @pytest.mark.parametrize("channels", [1, 3, 4])
    def test_floats_become_16_bits(self, tmp_path, rng, dtype, channels):
        """The encoder calls floats linear light, curve 8. Here the header says sRGB's, 13."""

        class Places(Header):
            def _enum(self):
                self.before = self.left
                return super()._enum()

        given = rng.uniform(-0.1, 1.1, (16, 24, channels)).astype(dtype)
        content = imagecodecs.jpegxl_encode(given.squeeze(), lossless=True, usecontainer=True)
        content = stream(list(boxes(content)))
        place = 8 * len(content[2:1026]) - Places(content).before + 2
        number = int.from_bytes(content[2:], "little") ^ ((8 - 2) ^ (13 - 2)) << place
        path = tmp_path / "a.jxl"
        path.write_bytes(content[:2] + number.to_bytes(len(content) - 2, "little"))
        photo, expected = read_photo(path), np.rint(np.clip(given.astype(float), 0, 1) * 65535)
        assert photo.pixels.dtype == np.uint16 and pixel_bytes(path) == 2 * 16 * 24 * max(
            channels, 3
        )
        np.testing.assert_array_equal(photo.pixels, np.broadcast_to(expected[..., :3], (16, 24, 3)))
        if channels == 4:
            np.testing.assert_array_equal(photo.alpha, expected[..., 3])
        eight = np.broadcast_to(np.rint(expected[..., :3] / 257), (16, 24, 3))
        np.testing.assert_allclose(read_picture(path), eight, atol=1)

    def test_other_colors_are_refused(self, tmp_path, wide):
        (tmp_path / "a.jxl").write_bytes(imagecodecs.jpegxl_encode(wide))
        with pytest.raises(UnreadablePicture, match="its color space is not known"):
            read_picture(tmp_path / "a.jxl")


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".heic", ".jxl"])
def test_gray_files(tmp_path, pixels, suffix):
    gray = np.repeat(pixels[..., :1], 3, axis=-1)
    path = tmp_path / f"a{suffix}"
    write_photo(path, Photo(gray, icc=profile("sRGB"), is_gray=True), 100)
    if suffix == ".jxl":
        stored = imagecodecs.jpegxl_decode(path.read_bytes())
    elif suffix == ".heic":
        stored = np.asarray(Image.open(path))
    else:
        stored = skimage.io.imread(path)
    assert stored.shape == (24, 40)
    np.testing.assert_allclose(stored, gray[..., 0], atol=4)
    photo = read_photo(path)
    assert photo.is_gray and (photo.pixels == photo.pixels[..., :1]).all()
