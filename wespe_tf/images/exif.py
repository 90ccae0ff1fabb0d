"""Reads EXIF blocks, and adapts them to what is written.

A photo is written upright and in sRGB. Its block is changed in place, entry by entry. Nothing may
move, because makers' notes point to places in the block.
"""

import struct

from .directories import ASCII, DETAILS, INTEROPERABILITY, LONG, SHORT, Directories, Entry, written

ORIENTATION, STORED_WIDTH, STORED_HEIGHT = 0x0112, 0x0100, 0x0101  # in the first directory
COLOR_SPACE, WIDTH, HEIGHT = 0xA001, 0xA002, 0xA003  # in DETAILS
INTEROPERABILITY_INDEX = 1
UNCALIBRATED = 65535
X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 282, 283, 296
# Tags of a TIFF file that are not copied. They describe its pixels, are kept elsewhere (XMP, IPTC,
# profile), hold the old photo (layers, thumbnails), or say how to develop a raw file (color
# filters, all of DNG).
OF_PIXELS = frozenset(
    [254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, ORIENTATION, 273, 277, 278, 279]
    + [280, 281, 284, 288, 289, 290, 291, 292, 293, 301, 317, 318, 319, 320, 321, 322, 323, 324]
    + [325, 326, 327, 328, 330, 332, 333, 334, 336, 337, 338, 339, 340, 341, 342, *range(343, 366)]
    + [*range(512, 522), 529, 530, 531, 532, 559, 700, 33421, 33422, 33723, 34377, 34675, 37398]
    + [37724, *range(50706, 51300), *range(52525, 52560)]
)


def checked(block: bytes) -> bytes:
    """A block without the "Exif" mark before it.

    Raises:
        ValueError: if it is not a block, or its first directory cannot be read.
    """
    block = block.removeprefix(b"Exif\x00\x00")
    if block and Directories(block).big:  # EXIF has no such numbers; `made_true` writes none.
        raise ValueError("a BigTIFF header")
    return block


def orientation_of(directories: Directories, directory: list[Entry]) -> int:
    """Orientation, 1 to 8, from a number of any kind; 1 if there is none or it is not valid."""
    found = directories.number(directory, ORIENTATION, 1)
    return int(found) if found in range(1, 9) else 1


def orientation(block: bytes) -> int:
    """Orientation of a block that `checked` has returned."""
    if not block:
        return 1
    directories = Directories(block)
    return orientation_of(directories, directories.chain[0])


def is_adobe_rgb(block: bytes) -> bool:
    """Whether a block says that the pixels are Adobe RGB. Cameras may say so without a profile."""
    if not block:
        return False
    directories = Directories(block)
    details = directories.inner(directories.chain[0], DETAILS)
    entry = directories.find(directories.inner(details, INTEROPERABILITY), INTEROPERABILITY_INDEX)
    space = directories.number(details, COLOR_SPACE, 0)
    return space == UNCALIBRATED and entry is not None and directories.raw(entry)[:3] == b"R03"


def of_tiff(directories: Directories, directory: list[Entry]) -> bytes:
    """The metadata of a TIFF file as an EXIF block; empty if there are none."""
    tree = directories.tree(directory, OF_PIXELS)
    if not tree:
        return b""
    order = directories.order
    head = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 8)
    return head + written(tree, 8, order)


def resolution(dpi: tuple[float, float], order: str) -> dict:
    """Entries for a resolution in pixels per inch."""
    sides = zip((X_RESOLUTION, Y_RESOLUTION), dpi)
    found = {
        tag: (5, 1, struct.pack(f"{order}II", round(1000 * side), 1000)) for tag, side in sides
    }
    return found | {RESOLUTION_UNIT: (SHORT, 1, struct.pack(f"{order}H", 2))}


def resolution_of(directories: Directories, directory: list[Entry]) -> tuple[float, float] | None:
    """Pixels per inch, across and down, from a directory; None if it has none."""
    unit = {2: 1.0, 3: 2.54}.get(int(directories.number(directory, RESOLUTION_UNIT, 2)), 0)
    sides = (directories.number(directory, tag, 0) * unit for tag in (X_RESOLUTION, Y_RESOLUTION))
    across, down = sides
    return (across, down) if across > 1 and down > 1 else None


def made_true(block: bytes, width: int, height: int) -> bytes:
    """Adapts a block to a photo of this size in pixels, upright, in sRGB, without a thumbnail.

    A thumbnail would show the old photo. Nothing else changes.
    """
    if not block:
        return b""
    directories, content = Directories(block), bytearray(block)
    order, main = directories.order, directories.chain[0]
    details = directories.inner(main, DETAILS)
    changes = (
        (main, {ORIENTATION: 1, STORED_WIDTH: width, STORED_HEIGHT: height}),
        (details, {COLOR_SPACE: 1, WIDTH: width, HEIGHT: height}),
    )
    for directory, values in changes:
        for entry in directory:
            if entry.tag in values:
                value = values[entry.tag]
                kind = SHORT if value < 2**16 else LONG
                packed = struct.pack(f"{order}{'H' if kind == SHORT else 'I'}", value)
                _set(content, order, entry, kind, 1, packed)
    for entry in directories.inner(details, INTEROPERABILITY):
        if entry.tag == INTEROPERABILITY_INDEX:
            _set(content, order, entry, ASCII, 4, b"R98\0")
    # From the block as it was: an entry that was set may lie over these numbers.
    start = struct.unpack_from(f"{order}I", block, 4)[0]
    count = struct.unpack_from(f"{order}H", block, start)[0]
    end = start + 2 + 12 * count
    content[end : end + 4] = bytes(len(content[end : end + 4]))  # The link to the thumbnail.
    return bytes(content)


def without_orientation(block: bytes) -> bytes:
    """A block without the entry of the orientation, which then counts as 1.

    All values stay in their places. The block is empty if it has no other entry.
    """
    if not block:
        return b""
    order = Directories(block).order
    start = struct.unpack_from(f"{order}I", block, 4)[0]
    count, first = struct.unpack_from(f"{order}H", block, start)[0], start + 2
    end, tag = first + 12 * count, struct.pack(f"{order}H", ORIENTATION)
    entries = [block[place : place + 12] for place in range(first, min(end, len(block)), 12)]
    kept = [entry for entry in entries if not entry.startswith(tag)]
    if not kept:
        return b""
    left, old = count - len(entries) + len(kept), block[first : end + 4]
    new = (b"".join(kept) + block[end : end + 4]).ljust(len(old), b"\0")
    return block[:start] + struct.pack(f"{order}H", left) + new + block[first + len(old) :]


def _set(content: bytearray, order: str, entry: Entry, kind: int, count: int, value: bytes) -> None:
    """Changes an entry in place to a value of at most four bytes."""
    packed = struct.pack(f"{order}HHI", entry.tag, kind, count) + value.ljust(4, b"\0")
    content[entry.place : entry.place + 12] = packed
