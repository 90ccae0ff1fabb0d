"""Photo files: what goes in comes out, read back by other means than they were written."""

import io
import struct
import zlib

import imagecodecs
import imageio.v3 as iio
import numpy as np
import pytest
import skimage.io
import tifffile
from PIL import ExifTags, Image, ImageCms

from wespe_tf.errors import UserError
from wespe_tf.images.exif import made_true
from wespe_tf.images.photo import Photo, pixel_bytes, read_photo, write_photo
from wespe_tf.images.picture import UnreadablePicture, limit_megapixels
from wespe_tf.images.profiles import SRGB

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
UPRIGHT = XMP.replace(b'"6"', b'"1"')
SUFFIXES = (".jpg", ".png", ".tif", ".webp")
# Bruce Lindbloom's matrices of RGB spaces with white D65.
ADOBE_TO_XYZ = np.array(
    [[0.57667, 0.18556, 0.18823], [0.29734, 0.62736, 0.07529], [0.02703, 0.07069, 0.99134]]
)
XYZ_TO_SRGB = np.array(
    [[3.24045, -1.53714, -0.49853], [-0.96927, 1.87601, 0.04156], [0.05564, -0.20403, 1.05723]]
)
# Apple's: the primaries of DCI P3, white D65.
P3_TO_XYZ = np.array(
    [[0.48657, 0.26567, 0.19822], [0.22897, 0.69174, 0.07929], [0.0, 0.04511, 1.04394]]
)


def linear(values):
    """sRGB's own curve, of values in [0, 1]."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def in_srgb(pixels, to_xyz, curve):
    """uint8 pixels of a color space as float sRGB in [0, 255], by its matrix and its curve."""
    light = np.clip(curve(pixels / 255) @ to_xyz.T @ XYZ_TO_SRGB.T, 0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


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


def jpeg_segments(path):
    """Segments of a JPEG file before its pixels: those of a marker joined."""
    content, found, place = path.read_bytes(), {}, 2
    while content[place + 1] != 0xDA:
        marker, length = struct.unpack(">HH", content[place : place + 4])
        data = content[place + 4 : place + 2 + length]
        found.setdefault((marker, data.split(b"\x00")[0]), data)
        place += 2 + length
    return found


def webp_chunks(path):
    """Chunks of a WebP file by name."""
    content, found, place = path.read_bytes(), {}, 12
    while place < len(content):
        kind, length = struct.unpack("<4sI", content[place : place + 8])
        found[kind] = content[place + 8 : place + 8 + length]
        place += 8 + length + length % 2
    return found


def metadata(path):
    """What a file holds besides pixels, read by other means than it is written: EXIF, XMP, ICC."""
    if path.suffix == ".jpg":
        found = jpeg_segments(path)
        marks = (
            (0xFFE1, b"Exif"),
            (0xFFE1, b"http://ns.adobe.com/xap/1.0/"),
            (0xFFE2, b"ICC_PROFILE"),
        )
        starts = 6, 29, 14
        return tuple(found[mark][start:] for mark, start in zip(marks, starts))
    if path.suffix == ".webp":
        return tuple(webp_chunks(path)[kind] for kind in (b"EXIF", b"XMP ", b"ICCP"))
    if path.suffix == ".png":
        chunks = png_chunks(path)
        icc = zlib.decompress(chunks[b"iCCP"].split(b"\x00\x00", 1)[1])
        return chunks[b"eXIf"], chunks[b"iTXt"].split(b"\x00" * 5, 1)[1], icc
    with Image.open(path) as picture:
        of_block(picture.getexif())  # reads its directories, while the file is open
        return picture.getexif(), picture.tag_v2[700], picture.tag_v2[34675]


def cameras_exif(endian="<", interoperability="R98"):
    """A block as a camera writes it: details, a place, makers' notes, a thumbnail; on its side."""
    exif = Image.Exif()
    exif.endian = endian
    exif.update({0x010F: "Maker", 0x0112: 6})
    details = exif.get_ifd(0x8769)
    details.update({0x9003: "2026:01:02 03:04:05", 0xA001: 65535, 0xA002: 40, 0xA003: 24})
    details.update({0x927C: b"a note", 0xA005: {1: interoperability, 2: b"0100"}})
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 0.0)})
    block = bytearray(exif.tobytes().removeprefix(b"Exif\x00\x00"))
    # Pillow writes no thumbnail: a directory of one entry, to which the first one points.
    count = struct.unpack_from(f"{endian}H", block, 8)[0]
    struct.pack_into(f"{endian}I", block, 10 + 12 * count, len(block))
    return bytes(block) + struct.pack(f"{endian}HHHIII", 1, 0x0103, 3, 1, 6, 0)


