"""JPEG XL files: reads their headers, which the decoder does not report, and writes files.

By ISO/IEC 18181, a file is a code stream alone, or consists of boxes. Some boxes hold the code
stream, others hold metadata.
"""

import struct
from collections.abc import Iterator
from typing import Any

import imagecodecs
import numpy as np

from .contents import Photo

STREAM, BOXES = b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"
STREAM_BOXES = (b"jxlc", b"jxlp")
# Ratios of width to height, by number.
RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
SIZES = ((1, 9), (1, 13), (1, 18), (1, 30))
ALPHA, SPOT_COLOR, COLOR_FILTER = 0, 2, 5
GRAY, D65, OF_SRGB = 1, 1, (1, 13)
LOSSLESS = 100


def is_jxl(head: bytes) -> bool:
    """Whether a file with these first bytes has this format."""
    return head.startswith((STREAM, BOXES))


def boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of every box, unpacked. A code stream alone is a box of kind `jxlc`."""
    if content.startswith(STREAM):
        yield b"jxlc", content
        return
    place = 0
    while place + 8 <= len(content):
        size, kind = struct.unpack_from(">I4s", content, place)
        head = 8
        if size == 1:
            size, head = int.from_bytes(content[place + 8 : place + 16], "big"), 16
        end = place + size if size else len(content)
        if end < place + head:
            raise ValueError("a box is broken")
        inner = content[place + head : end]
        if kind == b"brob":
            kind, inner = inner[:4], bytes(imagecodecs.brotli_decode(inner[4:]))
        yield kind, inner
        place = end


def stream(parts: list[tuple[bytes, bytes]]) -> bytes:
    """The code stream from `boxes`. If it is in several boxes, each begins with a number."""
    return b"".join(p[4:] if kind == b"jxlp" else p for kind, p in parts if kind in STREAM_BOXES)


class Header:
    """The header of a code stream.

    Args:
        stream: at least the first kilobyte of the code stream.

    Attributes:
        size: (width, height), upright.
        bits: bits of a number.
        has_alpha: whether the picture has transparency.
        is_gray: whether it has no colors.
        is_srgb: whether decoded numbers are sRGB.
        is_moving: whether there are several pictures.

    Raises:
        ValueError: if it ends too early.
    """

    def __init__(self, stream: bytes):
        if not stream.startswith(STREAM):
            raise ValueError("no code stream")
        self.number, self.left = int.from_bytes(stream[2:1026], "little"), 8 * len(stream[2:1026])
        self.bits, self.has_alpha, self.is_gray, self.is_srgb = 8, False, False, True
        self.is_moving = False
        self.size = self._size()
        if self._take(1):
            return  # Everything has its default.
        if self._take(1):
            turned = self._take(3) >= 4
            self.size = self.size[::-1] if turned else self.size
            if self._take(1):
                self._size()  # The size for a screen is not used.
            if self._take(1):
                raise ValueError("it has a preview")
            self.is_moving = bool(self._take(1))
            if self.is_moving:
                return
        self.bits = self._depth()
        self._take(1)
        extra = [
            self._extra_channel() for _ in range(self._choice((0, 0), (1, 0), (2, 4), (1, 12)))
        ]
        self.has_alpha = ALPHA in extra
        is_mixed = self._take(1)  # Then the decoder converts colors of a profile to sRGB.
        if self._take(1):
            return
        has_profile = self._take(1)
        space = self._enum()
        self.is_gray = space == GRAY
        if has_profile:
            self.is_srgb = bool(is_mixed)
            return
        white = self._enum()
        primaries = 1 if self.is_gray else self._enum()
        if white != D65 or primaries != 1 or self._take(1):
            self.is_srgb = False
        else:
            self.is_srgb = (primaries, self._enum()) == OF_SRGB

    def _take(self, count: int) -> int:
        """The next bits as a number."""
        if count > self.left:
            raise ValueError("the file ends too early")
        found = self.number & ((1 << count) - 1)
        self.number >>= count
        self.left -= count
        return found

    def _choice(self, *choices: tuple[int, int]) -> int:
        """A number in one of four forms. Each form has a lowest value and a number of bits."""
        least, count = choices[self._take(2)]
        return least + self._take(count)

    def _enum(self) -> int:
        return self._choice((0, 0), (1, 0), (2, 4), (18, 6))

    def _size(self) -> tuple[int, int]:
        in_eights = self._take(1)

        def length() -> int:
            return 8 * (1 + self._take(5)) if in_eights else self._choice(*SIZES)

        height = length()
        ratio = self._take(3)
        if not ratio:
            return length(), height
        across, down = RATIOS[ratio - 1]
        return height * across // down, height

    def _depth(self) -> int:
        if not self._take(1):
            return self._choice((8, 0), (10, 0), (12, 0), (1, 6))
        bits = self._choice((32, 0), (16, 0), (24, 0), (1, 6))
        self._take(4)
        return bits

    def _extra_channel(self) -> int:
        """The kind of a channel besides the colors."""
        if self._take(1):
            return ALPHA
        kind = self._enum()
        self._depth()
        self._choice((0, 0), (3, 0), (4, 0), (1, 3))
        for _ in range(self._choice((0, 0), (0, 4), (16, 5), (48, 10))):
            self._take(8)  # A letter of its name.
        self._take({ALPHA: 1, SPOT_COLOR: 64}.get(kind, 0))
        if kind == COLOR_FILTER:
            self._choice((1, 0), (0, 2), (3, 4), (19, 8))
        return kind


def write(pixels: np.ndarray, photo: Photo, quality: int) -> list[bytes]:
    """The parts of a file.

    Args:
        pixels: (H, W) or (H, W, 2 to 4) uint8 array.
        photo: `Photo` with the metadata. EXIF and XMP are written.
        quality: 1 to 100; 100 is lossless.
    """
    # The format's own encoder converts a JPEG quality in this way.
    distance = 0.1 + (LOSSLESS - quality) * 0.09
    options: dict[str, Any] = {"lossless": True} if quality == LOSSLESS else {"distance": distance}
    parts = [bytes(imagecodecs.jpegxl_encode(pixels, usecontainer=True, **options))]
    found = ((b"Exif", photo.exif and bytes(4) + photo.exif), (b"xml ", photo.xmp))
    return parts + [struct.pack(">I4s", 8 + len(data), kind) + data for kind, data in found if data]
