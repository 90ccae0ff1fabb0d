"""TIFF files of any depth and order, made by hand: pixels, pages, texts."""

import struct
import sys

import numpy as np
import pytest
import tifffile
from PIL import Image

from wespe_tf.images.opening import UnreadablePicture
from wespe_tf.images.photo import Photo, pixel_bytes, read_photo, write_photo
from wespe_tf.images.picture import picture_size, read_picture

# What a viewer must do to show a picture that was stored with this orientation.
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
FORMATS = {2: "{}s", 3: "{}H", 4: "{}I"}


def packed(values, bits, order):
    """Rows of whole numbers as TIFF has them: each row begins with a new byte."""
    if bits in (8, 16, 32):
        return values.astype(f"{order}u{bits // 8}").tobytes()
    rows = []
    for row in values.reshape(len(values), -1):
        digits = "".join(f"{int(value):0{bits}b}" for value in row)
        digits += "0" * (-len(digits) % 8)
        rows.append(int(digits, 2).to_bytes(len(digits) // 8, "big"))
    return b"".join(rows)


def directory(entries, order, place, following=0):
    """A directory at a place of a file from {tag: (kind, numbers or bytes)}."""
    head, behind = struct.pack(f"{order}H", len(entries)), b""
    for tag, (kind, values) in sorted(entries.items()):
        count = len(values)
        if isinstance(values, bytes):
            content = values
        else:
            content = struct.pack(order + FORMATS[kind].format(count), *values)
        if len(content) > 4:
            far = place + 6 + 12 * len(entries) + len(behind)
            behind += content + bytes(len(content) % 2)
            content = struct.pack(f"{order}I", far)
        head += struct.pack(f"{order}HHI", tag, kind, count) + content.ljust(4, b"\0")
    return head + struct.pack(f"{order}I", following) + behind


def tiff(values, bits, order="<", planar=False, colors=None, more=()):
    """A TIFF file of (H, W, C) whole numbers of a depth, uncompressed."""
    height, width, channels = values.shape
    strips = [values[..., k] for k in range(channels)] if planar else [values]
    data = [packed(strip, bits, order) for strip in strips]
    data = [strip + bytes(len(strip) % 2) for strip in data]
    starts = 8 + np.cumsum([0, *map(len, data)])
    entries = {
        **{256: (4, [width]), 257: (4, [height]), 258: (3, [bits] * channels), 259: (3, [1])},
        **{262: (3, [colors if colors is not None else 2 if channels > 2 else 1])},
        **{273: (4, starts[:-1].tolist()), 277: (3, [channels]), 278: (4, [height])},
        **{279: (4, [len(strip) for strip in data]), 284: (3, [2 if planar else 1])},
        **dict(more),
    }
    head = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, starts[-1])
    return head + b"".join(data) + directory(entries, order, int(starts[-1]))


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize(
    "bits, channels", [(1, 1), *((b, c) for b in (2, 4, 8, 10, 12, 14, 16, 32) for c in (1, 3))]
)
def test_white_is_the_largest_number_of_the_depth(tmp_path, rng, bits, channels, planar, order):
    values = rng.integers(0, 2**bits, (6, 8, channels))
    values[0, 0], values[0, 1] = 0, 2**bits - 1
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(values, bits, order, planar))
    share = values / (2**bits - 1)
    photo = read_photo(path)
    assert photo.pixels.dtype == (np.uint8 if bits <= 8 else np.uint16)
    largest = np.iinfo(photo.pixels.dtype).max
    assert np.abs(photo.pixels - share * largest).max() <= 0.5
    assert pixel_bytes(path) == photo.pixels.nbytes
    assert np.abs(read_picture(path) - share * 255).max() <= 0.51


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_where_white_is_zero(tmp_path, rng, bits):
    values = rng.integers(0, 2**bits, (6, 8, 1))
    (tmp_path / "a.tif").write_bytes(tiff(values, bits, colors=0))
    expected = 255 * (1 - values / (2**bits - 1))
    assert np.abs(read_picture(tmp_path / "a.tif") - expected).max() <= 0.51


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_are_black_at_0_and_white_at_1(tmp_path, dtype):
    values = np.array([[0, 0.25, 1, 2, -1, np.nan]], dtype)[..., None].repeat(3, -1)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb")
    assert read_picture(tmp_path / "a.tif")[0, :, 1].tolist() == [0, 64, 255, 255, 0, 0]


