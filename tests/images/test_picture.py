"""Reading and writing picture files, whatever is in them."""

import contextlib
import os
import struct
import zlib

import imagecodecs
import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from PIL import Image

from wespe_tf.errors import UserError
from wespe_tf.images.opening import SUFFIXES, UnreadablePicture
from wespe_tf.images.photo import read_photo
from wespe_tf.images.picture import (
    picture_size,
    read_picture,
    to_uint8,
    write_picture,
)

# What a viewer must do to show a picture that was stored with this EXIF orientation.
UPRIGHT = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: p.swapaxes(0, 1)[::-1, ::-1],
    8: lambda p: np.rot90(p, 1),
}


@pytest.fixture
def photo(make_photo):
    return make_photo(20, 31)


def save(path, array, mode=None, **options):
    """Writes an array through Pillow, or as JPEG XL, converted to `mode`."""
    if path.suffix == ".jxl":
        path.write_bytes(imagecodecs.jpegxl_encode(array))
        return path
    picture = Image.fromarray(array)
    (picture.convert(mode) if mode else picture).save(path, **options)
    return path


class TestRead:
    @pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".tiff"])
    def test_lossless_files_come_back_as_they_are(self, tmp_path, photo, suffix):
        path = save(tmp_path / f"photo{suffix}", photo)
        read = read_picture(path)
        assert read.dtype == np.uint8
        np.testing.assert_array_equal(read, photo)

    @pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".webp", ".JPG"])
    def test_lossy_files_come_back_nearly(self, tmp_path, photo, suffix):
        path = save(tmp_path / f"photo{suffix}", photo, quality=95)
        assert np.abs(read_picture(path).astype(int) - photo).mean() < 8

    def test_every_suffix_is_covered_above(self):
        of_phones = {".heic", ".heif", ".hif", ".avif", ".jxl"}  # in test_phone_formats.py
        covered = {".png", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg", ".webp"}
        assert set(SUFFIXES) == covered | of_phones

    @pytest.mark.parametrize("path_type", [str, os.fspath, lambda path: path])
    def test_takes_strings_and_paths(self, tmp_path, photo, path_type):
        path = save(tmp_path / "photo.png", photo)
        np.testing.assert_array_equal(read_picture(path_type(path)), photo)

    @pytest.mark.parametrize("orientation", UPRIGHT)
    @pytest.mark.parametrize("suffix", [".jpg", ".png"])
    def test_exif_orientation_is_honoured(self, tmp_path, photo, orientation, suffix):
        stored = photo // 16 * 16
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = tmp_path / f"photo{suffix}"
        save(path, stored, exif=exif, quality=100, subsampling=0)
        upright = UPRIGHT[orientation](stored)
        read = read_picture(path)
        assert read.shape == upright.shape
        assert np.abs(read.astype(int) - upright).max() <= 4
        assert picture_size(path) == upright.shape[:2]

    def test_gray_gets_three_equal_channels(self, tmp_path, photo):
        path = save(tmp_path / "gray.png", photo[..., 0])
        np.testing.assert_array_equal(read_picture(path), np.repeat(photo[..., :1], 3, axis=-1))

    def test_gray_jpeg(self, tmp_path, photo):
        read = read_picture(save(tmp_path / "gray.jpg", photo[..., 0], quality=100))
        assert read.shape == photo.shape
        assert np.ptp(read, axis=-1).max() == 0
        assert np.abs(read[..., 0].astype(int) - photo[..., 0]).max() <= 3

    def test_transparency_is_dropped(self, tmp_path, photo):
        alpha = np.arange(photo[..., 0].size).reshape(photo.shape[:2]).astype(np.uint8)
        path = save(tmp_path / "rgba.png", np.dstack([photo, alpha]))
        np.testing.assert_array_equal(read_picture(path), photo)

    def test_gray_with_transparency(self, tmp_path, photo):
        path = save(tmp_path / "la.png", photo[..., 0], "LA")
        np.testing.assert_array_equal(read_picture(path), np.repeat(photo[..., :1], 3, axis=-1))

    @pytest.mark.parametrize("suffix", [".tif", ".jpg"])
    def test_cmyk_is_converted(self, tmp_path, photo, suffix):
        path = save(tmp_path / f"cmyk{suffix}", photo, "CMYK", quality=100)
        assert Image.open(path).mode == "CMYK"
        read = read_picture(path)
        assert read.shape == photo.shape
        # Without black ink, as Pillow writes it, R = 255 − C and so on.
        assert np.abs(read.astype(int) - photo).mean() < (0.5 if suffix == ".tif" else 6)

    def test_palette_is_resolved(self, tmp_path):
        colors = np.array([[255, 0, 0], [0, 128, 0], [1, 2, 3]], np.uint8)
        indices = np.random.default_rng(0).integers(0, 3, (9, 11)).astype(np.uint8)
        picture = Image.frombytes("P", (11, 9), indices.tobytes())
        picture.putpalette(colors.tobytes())
        picture.save(tmp_path / "palette.png")
        np.testing.assert_array_equal(read_picture(tmp_path / "palette.png"), colors[indices])

    def test_black_and_white(self, tmp_path):
        bits = np.random.default_rng(0).random((9, 11)) < 0.5
        save(tmp_path / "bits.png", (255 * bits).astype(np.uint8), "1")
        expected = np.repeat(255 * bits[..., None], 3, axis=-1)
        np.testing.assert_array_equal(read_picture(tmp_path / "bits.png"), expected)

    def test_16_bit_gray_is_rounded_to_8(self, tmp_path, rng):
        wide = rng.integers(0, 65536, (20, 31)).astype(np.uint16)
        iio.imwrite(tmp_path / "wide.png", wide)
        assert Image.open(tmp_path / "wide.png").mode.startswith("I")
        expected = np.rint(wide / 65535 * 255)
        np.testing.assert_array_equal(
            read_picture(tmp_path / "wide.png"), np.repeat(expected[..., None], 3, axis=-1)
        )

    def test_16_bit_gray_spans_the_whole_range(self, tmp_path):
        iio.imwrite(tmp_path / "wide.png", np.array([[0, 65535, 32768]], np.uint16))
        assert read_picture(tmp_path / "wide.png")[0, :, 0].tolist() == [0, 255, 128]

    def test_16_bit_rgb_is_converted(self, tmp_path, rng):
        wide = rng.integers(0, 65536, (12, 13, 3)).astype(np.uint16)
        write_png16(tmp_path / "wide.png", wide)
        read = read_picture(tmp_path / "wide.png")
        assert read.dtype == np.uint8 and read.shape == wide.shape
        np.testing.assert_array_equal(read, np.rint(wide / 65535 * 255))  # not cut off

    def test_float_gray(self, tmp_path):
        gray = np.array([[0, 0.25, 1, 1.5, -1]], np.float32)
        Image.fromarray(gray).save(tmp_path / "float.tif")
        assert read_picture(tmp_path / "float.tif")[0, :, 1].tolist() == [0, 64, 255, 255, 0]


def write_png16(path, wide):
    """A 16-bit RGB PNG, which Pillow cannot write."""

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    height, width, _ = wide.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in wide)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


