"""PNG files: reads what Pillow does not report, and writes files."""

import io
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

import imagecodecs
import numpy as np

from . import iptc
from .contents import Photo

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Level of compression. A higher one takes several times as long, and saves only a few percent.
LEVEL = 3
# The chunks that a picture needs.
OF_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
OF_METADATA = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")
INCH = 0.0254
LONGEST_KEY = 79


def chunks(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Kind, place and length of the data of every chunk, up to the end of the file."""
    end = file.seek(0, 2)
    place = len(SIGNATURE)
    while place + 8 <= end:
        file.seek(place)
        length, kind = struct.unpack(">I4s", file.read(8))
        yield kind, place + 8, length
        place += 12 + length


def metadata_behind(file: BinaryIO) -> bytes:
    """A file without pixels, with the metadata that follow the pixels; empty if there are none.

    In the file itself, Pillow finds them only when it decodes the pixels.
    """
    head, parts, is_behind = b"", [], False
    for kind, place, length in list(chunks(file)):
        is_behind |= kind == b"IDAT"
        if kind == b"IHDR" or is_behind and kind in OF_METADATA:
            file.seek(place)
            found = _chunk(kind, file.read(length))
            if kind == b"IHDR":
                head = found
            else:
                parts.append(found)
    return b"".join([SIGNATURE, head, *parts, _chunk(b"IDAT", b"")]) if parts else b""


def header(file: BinaryIO) -> tuple[int, int]:
    """Bits of a number, and type of the colors: 0 gray, 2 RGB, 3 palette, 4 and 6 with alpha."""
    file.seek(len(SIGNATURE) + 16)
    bits, colors = file.read(2)
    return bits, colors


def bare(content: bytes) -> bytes:
    """A file with the picture only."""
    parts = [content[: len(SIGNATURE)]]
    for kind, place, length in chunks(io.BytesIO(content)):
        if kind in OF_PIXELS:
            parts.append(content[place - 8 : place + length + 4])
    return b"".join(parts)


def raw_profile(text: str) -> bytes:
    """The bytes that ImageMagick writes as a text: a name, a length, and hexadecimal digits.

    Raises:
        ValueError: if it is broken.
    """
    _, length, digits = text.strip("\n").split("\n", 2)
    content = bytes.fromhex("".join(digits.split()))
    if len(content) != int(length):
        raise ValueError("its length is wrong")
    return content


def as_raw_profile(name: str, content: bytes) -> str:
    """The opposite of `raw_profile`."""
    digits = content.hex()
    lines = [digits[k : k + 72] for k in range(0, len(digits), 72)]
    return "\n".join(["", name, f"{len(content):8}", *lines, ""])


def write(pixels: np.ndarray, photo: Photo) -> tuple[memoryview | bytes, ...]:
    """The parts of a file. The encoder is faster than Pillow's, and can write 16 bits of color.

    Args:
        pixels: (H, W) or (H, W, 2 to 4) uint8 or uint16 array.
        photo: `Photo` with the metadata.
    """
    plain = memoryview(imagecodecs.png_encode(np.ascontiguousarray(pixels), level=LEVEL))
    found = []
    if photo.icc:
        found.append((b"iCCP", b"ICC profile\x00\x00" + zlib.compress(photo.icc)))
    if photo.dpi:
        found.append((b"pHYs", struct.pack(">IIB", *(round(d / INCH) for d in photo.dpi), 1)))
    if photo.exif:
        found.append((b"eXIf", photo.exif))
    if photo.xmp:
        found.append((b"iTXt", b"XML:com.adobe.xmp\x00\x00\x00\x00\x00" + photo.xmp))
    if photo.iptc:
        text = as_raw_profile("iptc", iptc.as_resources(photo.iptc))
        found.append((b"zTXt", b"Raw profile type iptc\x00\x00" + zlib.compress(text.encode())))
    found += [(b"iTXt", _text(*item)) for item in photo.texts.items()]
    end_of_header = len(SIGNATURE) + 25  # After the IHDR chunk, which comes first.
    parts = (_chunk(kind, data) for kind, data in found)
    return plain[:end_of_header], b"".join(parts), plain[end_of_header:]


def _text(key: str, text: str) -> bytes:
    name = key.encode("latin-1", "replace")[:LONGEST_KEY] or b"Comment"
    return name + b"\x00\x00\x00\x00\x00" + text.encode("utf-8", "replace").replace(b"\0", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)
