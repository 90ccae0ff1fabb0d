"""PNG files of every type of color and depth, made by hand: transparency, hidden profiles."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.images.photo_files import XMP, exif, profile
from tests.images.test_tiff import packed
from wespe_tf.images.photo import pixel_bytes, read_photo, write_photo
from wespe_tf.images.picture import picture_size, read_picture

GRAY, RGB, PALETTE, GRAY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
CHANNELS = {GRAY: 1, RGB: 3, PALETTE: 1, GRAY_ALPHA: 2, RGB_ALPHA: 4}
DEPTHS = [(GRAY, bits) for bits in (1, 2, 4, 8, 16)] + [(PALETTE, bits) for bits in (1, 2, 4, 8)]
DEPTHS += [(colors, bits) for colors in (RGB, GRAY_ALPHA, RGB_ALPHA) for bits in (8, 16)]


def chunk(kind, data):
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def png(values, bits, colors, before=(), behind=()):
    """A PNG file of (H, W, C) numbers of a depth, with chunks before and behind its pixels."""
    height, width, _ = values.shape
    size = len(packed(values[:1], bits, ">"))
    content = packed(values, bits, ">")
    rows = b"".join(b"\0" + content[k : k + size] for k in range(0, len(content), size))
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colors, 0, 0, 0)), *before]
    chunks += [(b"IDAT", zlib.compress(rows)), *behind, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


@pytest.mark.parametrize("colors, bits", DEPTHS)
@pytest.mark.parametrize("is_transparent", [False, True])
def test_transparency_of_every_type_of_color(tmp_path, rng, colors, bits, is_transparent):
    """One gray, one color or some of the palette may be transparent, by the chunk tRNS."""
    largest = 2**bits - 1
    values = rng.integers(0, largest + 1, (6, 8, CHANNELS[colors]))
    shades = rng.integers(0, 256, (largest + 1, 3)) if colors == PALETTE else None
    alphas = np.arange(largest + 1) * 255 // largest if colors == PALETTE else None
    before = [(b"PLTE", bytes(shades.astype(np.uint8).ravel()))] if colors == PALETTE else []
    chosen = values[2, 3]
    if is_transparent and colors == PALETTE:
        before.append((b"tRNS", bytes(alphas.astype(np.uint8))))
    elif is_transparent and colors in (GRAY, RGB):
        before.append((b"tRNS", struct.pack(f">{len(chosen)}H", *chosen.tolist())))
    path = tmp_path / "a.png"
    path.write_bytes(png(values, bits, colors, before))

    photo = read_photo(path)
    full = 65535 if bits == 16 else 255
    if colors == PALETTE:
        expected, alpha = shades[values[..., 0]], alphas[values[..., 0]]
    else:
        scaled = values * full / largest
        expected, alpha = scaled[..., : 3 if colors in (RGB, RGB_ALPHA) else 1], None
        if colors in (GRAY_ALPHA, RGB_ALPHA):
            alpha = scaled[..., -1]
        elif is_transparent:
            alpha = np.where((values == chosen).all(axis=-1), 0, full)
    np.testing.assert_array_equal(photo.pixels, np.broadcast_to(expected, photo.pixels.shape))
    if alpha is None or colors == PALETTE and not is_transparent:
        assert photo.alpha is None
    else:
        np.testing.assert_array_equal(photo.alpha, alpha)
    taken = photo.pixels.nbytes + (0 if photo.alpha is None else photo.alpha.nbytes)
    assert pixel_bytes(path) == taken
    assert np.abs(read_picture(path) - expected * 255 / full).max() <= 0.5


def hidden(name, content):
    """A profile in a text chunk as ImageMagick writes it."""
    digits = content.hex()
    lines = "\n".join(digits[k : k + 72] for k in range(0, len(digits), 72))
    text = f"\n{name}\n{len(content):8}\n{lines}\n"
    return b"zTXt", f"Raw profile type {name}\0\0".encode("latin-1") + zlib.compress(text.encode())


RECORDS = b"\x1c\x02\x78\x00\x07caption"
RESOURCES = b"8BIM\x04\x04\x00\x00" + struct.pack(">I", len(RECORDS)) + RECORDS
PROFILES = {
    "exif": ("exif", b"Exif\0\0" + exif(6)),
    "exif of older versions": ("APP1", b"Exif\0\0" + exif(6)),
    "xmp": ("xmp", XMP),
    "xmp of older versions": ("APP1", b"http://ns.adobe.com/xap/1.0/\0" + XMP),
    "icc": ("icc", profile("swapped")),
    "iptc": ("iptc", RESOURCES),
    "iptc in 8bim": ("8bim", b"8BIM\x03\xed\x00\x00\x00\x00\x00\x01x\0" + RESOURCES),
}


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("place", ["before", "behind"])
@pytest.mark.parametrize("bits", [8, 16])
def test_hidden_profiles(tmp_path, rng, name, place, bits):
    values = rng.integers(0, 2**bits, (6, 8, 3))
    path = tmp_path / "a.png"
    path.write_bytes(png(values, bits, RGB, **{place: [hidden(*PROFILES[name])]}))
    photo = read_photo(path)
    is_turned = name.startswith("exif")
    assert photo.pixels.shape == ((8, 6, 3) if is_turned else (6, 8, 3))
    assert photo.exif == (exif(1) if is_turned else b"")
    assert bool(photo.xmp) == name.startswith("xmp") and (not photo.xmp or b'="1"' in photo.xmp)
    assert photo.iptc == (RECORDS if name.startswith("iptc") else b"")
    if name == "icc":
        assert np.abs(photo.pixels - values[..., ::-1].astype(float)).max() <= 2 ** (bits - 7)
    else:
        expected = np.rot90(values, -1) if is_turned else values
        np.testing.assert_array_equal(photo.pixels, expected)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("kind", [b"pHYs", b"gAMA", b"cHRM", b"sRGB", b"tIME", b"iCCP", b"iTXt"])
@pytest.mark.parametrize("length", [0, 1, 3, 300])
def test_broken_chunks_beside_the_picture(tmp_path, rng, kind, length, bits):
    values = rng.integers(0, 2**bits, (6, 8, 3))
    for place in ("before", "behind"):
        broken = {place: [(kind, bytes(rng.integers(0, 256, length).tolist()))]}
        (tmp_path / "a.png").write_bytes(png(values, bits, RGB, **broken))
        np.testing.assert_array_equal(read_photo(tmp_path / "a.png").pixels, values)


def test_texts_go_from_png_to_png(tmp_path, pixels):
    texts = [(b"tEXt", b"Title\0caf\xe9"), (b"iTXt", "Author\0\0\0\0\0Żółć".encode())]
    (tmp_path / "a.png").write_bytes(png(pixels.astype(int), 8, RGB, before=texts))
    photo = read_photo(tmp_path / "a.png")
    assert photo.texts == {"Title": "café", "Author": "Żółć"}
    write_photo(tmp_path / "b.png", photo)
    with Image.open(tmp_path / "b.png") as picture:
        assert picture.text == photo.texts


@pytest.mark.parametrize("colors", [GRAY, RGB, GRAY_ALPHA])
@pytest.mark.parametrize("place", ["before", "behind"])
@pytest.mark.parametrize("name", ["dpi", "transparency"])
def test_texts_with_names_of_pillows_own(tmp_path, rng, colors, place, name):
    """Pillow keeps a file's texts together with what it finds itself: resolution, transparency."""
    values = rng.integers(0, 256, (6, 8, CHANNELS[colors]))
    text = (b"tEXt", f"{name}\x00300".encode())
    (tmp_path / "a.png").write_bytes(png(values, 8, colors, **{place: [text]}))
    photo = read_photo(tmp_path / "a.png")
    assert photo.dpi is None and (photo.alpha is None) == (colors != GRAY_ALPHA)
    np.testing.assert_array_equal(
        photo.pixels, np.broadcast_to(values[..., : 3 if colors == RGB else 1], (6, 8, 3))
    )
    write_photo(tmp_path / "b.png", photo)
    assert read_photo(tmp_path / "b.png").texts == {name: "300"}


@pytest.mark.parametrize("colors, bits", [(PALETTE, 8), (GRAY, 8), (RGB, 8), (RGB, 16)])
def test_metadata_behind_the_pixels_are_found_without_them(tmp_path, rng, colors, bits):
    """Before its pixels take any memory, it must be known whether they may."""
    values = rng.integers(0, 256, (6, 8, CHANNELS[colors]))
    before = [(b"PLTE", bytes(range(255)))] if colors == PALETTE else []
    content = png(values, bits, colors, before, [(b"eXIf", exif(6)), (b"tEXt", b"date\x00now")])
    path = tmp_path / "a.png"
    path.write_bytes(content)
    photo = read_photo(path)
    assert (photo.pixels.shape, photo.exif, photo.texts) == ((8, 6, 3), exif(1), {"date": "now"})
    start = content.index(b"IDAT") + 4
    path.write_bytes(content[:start] + b"nothing" + content[start + 7 :])
    assert picture_size(path) == (8, 6)
    assert pixel_bytes(path) == 6 * 8 * 3 * (bits // 8)
