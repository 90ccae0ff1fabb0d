"""Photo files: what goes in comes out, read back by other means than they were written."""

import zlib

import imagecodecs
import numpy as np
import pytest
import skimage.io
import tifffile
from PIL import Image

from tests.images.photo_files import SUFFIXES, UPRIGHT, exif, metadata, png_chunks, profile
from wespe_tf.errors import UserError
from wespe_tf.images.opening import UnreadablePicture, limit_megapixels
from wespe_tf.images.photo import Photo, pixel_bytes, read_photo, write_photo


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_metadata_come_back(tmp_path, pixels, suffix):
    photo = Photo(pixels, exif=exif(), xmp=UPRIGHT, icc=profile("sRGB"))
    write_photo(tmp_path / f"a{suffix}", photo)
    block, xmp, icc = metadata(tmp_path / f"a{suffix}")
    assert (xmp, icc) == (photo.xmp, photo.icc)
    back = read_photo(tmp_path / f"a{suffix}")
    assert (back.xmp, back.icc) == (photo.xmp, photo.icc)
    if suffix == ".tif":
        assert block[0x010F] == "Maker" and block.get(0x0112, 1) == 1
    else:
        assert back.exif == block == photo.exif
    if suffix in (".png", ".tif"):
        np.testing.assert_array_equal(back.pixels, pixels)
        np.testing.assert_array_equal(skimage.io.imread(tmp_path / f"a{suffix}"), pixels)
    else:
        assert np.abs(back.pixels.astype(int) - pixels).mean() < 6


class Test16Bits:
    def test_png(self, tmp_path, wide):
        photo = Photo(wide, exif=exif(), xmp=UPRIGHT, icc=profile("sRGB"))
        write_photo(tmp_path / "a.png", photo)
        np.testing.assert_array_equal(skimage.io.imread(tmp_path / "a.png"), wide >> 8)
        chunks = png_chunks(tmp_path / "a.png")
        assert chunks[b"IHDR"][8] == 16
        assert zlib.decompress(chunks[b"iCCP"].split(b"\x00\x00", 1)[1]) == photo.icc
        assert chunks[b"eXIf"] == photo.exif and chunks[b"iTXt"].endswith(UPRIGHT)
        back = read_photo(tmp_path / "a.png")
        np.testing.assert_array_equal(back.pixels, wide)
        assert (back.exif, back.icc) == (photo.exif, photo.icc) and back.pixels.dtype == np.uint16

    def test_tiff(self, tmp_path, wide):
        photo = Photo(wide, wide[..., 0], exif=exif(), xmp=UPRIGHT, icc=profile("sRGB"))
        write_photo(tmp_path / "a.tif", photo)
        with tifffile.TiffFile(tmp_path / "a.tif") as file:
            np.testing.assert_array_equal(file.asarray()[..., :3], wide)
            tags = file.pages[0].tags
            assert tags["Make"].value == "Maker" and tags["InterColorProfile"].value == photo.icc
            assert tags["XMP"].value == UPRIGHT and tags["ExtraSamples"].value == (2,)
        back = read_photo(tmp_path / "a.tif")
        np.testing.assert_array_equal(back.pixels, wide)
        np.testing.assert_array_equal(back.alpha, wide[..., 0])

    @pytest.mark.parametrize("kind", ["premultiplied", "unspecified", "straight"])
    def test_what_a_tiffs_fourth_channel_means(self, tmp_path, wide, kind):
        alpha = np.maximum(wide[..., :1], 2000)
        given = wide
        if kind == "premultiplied":
            given = np.rint(wide * (alpha / 65535)).astype(np.uint16)
        extra = {"premultiplied": "assocalpha", "straight": "unassalpha"}.get(kind, "unspecified")
        tifffile.imwrite(
            tmp_path / "a.tif",
            np.concatenate([given, alpha], axis=-1),
            photometric="rgb",
            extrasamples=[extra],
        )
        photo = read_photo(tmp_path / "a.tif")
        off = np.abs(photo.pixels.astype(int) - wide)
        assert off.max() <= (17 if kind == "premultiplied" else 0)  # 65535 / 2000 / 2
        if kind == "unspecified":
            assert photo.alpha is None
        else:
            np.testing.assert_array_equal(photo.alpha, alpha[..., 0])

    def test_other_kinds_of_tiff_are_refused(self, tmp_path, wide):
        given = np.concatenate([wide, wide[..., :1]], axis=-1)
        tifffile.imwrite(tmp_path / "a.tif", given, photometric="separated")
        with pytest.raises(UnreadablePicture, match="a.tif: holds uint16 .*expected RGB or gray"):
            read_photo(tmp_path / "a.tif")

    @pytest.mark.parametrize("planarconfig", ["contig", "separate"])
    def test_channels_one_after_another(self, tmp_path, wide, planarconfig):
        given = wide if planarconfig == "contig" else np.moveaxis(wide, -1, 0)
        tifffile.imwrite(tmp_path / "a.tif", given, photometric="rgb", planarconfig=planarconfig)
        np.testing.assert_array_equal(read_photo(tmp_path / "a.tif").pixels, wide)

    def test_gray(self, tmp_path, wide):
        Image.fromarray(wide[..., 0]).save(tmp_path / "gray.png")
        np.testing.assert_array_equal(
            read_photo(tmp_path / "gray.png").pixels, np.repeat(wide[..., :1], 3, axis=-1)
        )

    @pytest.mark.parametrize("suffix, most", [(".jpg", 2), (".webp", 6)])
    def test_where_there_are_8_they_are_rounded(self, tmp_path, wide, suffix, most):
        """WebP halves the resolution of colors at any quality."""
        write_photo(tmp_path / f"a{suffix}", Photo(wide), quality=100)
        found = read_photo(tmp_path / f"a{suffix}").pixels
        assert found.dtype == np.uint8
        assert np.abs(found - wide / 257).mean() < most


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg", "gray.png"])
@pytest.mark.parametrize("bits", [8, 16])
def test_what_pixels_will_take(tmp_path, pixels, wide, name, bits):
    photo = pixels if bits == 8 else wide
    if name == "gray.png":
        Image.fromarray(photo[..., 0]).save(tmp_path / name)
    else:
        write_photo(tmp_path / name, Photo(photo))
    assert pixel_bytes(tmp_path / name) == read_photo(tmp_path / name).pixels.nbytes


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_alpha_is_kept(tmp_path, pixels, suffix):
    alpha = pixels[..., 1]
    path = tmp_path / f"a{suffix}"
    write_photo(path, Photo(pixels, alpha))
    photo = read_photo(path)
    np.testing.assert_array_equal(photo.alpha, alpha)
    assert photo.alpha.base is None  # No view, which would keep four channels.
    assert pixel_bytes(path) == photo.pixels.nbytes + alpha.nbytes
    if suffix == ".webp":
        found = imagecodecs.webp_decode(path.read_bytes())
    else:
        found = skimage.io.imread(path)
    np.testing.assert_array_equal(found[..., 3], alpha)