class TestUnreadable:
    def refused(self, path):
        with pytest.raises(UnreadablePicture) as caught:
            read_picture(path)
        text = str(caught.value)
        assert text.startswith(f"{path}: ") and "\n" not in text
        assert isinstance(caught.value, UserError)
        return text

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"hello, I am a text file\n" * 100,
            b"\xff\xd8\xff",
            b"\x89PNG\r\n\x1a\n",
            b"\0" * 99,
        ],
        ids=["nothing", "text", "jpeg mark", "png mark", "zeros"],
    )
    @pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
    def test_not_a_picture(self, tmp_path, content, suffix):
        path = tmp_path / f"photo{suffix}"
        path.write_bytes(content)
        assert "not a readable picture" in self.refused(path)
        with pytest.raises(UnreadablePicture, match="not a readable picture"):
            picture_size(path)

    @pytest.mark.parametrize("suffix", SUFFIXES)
    @pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
    def test_truncated(self, tmp_path, photo, suffix, kept):
        path = save(tmp_path / f"photo{suffix}", photo)
        content = path.read_bytes()
        path.write_bytes(content[: int(kept * len(content))])
        assert "not a readable picture" in self.refused(path)

    def test_truncated_jpeg_still_has_a_size(self, tmp_path, make_truncated):
        """So that only decoding can tell."""
        path = make_truncated(tmp_path / "half.jpg", 40, 50)
        assert picture_size(path) == (40, 50)
        self.refused(path)

    def test_missing(self, tmp_path):
        assert self.refused(tmp_path / "gone.jpg").endswith("no such file")
        with pytest.raises(UnreadablePicture):
            picture_size(tmp_path / "gone.jpg")

    def test_folder(self, tmp_path):
        (tmp_path / "folder.jpg").mkdir()
        self.refused(tmp_path / "folder.jpg")

    @pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, on odd TIFF tags
    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_random_damage_is_read_or_named_but_never_a_crash(self, tmp_path, photo, rng, suffix):
        path = save(tmp_path / f"photo{suffix}", photo)
        content = bytearray(path.read_bytes())
        refused = 0
        for _ in range(200):
            damaged = content.copy()
            # Headers are where decoders trip.
            for place in rng.integers(0, min(len(content), 400), 8):
                damaged[place] = rng.integers(256)
            path.write_bytes(damaged)
            for read in (read_picture, picture_size):
                try:
                    read(path)
                except UnreadablePicture:
                    refused += 1
        assert refused > 0


