"""What files say besides their pixels: broken, odd, no longer true, or worth keeping."""

import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, IptcImagePlugin

from tests.images.photo_files import XMP, cameras_exif, exif, of_block, profile
from tests.images.test_png import RECORDS, RESOURCES
from tests.images.test_tiff import UPRIGHT
from wespe_tf.images import xmp
from wespe_tf.images.opening import UnreadablePicture
from wespe_tf.images.photo import Photo, read_photo, write_photo
from wespe_tf.images.picture import picture_size, read_picture

SUFFIXES = (".jpg", ".png", ".webp")


def save(path, pixels, block=None, **more):
    """A file of these pixels, without loss but for JPEG, with an EXIF block of any bytes."""
    options = {".jpg": {"quality": 100, "subsampling": 0}, ".webp": {"lossless": True}}
    if block is not None:
        more["exif"] = block if path.suffix == ".webp" else b"Exif\0\0" + block
    Image.fromarray(pixels).save(path, **options.get(path.suffix, {}), **more)
    return path


def block_of(kind, count, value, order="<", tag=0x0112, more=b""):
    """An EXIF block of one entry, its value of four bytes or a place behind it."""
    head = struct.pack(f"{order}2sHIH", b"II" if order == "<" else b"MM", 42, 8, 1)
    return head + struct.pack(f"{order}HHI", tag, kind, count) + value + bytes(4) + more


def orientations(orientation, order):
    """Blocks that state an orientation in numbers of every kind, and twice."""
    behind = struct.pack(f"{order}I", 26)
    packed = {3: "H", 4: "I", 8: "h", 9: "i", 1: "B", 6: "b"}
    for kind, form in packed.items():
        value = struct.pack(f"{order}{form}", orientation).ljust(4, b"\0")
        yield block_of(kind, 1, value, order)
    yield block_of(2, 2, f"{orientation}\0\0\0".encode(), order)
    yield block_of(7, 1, bytes([orientation, 0, 0, 0]), order)
    yield block_of(7, 4, struct.pack(f"{order}I", orientation), order)
    yield block_of(11, 1, struct.pack(f"{order}f", orientation), order)
    for kind, form in ((5, "II"), (10, "ii")):
        yield block_of(kind, 1, behind, order, more=struct.pack(order + form, orientation, 1))
    yield block_of(12, 1, behind, order, more=struct.pack(f"{order}d", orientation))
    one = struct.pack(f"{order}HHIHH", 0x0112, 3, 1, orientation, 0)
    head = struct.pack(f"{order}2sHIH", b"II" if order == "<" else b"MM", 42, 8, 2)
    yield head + 2 * one + bytes(4)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_orientation_in_numbers_of_any_kind(tmp_path, pixels, orientation, order, suffix):
    """Read alike everywhere, applied once; what is written says 1, in a number that all read."""
    path, written = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    upright = UPRIGHT[orientation](pixels)
    for block in orientations(orientation, order):
        save(path, pixels, block)
        photo = read_photo(path)
        assert np.abs(photo.pixels.astype(int) - upright).mean() < 2
        np.testing.assert_array_equal(photo.pixels, read_picture(path))
        assert picture_size(path) == upright.shape[:2]
        write_photo(written, photo)
        with Image.open(written) as picture:
            assert picture.getexif()[0x0112] == 1 and picture.size == upright.shape[1::-1]
            assert block[:2] == picture.info["exif"].removeprefix(b"Exif\0\0")[:2]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_orientation_in_xmp_only_turns_nothing(tmp_path, pixels, suffix):
    """As in browsers; what is written says 1 there too."""
    if suffix == ".png":
        write_photo(tmp_path / "a.png", Photo(pixels, xmp=XMP))
    else:
        save(tmp_path / f"a{suffix}", pixels, xmp=XMP)
    photo = read_photo(tmp_path / f"a{suffix}")
    assert photo.pixels.shape == pixels.shape and b'tiff:Orientation="1"' in photo.xmp
    assert picture_size(tmp_path / f"a{suffix}") == pixels.shape[:2]


