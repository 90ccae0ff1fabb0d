"""Photo files: what goes in comes out, read back by other means than they were written."""

import io
import struct
import zlib

import imageio.v3 as iio
import numpy as np
import pytest
import skimage.io
import tifffile
from PIL import Image, ImageCms

from wespe_tf.errors import UserError
from wespe_tf.images import UnreadablePicture, limit_megapixels
from wespe_tf.photos import Photo, pixel_bytes, read_photo, write_photo

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
UPRIGHT = XMP.replace(b'"6"', b'"1"')
SUFFIXES = (".jpg", ".png", ".tif", ".webp")


def exif(orientation=1):
    """Little-endian EXIF block: orientation and a maker, in bytes written by hand."""
    entries = struct.pack("<HHII", 0x010F, 2, 6, 38) + struct.pack(
        "<HHIHH", 0x0112, 3, 1, orientation, 0
    )
    return b"II*\x00" + struct.pack("<IH", 8, 2) + entries + struct.pack("<I", 0) + b"Maker\x00"


def profile(name):
    """Bytes of a profile: Pillow's sRGB, or the same with red and blue primaries exchanged."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    if name == "sRGB":
        return srgb
    swapped = srgb.replace(b"rXYZ", b"tmpX").replace(b"bXYZ", b"rXYZ").replace(b"tmpX", b"bXYZ")
    description = "sRGB".encode("utf-16-be")
    return swapped.replace(description, "swap".encode("utf-16-be")).replace(b"sRGB", b"swap")


def png_chunks(path):
    """Chunks of a PNG file by name, their checksums checked."""
    content, found, place = path.read_bytes(), {}, 8
    while place < len(content):
        length, kind = struct.unpack(">I4s", content[place : place + 8])
        data = content[place + 8 : place + 8 + length]
        (checksum,) = struct.unpack(">I", content[place + 8 + length : place + 12 + length])
        assert checksum == zlib.crc32(kind + data)
        found[kind] = data
        place += 12 + length
    return found


@pytest.fixture
def pixels(make_photo):
    return make_photo(24, 40)


@pytest.fixture
def wide(pixels, rng):
    """16-bit pixels whose lower byte is not the upper one again."""
    return pixels.astype(np.uint16) * 256 + rng.integers(0, 256, pixels.shape).astype(np.uint16)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_metadata_come_back(tmp_path, pixels, suffix):
    photo = Photo(pixels, None, exif(), UPRIGHT, profile("sRGB"))
    write_photo(tmp_path / f"a{suffix}", photo)
    back = read_photo(tmp_path / f"a{suffix}")
    assert back.icc == photo.icc
    assert back.xmp == photo.xmp
    with Image.open(tmp_path / f"a{suffix}") as picture:
        assert picture.getexif()[0x010F].rstrip("\x00") == "Maker"
        assert picture.getexif().get(0x0112, 1) == 1
    if suffix in (".png", ".tif"):
        np.testing.assert_array_equal(back.pixels, pixels)
        np.testing.assert_array_equal(skimage.io.imread(tmp_path / f"a{suffix}"), pixels)
    else:
        assert np.abs(back.pixels.astype(int) - pixels).mean() < 6
    if suffix != ".tif":
        assert back.exif == photo.exif


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_orientation_is_applied_once(tmp_path, pixels, orientation, suffix):
    """Against imageio's rotation; what is written needs none."""
    path = tmp_path / f"turned{suffix}"
    options = {"lossless": True} if suffix == ".webp" else {}
    if suffix == ".tif":
        options["tiffinfo"] = {0x0112: orientation}
    else:
        options["exif"] = b"Exif\x00\x00" + exif(orientation)
    if suffix == ".jpg":
        options["quality"] = 100
    Image.fromarray(pixels).save(path, **options)
    photo = read_photo(path)
    np.testing.assert_array_equal(photo.pixels, iio.imread(path, plugin="pillow", rotate=True))
    write_photo(tmp_path / "again.png", photo)
    assert read_photo(tmp_path / "again.png").pixels.shape == photo.pixels.shape
    with Image.open(tmp_path / "again.png") as picture:
        assert picture.getexif().get(0x0112, 1) == 1