class TestFoundByFuzzing:
    """Files of `benchmarks/fuzz.py` that once ended in another error, or took gigabytes."""

    def test_pixels_that_cannot_be_in_the_file(self, tmp_path):
        """Pillow reads a PNG file whose rows end early as if the rest were black."""
        path = tmp_path / "photo.png"
        write_png16(path, np.zeros((4, 5, 3), np.uint16))
        content = bytearray(path.read_bytes())
        content[20:24] = struct.pack(">I", 60_000_000)
        content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
        path.write_bytes(content)
        for read in (picture_size, read_picture, read_photo):
            with pytest.raises(UnreadablePicture, match="300 megapixels cannot be in .* bytes"):
                read(path)

    def test_damaged_data_of_a_wide_png(self, tmp_path):
        path = tmp_path / "photo.png"
        write_png16(path, np.zeros((4, 5, 3), np.uint16))
        path.write_bytes(path.read_bytes().replace(zlib.compress(b"")[:2], b"xx", 1))
        with pytest.raises(UnreadablePicture, match="photo.png: not a readable picture"):
            read_photo(path)

    @pytest.mark.filterwarnings("ignore::UserWarning")
    @pytest.mark.parametrize("tag", [258, 277, 322, 323, 324, 325])
    @pytest.mark.parametrize("value", [0, 65535])
    def test_tiles_of_no_use(self, tmp_path, tag, value):
        path = tmp_path / "photo.tif"
        tifffile.imwrite(path, np.zeros((30, 40, 3), np.uint16), tile=(16, 16), compression="zlib")
        with tifffile.TiffFile(path) as file:
            offset = file.pages[0].tags[tag].offset
        content = bytearray(path.read_bytes())
        content[offset + 8 : offset + 12] = struct.pack("<I", value)
        path.write_bytes(content)
        for read in (read_picture, read_photo):
            with contextlib.suppress(UnreadablePicture):
                read(path)


class TestToUint8:
    def test_clips_and_rounds(self):
        picture = np.array([-0.08, 0, 0.4999 / 255, 0.5001 / 255, 127.6 / 255, 1, 1.08])
        assert to_uint8(picture).tolist() == [0, 0, 0, 1, 128, 255, 255]

    def test_inverts_division_by_255(self):
        levels = np.arange(256, dtype=np.uint8)
        np.testing.assert_array_equal(to_uint8(levels.astype(np.float32) / 255), levels)
        assert to_uint8(levels / 255).dtype == np.uint8


class TestWrite:
    def test_png_holds_the_picture(self, tmp_path, photo):
        write_picture(tmp_path / "out.png", photo)
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out.png")), photo)
        assert [p.name for p in tmp_path.iterdir()] == ["out.png"]

    @pytest.mark.parametrize("place", ["gone/out.png", "file/out.png"])
    def test_unwritable_place_is_named(self, tmp_path, photo, place):
        (tmp_path / "file").write_text("not a folder")
        with pytest.raises(UserError, match="out.png: cannot be written"):
            write_picture(tmp_path / place, photo)


def test_tiff_without_a_color_space_is_refused(tmp_path, photo):
    """Pillow meets such a file with a KeyError."""
    path = save(tmp_path / "photo.tif", photo)
    with Image.open(path) as picture:
        assert picture.tag_v2[262] == 2
    content = path.read_bytes()
    entry = struct.pack("<HHII", 262, 3, 1, 2)
    assert content.count(entry) == 1
    path.write_bytes(content.replace(entry, struct.pack("<HHII", 65000, 3, 1, 2)))
    with pytest.raises(UnreadablePicture, match="photo.tif: not a readable picture"):
        read_picture(path)