def of_block(block):
    """First directory, details, interoperability and place of an EXIF block, as Pillow reads it."""
    exif = block if isinstance(block, Image.Exif) else Image.Exif()
    if exif is not block:
        exif.load(b"Exif\x00\x00" + block)
    return exif, *(exif.get_ifd(tag) for tag in (0x8769, 0xA005, 0x8825))


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
        made_true(cameras_exif()[:cut], 24, 40)
        made_true(cameras_exif().replace(struct.pack("<HHI", 0x8769, 4, 1), bytes(8)), 24, 40)


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

    @pytest.mark.parametrize("photometric, channels", [("separated", 4), ("miniswhite", 1)])
    def test_other_kinds_of_tiff_are_refused(self, tmp_path, wide, photometric, channels):
        given = np.concatenate([wide, wide[..., :1]], axis=-1)[..., :channels].squeeze()
        tifffile.imwrite(tmp_path / "a.tif", given, photometric=photometric)
        with pytest.raises(UnreadablePicture, match="a.tif: holds uint16 .*expected uint16 RGB or"):
            read_photo(tmp_path / "a.tif")

    @pytest.mark.parametrize("planarconfig", ["contig", "separate"])
    def test_channels_one_after_another(self, tmp_path, wide, planarconfig):
        given = wide if planarconfig == "contig" else np.moveaxis(wide, -1, 0)
        tifffile.imwrite(tmp_path / "a.tif", given, photometric="rgb", planarconfig=planarconfig)
        np.testing.assert_array_equal(read_photo(tmp_path / "a.tif").pixels, wide)

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


def no_ink(pixels, icc, space):
    """In place of `colors.converted`."""
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
            steps = np.rint(65535 * linear(np.linspace(0, 1, 1024))).astype(np.uint16)
            primaries = [0.68, 0.32, 1, 0.265, 0.69, 1, 0.15, 0.06, 1]
            icc = imagecodecs.cms_profile(
                "rgb", whitepoint=[0.3127, 0.329, 1], primaries=primaries, transferfunction=steps
            )
        path = tmp_path / f"a{suffix}"
        Image.fromarray(pixels).save(
            path, icc_profile=icc, **{"quality": 100} if suffix == ".jpg" else {}
        )
        given = iio.imread(path, plugin="pillow")
        photo = read_photo(path)
        assert photo.icc == SRGB
        assert np.abs(photo.pixels - in_srgb(given, matrix, curve)).max() < 1.5
        assert np.abs(photo.pixels.astype(int) - given).max() > 8

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
    def test_grey_profiles(self, tmp_path, pixels, dtype):
        """Grey of gamma 1.8 becomes RGB of sRGB's tones; its profile would say nothing of RGB."""
        icc = imagecodecs.cms_profile("gray", whitepoint=[0.3127, 0.329, 1], gamma=1.8)
        one = 257 if dtype == np.uint16 else 1
        grey = pixels[..., 0].astype(dtype) * one
        Image.fromarray(grey).save(tmp_path / "a.png", icc_profile=icc)
        photo = read_photo(tmp_path / "a.png")
        identity = np.linalg.inv(XYZ_TO_SRGB)
        expected = in_srgb(pixels[..., :1].repeat(3, -1), identity, lambda values: values**1.8)
        assert photo.icc == SRGB and photo.pixels.dtype == dtype
        assert np.abs(photo.pixels / one - expected).max() < 1.5

    def test_grey_with_a_profile_of_rgb(self, tmp_path, pixels):
        Image.fromarray(pixels[..., 0]).save(tmp_path / "a.png", icc_profile=profile("sRGB"))
        photo = read_photo(tmp_path / "a.png")
        np.testing.assert_array_equal(photo.pixels, pixels[..., :1].repeat(3, -1))
        assert photo.icc == profile("sRGB")

    @pytest.mark.parametrize("suffix", [".jpg", ".tif"])
    def test_cmyk_with_a_profile_is_turned(self, tmp_path, pixels, monkeypatch, suffix):
        """A conversion that takes black off white, in place of a printer's megabytes of tables."""
        monkeypatch.setattr("wespe_tf.images.photo.converted", no_ink)
        block = Image.Exif()
        block[0x0112] = 6
        cmyk = Image.fromarray(pixels).convert("CMYK")
        cmyk.save(tmp_path / f"a{suffix}", exif=block, icc_profile=b"of a printer", quality=100)
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
        """EXIF of more than 64 kB in JPEG, more than 16383 pixels a side in WebP."""
        photo = Photo(pixels, exif=exif() + bytes(70000))
        if suffix == ".webp":
            photo = Photo(np.zeros((2, 17000, 3), np.uint8))
        with pytest.raises(UserError, match=f"a{suffix}: cannot be written ") as caught:
            write_photo(tmp_path / f"a{suffix}", photo)
        assert "\n" not in str(caught.value) and list(tmp_path.iterdir()) == []
