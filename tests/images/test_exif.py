"""EXIF and XMP: a photo is upright and in sRGB when it is read, and they say so."""

import contextlib
import struct
import zlib

import imagecodecs
import imageio.v3 as iio
import numpy as np
import pytest
from PIL import ExifTags, Image

from tests.images.photo_files import (
    ADOBE_TO_XYZ,
    SUFFIXES,
    UPRIGHT,
    XMP,
    cameras_exif,
    exif,
    in_srgb,
    metadata,
    of_block,
)
from wespe_tf.images.exif import checked, made_true
from wespe_tf.images.photo import Photo, read_photo, write_photo
from wespe_tf.images.profiles import SRGB


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


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK"])
def test_orientation_of_plain_tiff_files(tmp_path, pixels, mode):
    """Those that Pillow maps into memory."""
    block = Image.Exif()
    block[0x0112] = 6
    picture = Image.fromarray(pixels).convert(mode)
    picture.save(tmp_path / "a.tif", exif=block)
    expected = np.rot90(np.asarray(picture.convert("RGB")), -1)
    np.testing.assert_array_equal(read_photo(tmp_path / "a.tif").pixels, expected)


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


class TestCamerasExif:
    @pytest.fixture
    def sideways(self, tmp_path, pixels):
        """Function of a block that writes a photo with it."""

        def write(block):
            path = tmp_path / "camera.jpg"
            Image.fromarray(pixels).save(path, exif=b"Exif\x00\x00" + block)
            return path

        return write

    @pytest.mark.parametrize("endian", ["<", ">"])
    def test_is_made_true(self, sideways, endian):
        """The photo is upright and in sRGB now, and its thumbnail would not be."""
        block = read_photo(sideways(cameras_exif(endian))).exif
        first, details, interoperability, _ = of_block(block)
        assert first[0x0112] == 1 and interoperability[1] == "R98"
        assert (details[0xA001], details[0xA002], details[0xA003]) == (1, 24, 40)
        assert details[0x927C] == b"a note" and len(block) == len(cameras_exif(endian))
        assert of_block(cameras_exif(endian))[0].get_ifd(ExifTags.IFD.IFD1) != {}
        assert first.get_ifd(ExifTags.IFD.IFD1) == {}

    @pytest.mark.parametrize("suffix", SUFFIXES)
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_details_and_place_come_through(self, sideways, tmp_path, suffix, dtype):
        """Through TIFF too, whose directories are others; and from there into PNG."""
        photo = read_photo(sideways(cameras_exif()))
        photo.pixels, photo.icc, photo.xmp = photo.pixels.astype(dtype), SRGB, UPRIGHT
        write_photo(tmp_path / f"a{suffix}", photo)
        back = read_photo(tmp_path / f"a{suffix}")
        assert of_block(back.exif)[2] == {1: "R98", 2: b"0100"}
        for block in (metadata(tmp_path / f"a{suffix}")[0], back.exif):
            first, details, _, place = of_block(block)
            assert first[0x010F] == "Maker"
            assert details[0x9003] == "2026:01:02 03:04:05" and details[0x927C] == b"a note"
            assert place[1] == "N" and place[2] == (48.0, 8.0, 0.0)

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_a_place_alone_comes_through_tiff(self, tmp_path, pixels, dtype):
        block = Image.Exif()
        block.get_ifd(0x8825).update({1: "S"})
        block = block.tobytes().removeprefix(b"Exif\x00\x00")
        write_photo(tmp_path / "a.tif", Photo(pixels.astype(dtype), exif=block))
        assert of_block(read_photo(tmp_path / "a.tif").exif)[3] == {1: "S"}

    def test_adobe_rgb_without_a_profile(self, sideways, pixels):
        """As Canon's cameras say it."""
        plain = read_photo(sideways(cameras_exif())).pixels
        photo = read_photo(sideways(cameras_exif(interoperability="R03")))
        assert photo.icc == SRGB and of_block(photo.exif)[2][1] == "R98"
        assert (
            np.abs(photo.pixels - in_srgb(plain, ADOBE_TO_XYZ, lambda v: v**2.19921875)).max() < 2
        )

    @pytest.mark.parametrize("cut", [9, 12, 30, 60, 120])
    def test_damaged_blocks_end_nothing(self, cut):
        for block in (
            cameras_exif()[:cut],
            cameras_exif().replace(struct.pack("<HHI", 0x8769, 4, 1), bytes(8)),
        ):
            with contextlib.suppress(ValueError):
                made_true(checked(block), 24, 40)

    def test_size_in_the_first_directory(self, sideways):
        """Many phones write it there, too."""
        block = Image.Exif()
        block.update({0x0100: 40, 0x0101: 24, 0x0112: 6})
        first = of_block(read_photo(sideways(block.tobytes().removeprefix(b"Exif\0\0"))).exif)[0]
        assert (first[0x0100], first[0x0101], first[0x0112]) == (24, 40, 1)

    def test_a_block_like_a_bigtiff_file_is_left_out(self, tmp_path, pixels, caplog):
        block = b"MM\x00+" + struct.pack(">HHQ", 8, 0, 16) + struct.pack(">Q", 1)
        block += struct.pack(">HHQ8sQ", 0x010F, 2, 6, b"Maker\x00\x00\x00", 0)
        Image.fromarray(pixels).save(tmp_path / "a.png")
        with_chunks_behind(tmp_path / "a.png", [(b"eXIf", block)])
        photo = read_photo(tmp_path / "a.png")
        np.testing.assert_array_equal(photo.pixels, pixels)
        assert photo.exif == b"" and "left out EXIF" in caplog.text

    def test_details_over_the_header_end_nothing(self):
        """The pointer to the first directory is read as the color space, and set to another."""
        start = 0x0001A001
        block = (b"II*\x00" + struct.pack("<I", start)).ljust(start, b"\x00")
        block += struct.pack("<HHHIII", 1, 0x8769, 4, 1, 2, 0)
        assert len(made_true(checked(block), 24, 40)) == len(block)


def with_chunks_behind(path, chunks):
    """Adds chunks to a PNG file behind its pixels."""
    end = path.read_bytes()[-12:]
    content = path.read_bytes()[:-12]
    for kind, data in chunks:
        content += struct.pack(">I4s", len(data), kind) + data
        content += struct.pack(">I", zlib.crc32(kind + data))
    path.write_bytes(content + end)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_metadata_behind_a_pngs_pixels(tmp_path, pixels, dtype):
    """Where ExifTool puts them."""
    path = tmp_path / "a.png"
    path.write_bytes(imagecodecs.png_encode(pixels.astype(dtype)))
    packet = b"XML:com.adobe.xmp" + b"\x00" * 5 + XMP
    with_chunks_behind(path, [(b"eXIf", exif(6)), (b"iTXt", packet)])
    photo = read_photo(path)
    assert photo.pixels.shape == (40, 24, 3) and photo.pixels.dtype == dtype
    assert photo.exif == exif(1) and photo.xmp == UPRIGHT


def test_exif_as_imagemagick_writes_it(tmp_path, pixels):
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    block = (b"Exif\x00\x00" + exif(6)).hex()
    text = f"\nexif\n{len(block) // 2:8}\n{block[:72]}\n{block[72:]}\n"
    with_chunks_behind(path, [(b"tEXt", b"Raw profile type exif\x00" + text.encode())])
    photo = read_photo(path)
    assert photo.pixels.shape == (40, 24, 3) and photo.exif == exif(1)