def test_a_palette_with_a_transparent_color(tmp_path, pixels):
    picture = Image.fromarray(pixels).quantize(8)
    picture.save(tmp_path / "a.png", transparency=0)
    photo = read_photo(tmp_path / "a.png")
    np.testing.assert_array_equal(photo.alpha == 0, np.asarray(picture) == 0)


class TestBadFiles:
    def refused(self, path, message):
        with pytest.raises(UnreadablePicture, match=message):
            read_photo(path)

    def test_several_pictures(self, tmp_path, pixels):
        frames = [Image.fromarray(pixels), Image.fromarray(255 - pixels)]
        frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:])
        self.refused(tmp_path / "a.tif", "a.tif: holds 2 pictures, expected one")

    @pytest.mark.parametrize("suffix", [".webp", ".png"])
    def test_animations(self, tmp_path, pixels, suffix):
        frames = [Image.fromarray(pixels), Image.fromarray(255 - pixels)]
        frames[0].save(tmp_path / f"a{suffix}", save_all=True, append_images=frames[1:])
        self.refused(tmp_path / f"a{suffix}", f"a{suffix}: holds 2 pictures, expected one")

    def test_a_phones_second_picture_is_left_out(self, tmp_path, pixels):
        frames = [Image.fromarray(pixels), Image.fromarray(pixels[:8, :8])]
        frames[0].save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=frames[1:])
        assert read_photo(tmp_path / "a.jpg").pixels.shape == pixels.shape

    def test_too_large(self, tmp_path, pixels):
        Image.fromarray(pixels).save(tmp_path / "a.png")
        limit_megapixels(24 * 40 / 1e6 / 2)
        try:
            self.refused(tmp_path / "a.png", "a.png: larger than max_megapixels=0.00048")
        finally:
            limit_megapixels(400)
        read_photo(tmp_path / "a.png")

    def test_no_pictures(self, tmp_path, pixels):
        Image.fromarray(pixels).save(tmp_path / "whole.jpg")
        (tmp_path / "half.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:400])
        (tmp_path / "empty.png").write_bytes(b"")
        (tmp_path / "text.jpg").write_text("a text")
        for name in ("half.jpg", "empty.png", "text.jpg"):
            self.refused(tmp_path / name, f"{name}: not a readable picture")
        self.refused(tmp_path / "none.jpg", "none.jpg: no such file")

    def test_other_formats_are_not_written(self, tmp_path, pixels):
        with pytest.raises(UserError, match="a.gif: expected one of the formats .jpg"):
            write_photo(tmp_path / "a.gif", Photo(pixels))
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("suffix", [".jpg", ".webp"])
    def test_what_a_format_has_no_room_for(self, tmp_path, pixels, suffix):
        """More pixels a side than 65535 in JPEG, than 16383 in WebP."""
        photo = Photo(np.zeros((2, 17000 if suffix == ".webp" else 66000, 3), np.uint8))
        with pytest.raises(UserError, match=f"a{suffix}: cannot be written ") as caught:
            write_photo(tmp_path / f"a{suffix}", photo)
        assert "\n" not in str(caught.value) and list(tmp_path.iterdir()) == []
