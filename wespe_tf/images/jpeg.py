"""JPEG files: the segments before the pixels."""

import struct

from . import iptc
from .contents import Photo

# Metadata are in APPn and comments. But APP0 (JFIF) and APP14 (Adobe) say how to read the pixels.
APP1, APP13, APP14, COMMENT = 0xFFE1, 0xFFED, 0xFFEE, 0xFFFE
EXIF, XMP, RESOURCES = b"Exif\x00\x00", b"http://ns.adobe.com/xap/1.0/\x00", b"Photoshop 3.0\x00"
# Bytes that a segment can hold.
ROOM = 65533


def bare(content: bytes) -> bytes:
    """A file without any metadata."""
    parts, place = [content[:2]], 2
    while content[place : place + 1] == b"\xff" and place + 4 <= len(content):
        marker, length = struct.unpack_from(">HH", content, place)
        if marker == 0xFFDA:
            break
        if not (0xFFE1 <= marker <= 0xFFEF and marker != APP14 or marker == COMMENT):
            parts.append(content[place : place + 2 + length])
        place += 2 + length
    return b"".join(parts) + content[place:]


def with_metadata(plain: bytes, photo: Photo) -> tuple[list[bytes], list[str]]:
    """A file with a photo's metadata, except its profile.

    If EXIF is too long for one segment, it is written in several, as Pillow and ExifTool read it.

    Args:
        plain: a file from Pillow.
        photo: `Photo`.

    Returns:
        The file's parts, and the names of metadata that were left out because they are too long.
    """
    start = 2
    if plain[2:4] == b"\xff\xe0":
        start += 2 + struct.unpack_from(">H", plain, 4)[0]
    room = ROOM - len(EXIF)
    segments = [(APP1, EXIF + photo.exif[k : k + room]) for k in range(0, len(photo.exif), room)]
    if photo.xmp:
        segments.append((APP1, XMP + photo.xmp))
    if photo.iptc:
        segments.append((APP13, RESOURCES + iptc.as_resources(photo.iptc)))
    if "Comment" in photo.texts:
        segments.append((COMMENT, photo.texts["Comment"].encode("utf-8", "replace")))
    names = {APP1: "XMP", APP13: "IPTC", COMMENT: "the comment"}
    lost = [names[marker] for marker, data in segments if len(data) > ROOM]
    found = (_segment(marker, data) for marker, data in segments if len(data) <= ROOM)
    return [plain[:start], b"".join(found), plain[start:]], lost


def _segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">HH", marker, len(data) + 2) + data