def test_signed_numbers_are_black_below_0(tmp_path):
    values = np.array([[-5, 0, 32767, 16384]], np.int16)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack")
    assert read_picture(tmp_path / "a.tif")[0, :, 1].tolist() == [0, 0, 255, 128]


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("bits", [4, 8, 16])
@pytest.mark.parametrize("kind", [3, 4, 1, 2, 5, 7, 8])
def test_orientation_in_numbers_of_any_kind(tmp_path, rng, orientation, bits, kind):
    """As short, long, byte, text, rational, undefined bytes, signed short."""
    values = rng.integers(0, 2**bits, (6, 8, 3))
    content = {
        2: f"{orientation}\0".encode(),
        5: struct.pack("<II", orientation, 1),
    }.get(kind, struct.pack("<I", orientation))
    count = {2: 2, 5: 1, 7: 4}.get(kind, 1)
    path = tmp_path / "a.tif"
    file = bytearray(tiff(values, bits, more={274: (kind, content)}))
    entry = file.index(struct.pack("<HHI", 274, kind, len(content)))
    file[entry + 4 : entry + 8] = struct.pack("<I", count)
    path.write_bytes(file)
    expected = UPRIGHT[orientation](values / (2**bits - 1))
    found = read_picture(path)
    assert found.shape == expected.shape and picture_size(path) == expected.shape[:2]
    assert np.abs(found - 255 * expected).max() <= 0.51
    write_photo(tmp_path / "b.tif", read_photo(path))
    with Image.open(tmp_path / "b.tif") as picture:
        assert picture.getexif().get(274, 1) == 1 and picture.size == expected.shape[1::-1]


def with_pages(*pages):
    """A TIFF file of uint8 pages, each (values, subfile type)."""
    content = struct.pack("<2sHI", b"II", 42, 8)
    for number, (values, kind) in enumerate(pages):
        height, width, _ = values.shape
        place = len(content)
        entries = {
            **{254: (4, [kind]), 256: (4, [width]), 257: (4, [height]), 258: (3, [8, 8, 8])},
            **{259: (3, [1]), 262: (3, [2]), 273: (4, [0]), 277: (3, [3]), 278: (4, [height])},
            279: (4, [values.size]),
        }
        size = len(directory(entries, "<", place))
        entries[273] = (4, [place + size])
        following = place + size + values.size if number + 1 < len(pages) else 0
        content += directory(entries, "<", place, following) + values.tobytes()
    return content


class TestPages:
    def test_smaller_copies_and_masks_are_no_pictures(self, tmp_path, rng):
        """Whichever comes first."""
        photo, small = (rng.integers(0, 256, (s, 2 * s, 3)).astype(np.uint8) for s in (8, 2))
        for k, pages in enumerate(
            (
                [(photo, 0), (small, 1)],
                [(small, 1), (photo, 0), (small, 1)],
                [(photo, 0), (photo, 4)],
            )
        ):
            (tmp_path / f"{k}.tif").write_bytes(with_pages(*pages))
            np.testing.assert_array_equal(read_photo(tmp_path / f"{k}.tif").pixels, photo)
            np.testing.assert_array_equal(read_picture(tmp_path / f"{k}.tif"), photo)
            assert picture_size(tmp_path / f"{k}.tif") == (8, 16)

    @pytest.mark.parametrize("kind", [0, 2])
    def test_two_pages_are_two_pictures(self, tmp_path, rng, kind):
        photo = rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)
        (tmp_path / "a.tif").write_bytes(with_pages((photo, kind), (photo, kind)))
        with pytest.raises(UnreadablePicture, match="a.tif: holds 2 pictures, expected one"):
            read_photo(tmp_path / "a.tif")


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("text", ["© Jürgen".encode(), "Żółć".encode(), b"\xe9\xff latin", b"x"])
@pytest.mark.parametrize("suffix", [".tif", ".jpg", ".png", ".webp"])
def test_texts_are_kept_byte_for_byte(tmp_path, rng, order, text, suffix):
    values = rng.integers(0, 256, (6, 8, 3))
    more = {315: (2, text + b"\0"), 33432: (2, text + b"\0"), 305: (2, b"Software\0")}
    (tmp_path / "a.tif").write_bytes(tiff(values, 8, order, more=more))
    write_photo(tmp_path / f"b{suffix}", read_photo(tmp_path / "a.tif"))
    with Image.open(tmp_path / f"b{suffix}") as picture:
        if suffix == ".tif":
            found = picture.tag_v2
        else:
            found = picture.getexif()
        # Pillow takes the bytes of texts for Latin-1.
        assert found[315].encode("latin-1") == found[33432].encode("latin-1") == text
        assert found[305] == "Software"