@pytest.mark.parametrize("space, index, is_adobe", [
    (65535, "R03", True), (1, "R03", False), (65535, "R98", False), (1, "R98", False),
])  # fmt: skip
@pytest.mark.parametrize("order", "<>")
def test_adobe_rgb_in_exif_counts_only_where_the_space_is_open(
    tmp_path, pixels, space, index, is_adobe, order
):
    before = struct.pack(f"{order}HHIHH", 0xA001, 3, 1, 65535, 0)
    block = cameras_exif(order, index).replace(
        before, struct.pack(f"{order}HHIHH", 0xA001, 3, 1, space, 0)
    )
    upright = block.replace(
        struct.pack(f"{order}HHIHH", 0x0112, 3, 1, 6, 0),
        struct.pack(f"{order}HHIHH", 0x0112, 3, 1, 1, 0),
    )
    photo = read_photo(save(tmp_path / "a.png", pixels, upright))
    assert bool(np.abs(photo.pixels.astype(int) - pixels).max() > 5) == is_adobe
    assert of_block(photo.exif)[1][0xA001] == 1 and of_block(photo.exif)[2][1] == "R98"


class TestGarbage:
    """In place of metadata, of any length: the photo is read, and a warning names the file."""

    LENGTHS = (1, 2, 4, 7, 8, 9, 26, 300, 5000)

    @pytest.mark.parametrize("length", LENGTHS)
    @pytest.mark.parametrize("suffix", SUFFIXES)
    @pytest.mark.parametrize("kind", ["exif", "xmp", "icc", "iptc"])
    def test_of_any_length(self, tmp_path, pixels, rng, caplog, length, suffix, kind):
        garbage = b"\xfe" + bytes(rng.integers(1, 256, length - 1).tolist())
        path = tmp_path / f"a{suffix}"
        if kind == "exif":
            save(path, pixels, garbage)
        elif kind == "icc":
            save(path, pixels, icc_profile=garbage)
        elif suffix == ".webp":
            pytest.skip("no IPTC in WebP") if kind == "iptc" else save(path, pixels, xmp=garbage)
        else:
            write_photo(path, Photo(pixels, **{kind: garbage}))
        photo = read_photo(path)
        assert np.abs(photo.pixels.astype(int) - pixels).mean() < 8
        np.testing.assert_array_equal(photo.pixels, read_picture(path))
        assert not (photo.exif or photo.xmp or photo.icc or photo.iptc)
        (warning,) = caplog.messages
        assert warning == f"warning: {path}: left out {kind.upper()}: cannot be read"

    @given(st.binary(min_size=1, max_size=60), st.booleans())
    @settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
    def test_of_any_bytes(self, tmp_path_factory, garbage, begins_well):
        """Some of which begin as a block does."""
        garbage = b"II*\0" + garbage if begins_well else garbage
        pixels = np.arange(300, dtype=np.uint8).reshape(10, 10, 3)
        for suffix in SUFFIXES:
            path = tmp_path_factory.getbasetemp() / f"a{suffix}"
            photo = read_photo(save(path, pixels, garbage))
            write_photo(path, photo)
            assert read_photo(path).pixels.shape == photo.pixels.shape

    @pytest.mark.parametrize("marker", range(0xE1, 0xF0))
    @pytest.mark.parametrize("mark", [b"", b"Exif\0\0", b"JFIF\0", b"Adobe\0", b"Photoshop 3.0\0"])
    @pytest.mark.parametrize("length", [0, 1, 5, 40])
    def test_in_any_segment_of_jpeg(self, tmp_path, pixels, rng, marker, mark, length):
        path = save(tmp_path / "a.jpg", pixels)
        expected, content = read_picture(path), path.read_bytes()
        garbage = mark + bytes(rng.integers(0, 256, length).tolist())
        if marker == 0xEE and mark == b"Adobe\0":
            garbage = mark + bytes(6)  # That segment says how colors are to be read.
        segment = struct.pack(">BBH", 0xFF, marker, len(garbage) + 2) + garbage
        path.write_bytes(content[:20] + segment + content[20:])
        if marker == 0xEE and mark == b"Adobe\0":
            assert read_picture(path).shape == expected.shape
        else:
            np.testing.assert_array_equal(read_picture(path), expected)


