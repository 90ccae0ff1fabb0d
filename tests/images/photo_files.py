"""Photo files taken apart by hand, and what is put into them: EXIF, XMP, profiles."""

import struct
import zlib

import numpy as np
from PIL import Image, ImageCms

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