def test_other_tags_go_from_tiff_to_tiff(tmp_path, rng):
    """Those of maps, for instance; not those that describe the pixels as they were."""
    values = rng.integers(0, 4096, (6, 8, 3))
    scale = struct.pack("<3d", 0.5, 0.5, 0)
    more = {33550: (12, scale), 317: (3, [1]), 320: (3, [1, 2, 3]), 282: (5, bytes(8))}
    file = (
        tiff(values, 12, more=more)
        .replace(struct.pack("<HHI", 33550, 12, 24), struct.pack("<HHI", 33550, 12, 3))
        .replace(struct.pack("<HHI", 282, 5, 8), struct.pack("<HHI", 282, 5, 1))
    )
    (tmp_path / "a.tif").write_bytes(file)
    write_photo(tmp_path / "b.tif", read_photo(tmp_path / "a.tif"))
    with tifffile.TiffFile(tmp_path / "b.tif") as written:
        tags = written.pages[0].tags
        assert tags[33550].value == (0.5, 0.5, 0) and 320 not in tags
        assert tags[258].value == (16, 16, 16)


@pytest.mark.parametrize("tag, content", [(50706, bytes([1, 4, 0, 0])), (262, None)])
def test_raw_files_are_refused_as_such(tmp_path, rng, monkeypatch, tag, content):
    """A camera's raw file shows a thumbnail to who reads it as TIFF."""
    monkeypatch.setitem(sys.modules, "rawpy", None)
    more = {tag: (1, content)} if content else {}
    colors = None if content else 32803
    values = rng.integers(0, 256, (6, 8, 3 if content else 1))
    (tmp_path / "a.tif").write_bytes(tiff(values, 8, colors=colors, more=more))
    for read in (read_photo, read_picture, picture_size):
        with pytest.raises(UnreadablePicture, match="a.tif: a camera's raw file"):
            read(tmp_path / "a.tif")


def test_a_file_that_ends_early(tmp_path, rng):
    """In one whose directory comes first."""
    tifffile.imwrite(tmp_path / "a.tif", rng.integers(0, 2**16, (40, 40, 3)).astype(np.uint16))
    content = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(content[: len(content) - 40])
    with pytest.raises(UnreadablePicture, match="not a readable picture"):
        read_photo(tmp_path / "a.tif")


def test_a_resolution_is_kept(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "a.tif", dpi=(240, 120))
    photo = read_photo(tmp_path / "a.tif")
    assert photo.dpi == (240, 120)
    for suffix in (".jpg", ".png", ".tif"):
        write_photo(tmp_path / f"b{suffix}", photo)
        with Image.open(tmp_path / f"b{suffix}") as picture:
            np.testing.assert_allclose(
                [float(side) for side in picture.info["dpi"]], (240, 120), 1e-3
            )
    write_photo(tmp_path / "c.tif", Photo(pixels, dpi=(240, 120)))
    assert read_photo(tmp_path / "c.tif").dpi == (240, 120)