GAIN_MAP = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:h="http://ns.adobe.com/hdr-gain-map/1.0/"
 xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:GCamera="http://ns.google.com/photos/1.0/camera/"
 xmlns:C="http://ns.google.com/photos/1.0/container/" xmlns:xmpNote='http://ns.adobe.com/xmp/note/'
 xmlns:Item="http://ns.google.com/photos/1.0/container/item/"
 h:Version="1.0" GCamera:MotionPhoto="1" GCamera:MicroVideoOffset='77' GCamera:Kept="yes"
 xmpNote:HasExtendedXMP="0123456789ABCDEF0123456789ABCDEF" dc:format="image/jpeg">
<C:Directory><rdf:Seq><rdf:li><C:Item Item:Semantic="GainMap" Item:Length="99"/></rdf:li></rdf:Seq>
</C:Directory><h:GainMapMin><rdf:Seq><rdf:li>0</rdf:li></rdf:Seq></h:GainMapMin>
<GCamera:MotionPhotoVersion>1</GCamera:MotionPhotoVersion><h:HDRCapacityMin/>
<dc:creator>Ann</dc:creator></rdf:Description></rdf:RDF></x:xmpmeta>"""


class TestXmp:
    def test_claims_of_what_is_gone_are_taken_out(self):
        made = xmp.made_true(GAIN_MAP.encode(), 24, 40)
        for name in (b"h:", b"MotionPhoto", b"MicroVideo", b"HasExtended", b"Item", b"Directory"):
            assert name not in made.replace(b"xmlns:h=", b"").replace(b"xmlns:Item=", b"").replace(
                b"container/item", b""
            )
        assert b'GCamera:Kept="yes"' in made and b"<dc:creator>Ann</dc:creator>" in made
        from xml.etree import ElementTree

        ElementTree.fromstring(made)

    def test_others_stay_byte_for_byte(self):
        packet = GAIN_MAP.replace("h:Version", "dc:Version").encode()
        for space in ("hdr-gain-map", "photos/1.0", "xmp/note"):
            packet = packet.replace(space.encode(), b"other")
        assert xmp.made_true(packet, 24, 40) == packet

    @pytest.mark.parametrize("as_elements", [False, True])
    def test_size_and_colors_become_the_results(self, as_elements):
        """Of a photo of 40×24 pixels in Adobe RGB, on its side."""
        before = {"tiff:ImageWidth": "40", "tiff:ImageLength": "24", "tiff:Orientation": "6"}
        before |= {"exif:PixelXDimension": "40", "exif:PixelYDimension": "24"}
        before |= {"exif:ColorSpace": "65535", "photoshop:ICCProfile": "Adobe RGB, Ann's"}
        before |= {"dc:width": "40", "exif:ISO": "100"}
        after = ("24", "40", "1", "24", "40", "1", "sRGB IEC61966-2.1", "40", "100")

        def packet(values):
            pairs = zip(before, values)
            if as_elements:
                return "".join(f"<{name}>{value}</{name}>" for name, value in pairs).encode()
            return ("<a " + " ".join(f'{name} = "{value}"' for name, value in pairs)).encode()

        assert xmp.made_true(packet(before.values()), 24, 40) == packet(after)

    @given(st.binary(max_size=200))
    @settings(max_examples=200, deadline=None)
    def test_ends_on_anything(self, garbage):
        start = b'<a xmlns:h="http://ns.adobe.com/hdr-gain-map/1.0/" <h:b '
        assert isinstance(xmp.made_true(start + garbage, 24, 40), bytes)


KEPT = {
    ".jpg": ("exif", "xmp", "icc", "iptc", "comment", "dpi"),
    ".png": ("exif", "xmp", "icc", "iptc", "comment", "dpi"),
    ".tif": ("exif", "xmp", "icc", "iptc", "dpi"),
    ".webp": ("exif", "xmp", "icc"),
}


@pytest.mark.parametrize("source", KEPT)
@pytest.mark.parametrize("result", KEPT)
def test_what_goes_from_format_to_format(tmp_path, pixels, source, result):
    """All that both have room for; docs/PHOTOS.md lists it."""
    given = Photo(pixels, exif=exif(), xmp=XMP, icc=profile("sRGB"), iptc=RECORDS)
    given.texts, given.dpi = {"Comment": "by Ann"}, (240.0, 120.0)
    write_photo(tmp_path / f"a{source}", given)
    write_photo(tmp_path / f"b{result}", read_photo(tmp_path / f"a{source}"))
    found = read_photo(tmp_path / f"b{result}")
    kept = set(KEPT[source]) & set(KEPT[result])
    assert b"Maker" in found.exif and found.xmp and found.icc == given.icc
    assert found.iptc == (RECORDS if "iptc" in kept else b"")
    assert found.texts == ({"Comment": "by Ann"} if "comment" in kept else {})
    assert (found.dpi is not None) == ("dpi" in kept)
    if "dpi" in kept:
        np.testing.assert_allclose(found.dpi, given.dpi, 1e-3)
    if "iptc" in kept:
        with Image.open(tmp_path / f"b{result}") as picture:
            if result != ".png":  # Pillow looks for it in JPEG and TIFF only.
                assert IptcImagePlugin.getiptcinfo(picture) == {(2, 120): b"caption"}


@pytest.mark.parametrize("records", [RESOURCES, b"8BIM\x04\x04\x01x" + RESOURCES[8:]])
def test_iptc_as_photoshop_writes_it(tmp_path, pixels, records):
    path = save(tmp_path / "a.jpg", pixels)
    content = path.read_bytes()
    other = b"Photoshop 3.0\0" + b"8BIM\x03\xed\x00\x00\x00\x00\x00\x02xx" + records
    segment = b"\xff\xed" + struct.pack(">H", len(other) + 2) + other
    path.write_bytes(content[:20] + segment + content[20:])
    assert read_photo(path).iptc == RECORDS


class TestWhatJpegHasNoRoomFor:
    def test_long_exif_takes_several_segments(self, tmp_path, pixels, caplog):
        text = b"A" * 200_000 + b"\0"
        block = block_of(2, len(text), struct.pack("<I", 26), tag=270, more=text)
        write_photo(tmp_path / "a.jpg", Photo(pixels, exif=block))
        with Image.open(tmp_path / "a.jpg") as picture:
            assert picture.getexif()[270] == text[:-1].decode()
        assert read_photo(tmp_path / "a.jpg").exif == block and not caplog.messages

    def test_long_xmp_iptc_and_comments_are_left_out_with_a_warning(self, tmp_path, pixels, caplog):
        photo = Photo(pixels, xmp=b"<x/>" + b" " * 70000, iptc=RECORDS + b"x" * 70000)
        photo.texts = {"Comment": "c" * 70000}
        write_photo(tmp_path / "a.jpg", photo)
        found = read_photo(tmp_path / "a.jpg")
        assert not found.xmp and not found.iptc and not found.texts
        (warning,) = caplog.messages
        assert warning.endswith("a.jpg: left out XMP, IPTC, the comment: too long for its format")


def test_what_is_no_regular_file_is_not_waited_for(tmp_path):
    import os

    os.mkfifo(tmp_path / "a.jpg")
    for read in (read_photo, read_picture, picture_size):
        with pytest.raises(UnreadablePicture, match="a.jpg: not a readable picture"):
            read(tmp_path / "a.jpg")
