"""EXIF blocks and XMP packets: read from photos, and made true of what is written.

A photo is written upright and in sRGB. Its block is changed in place, number by number: makers'
notes point to places in it, so nothing may move.
"""

import re
import struct

from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

ORIENTATION, DETAILS, GPS = 0x0112, 0x8769, 0x8825  # in the first directory
COLOR_SPACE, WIDTH, HEIGHT, INTEROPERABILITY = 0xA001, 0xA002, 0xA003, 0xA005  # in DETAILS
INTEROPERABILITY_INDEX = 1
# Of a TIFF's first directory, which describes its pixels too: who, with what, when.
TEXTS = {270: "ImageDescription", 271: "Make", 272: "Model", 306: "DateTime", 315: "Artist"}
TEXTS |= {33432: "Copyright"}
SHORT, LONG = 3, 4


def exif_of(picture):
    """The EXIF block of a file that Pillow has opened, a PNG also loaded; empty for none."""
    if picture.format == "TIFF":
        return _of_tiff(picture.getexif())
    block = picture.info.get("exif", b"")
    if not block and "Raw profile type exif" in picture.info:  # As ImageMagick writes PNG files.
        lines = picture.info["Raw profile type exif"].split("\n")
        block = bytes.fromhex("".join(lines[3:]))
    return block.removeprefix(b"Exif\x00\x00")


def _of_tiff(exif):
    """A TIFF file's own tags as a block."""
    kept = Image.Exif()
    kept.update({tag: exif[tag] for tag in TEXTS if tag in exif})
    directories = {tag: _directory(exif, tag) for tag in (DETAILS, GPS)}
    for tag, directory in directories.items():
        kept.get_ifd(tag).update(directory)
    if not len(kept) and not any(directories.values()):
        return b""
    return kept.tobytes().removeprefix(b"Exif\x00\x00")


def _directory(exif, tag):
    """A directory with the one in it, to which it would point in vain from another place."""
    found = dict(exif.get_ifd(tag))
    if INTEROPERABILITY in found:
        found[INTEROPERABILITY] = dict(exif.get_ifd(INTEROPERABILITY))
    return found


def parsed(block):
    """A block as Pillow's `Exif`."""
    exif = Image.Exif()
    if block:
        exif.load(b"Exif\x00\x00" + block)
    return exif


def directory_bytes(block, tag, place):
    """A block's directory `DETAILS` or `GPS` as a little-endian file has it at `place`."""
    directory = ImageFileDirectory_v2()
    directory.update(_directory(parsed(block), tag))
    return directory.tobytes(place) if directory else b""


def is_adobe_rgb(block):
    """Whether a block says that the pixels are Adobe RGB, as cameras without profiles do."""
    block = _Block(block)
    entry = block.interoperability.get(INTEROPERABILITY_INDEX)
    return entry is not None and block.content[entry + 8 : entry + 11] == b"R03"


def made_true(block, width, height):
    """A block for a photo of this size in pixels, upright, in sRGB, without a thumbnail.

    All else is untouched. A thumbnail would show the photo as it was.
    """
    block = _Block(block)
    if block.order is None:
        return b""
    block.forget_next(block.main)
    block.set(block.main, ORIENTATION, 1)
    block.set(block.details, COLOR_SPACE, 1)
    block.set(block.details, WIDTH, width)
    block.set(block.details, HEIGHT, height)
    entry = block.interoperability.get(INTEROPERABILITY_INDEX)
    if entry is not None:
        block.content[entry + 8 : entry + 11] = b"R98"
    return bytes(block.content)


def upright_xmp(xmp):
    """An XMP packet, bytes or text, as bytes with orientation 1."""
    xmp = xmp.encode() if isinstance(xmp, str) else xmp
    return re.sub(rb"(tiff:Orientation(?:=[\"']|>))\s*\d", rb"\g<1>1", xmp)


class _Directory(dict):
    """Places of a directory's entries by their tags, and of the pointer to the next one."""

    end = None


class _Block:
    """A block whose numbers can be changed; what points out of it counts as not there.

    Attributes:
        content: its bytes.
        order: of the bytes of a number, as in `struct`; None if this is no EXIF.
        main, details, interoperability: a `_Directory` each.
    """

    def __init__(self, content):
        self.content = bytearray(content)
        self.order = {b"II": "<", b"MM": ">"}.get(content[:2])
        self.main = self._directory(self._read("I", 4))
        self.details = self._directory(self._pointer(self.main, DETAILS))
        self.interoperability = self._directory(self._pointer(self.details, INTEROPERABILITY))

    def _read(self, kind, place):
        """A number, 0 where the block ends before it."""
        size = struct.calcsize(f"<{kind}")
        if self.order is None or place + size > len(self.content):
            return 0
        return struct.unpack_from(f"{self.order}{kind}", self.content, place)[0]

    def _directory(self, place):
        found = _Directory()
        count = self._read("H", place) if place else 0
        for entry in range(place + 2, place + 2 + 12 * count, 12):
            if entry + 12 <= len(self.content):
                found[self._read("H", entry)] = entry
        if place and place + 6 + 12 * count <= len(self.content):
            found.end = place + 2 + 12 * count
        return found

    def _pointer(self, directory, tag):
        return self._read("I", directory[tag] + 8) if tag in directory else 0

    def set(self, directory, tag, value):
        """Changes a tag that is there, of one number of 16 or 32 bits."""
        if tag not in directory:
            return
        kind = {SHORT: "H", LONG: "I"}.get(self._read("H", directory[tag] + 2))
        if kind and value < 2 ** (8 * struct.calcsize(f"<{kind}")):
            struct.pack_into(f"{self.order}{kind}", self.content, directory[tag] + 8, value)

    def forget_next(self, directory):
        """Makes a directory the last one."""
        if directory.end is not None:
            struct.pack_into("<I", self.content, directory.end, 0)