def test_orientation_in_xmp_is_reset(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "a.jpg", xmp=XMP)
    assert b'tiff:Orientation="1"' in read_photo(tmp_path / "a.jpg").xmp


def test_makers_notes_keep_their_places(tmp_path, pixels):
    """All bytes of the block but the orientation's are the same."""
    before = exif(6)
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=b"Exif\x00\x00" + before)
    after = read_photo(tmp_path / "a.jpg").exif
    assert len(after) == len(before)
    assert sum(a != b for a, b in zip(before, after)) == 1


class Test16Bits:
    def test_png(self, tmp_path, wide):
        photo = Photo(wide, None, exif(), UPRIGHT, profile("sRGB"))
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
        photo = Photo(wide, wide[..., 0], exif(), UPRIGHT, profile("sRGB"))
        write_photo(tmp_path / "a.tif", photo)
        with tifffile.TiffFile(tmp_path / "a.tif") as file:
            np.testing.assert_array_equal(file.asarray()[..., :3], wide)
            tags = file.pages[0].tags
            assert tags["Make"].value == "Maker" and tags["InterColorProfile"].value == photo.icc
            assert tags["XMP"].value == UPRIGHT and tags["ExtraSamples"].value == (2,)
        back = read_photo(tmp_path / "a.tif")
        np.testing.assert_array_equal(back.pixels, wide)
        np.testing.assert_array_equal(back.alpha, wide[..., 0])

    def test_grey(self, tmp_path, wide):
        Image.fromarray(wide[..., 0]).save(tmp_path / "grey.png")
        np.testing.assert_array_equal(
            read_photo(tmp_path / "grey.png").pixels, np.repeat(wide[..., :1], 3, axis=-1)
        )

    @pytest.mark.parametrize("suffix, most", [(".jpg", 2), (".webp", 6)])
    def test_where_there_are_8_they_are_rounded(self, tmp_path, wide, suffix, most):
        """WebP halves the resolution of colors at any quality."""
        write_photo(tmp_path / f"a{suffix}", Photo(wide), quality=100)
        found = read_photo(tmp_path / f"a{suffix}").pixels
        assert found.dtype == np.uint8
        assert np.abs(found - wide / 257).mean() < most


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg", "grey.png"])
@pytest.mark.parametrize("bits", [8, 16])
def test_what_pixels_will_take(tmp_path, pixels, wide, name, bits):
    photo = pixels if bits == 8 else wide
    if name == "grey.png":
        Image.fromarray(photo[..., 0]).save(tmp_path / name)
    else:
        write_photo(tmp_path / name, Photo(photo))
    assert pixel_bytes(tmp_path / name) == read_photo(tmp_path / name).pixels.nbytes


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_alpha_is_kept(tmp_path, pixels, suffix):
    alpha = pixels[..., 1]
    write_photo(tmp_path / f"a{suffix}", Photo(pixels, alpha))
    np.testing.assert_array_equal(read_photo(tmp_path / f"a{suffix}").alpha, alpha)


def test_a_palette_with_a_transparent_color(tmp_path, pixels):
    picture = Image.fromarray(pixels).quantize(8)
    picture.save(tmp_path / "a.png", transparency=0)
    photo = read_photo(tmp_path / "a.png")
    np.testing.assert_array_equal(photo.alpha == 0, np.asarray(picture) == 0)


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

    def test_srgb_stays(self, tmp_path, pixels):
        write_photo(tmp_path / "a.png", Photo(pixels, icc=profile("sRGB")))
        np.testing.assert_array_equal(read_photo(tmp_path / "a.png").pixels, pixels)

    def test_a_damaged_profile_counts_as_none(self, tmp_path, pixels):
        write_photo(tmp_path / "a.png", Photo(pixels, icc=b"no profile" * 20))
        photo = read_photo(tmp_path / "a.png")
        np.testing.assert_array_equal(photo.pixels, pixels)
        assert photo.icc == b""


class TestBadFiles:
    def refused(self, path, message):
        with pytest.raises(UnreadablePicture, match=message):
            read_photo(path)

    def test_several_pictures(self, tmp_path, pixels):
        frames = [Image.fromarray(pixels), Image.fromarray(255 - pixels)]
        frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:])
        self.refused(tmp_path / "a.tif", "a.tif: holds 2 pictures, expected one")

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
