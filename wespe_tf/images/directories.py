"""Reads and writes the directories of TIFF files and of EXIF blocks, byte for byte.

The bytes of entries do not change. So texts of any encoding and numbers of any kind are kept.
"""

import dataclasses
import io
import struct
from collections.abc import Collection
from typing import Any, BinaryIO

DETAILS, GPS, INTEROPERABILITY = 0x8769, 0x8825, 0xA005
# Entries of the first directory, and of DETAILS, that point to another directory.
OF_MAIN, OF_DETAILS = (DETAILS, GPS), (INTEROPERABILITY,)
ASCII, SHORT, LONG, UNDEFINED = 2, 3, 4, 7
# Kinds of numbers as formats of `struct`. A rational consists of two numbers.
KINDS = {1: "B", 2: "B", 3: "H", 4: "I", 5: "II", 6: "b", 7: "B", 8: "h", 9: "i", 10: "ii"}
KINDS |= {11: "f", 12: "d", 13: "I", 16: "Q", 17: "q", 18: "Q"}
MOST_ENTRIES, MOST_DIRECTORIES = 4096, 1024


@dataclasses.dataclass(frozen=True)
class Entry:
    """One entry of a directory.

    Attributes:
        tag: number of the property that it describes.
        kind: kind of its numbers, a key of `KINDS`.
        count: how many numbers it has.
        place: place of the entry in the file.
        value: place of its numbers in the file.
    """

    tag: int
    kind: int
    count: int
    place: int
    value: int

    @property
    def size(self) -> int:
        """Bytes of the numbers."""
        return self.count * struct.calcsize(f"<{KINDS[self.kind]}")


class Directories:
    """The directories of a TIFF file, a BigTIFF file or an EXIF block.

    Args:
        content: a binary file in which one can seek, or bytes.

    Attributes:
        order: order of the bytes in a number, as in `struct`.
        chain: list of the directories that follow each other; a directory is a list of `Entry`.

    Raises:
        ValueError: if it does not begin like such a file, or its first directory cannot be read.
    """

    def __init__(self, content: BinaryIO | bytes):
        self.file = io.BytesIO(content) if isinstance(content, bytes) else content
        self.length = self.file.seek(0, io.SEEK_END)
        head = self._read(0, 16)
        order = {b"II": "<", b"MM": ">"}.get(head[:2])
        if order is None or len(head) < 8:
            raise ValueError("no TIFF header")
        self.order, version = order, struct.unpack(f"{order}H", head[2:4])[0]
        if version not in (42, 43):
            raise ValueError("no TIFF header")
        self.big = version == 43
        start = self._number("Q", 8) if self.big else self._number("I", 4)
        self.chain: list[list[Entry]] = []
        seen: set[int] = set()
        while start and start not in seen and len(self.chain) < MOST_DIRECTORIES:
            seen.add(start)
            entries, start = self.directory(start)
            self.chain.append(entries)
        if not self.chain or not self.chain[0]:
            raise ValueError("no entries")

    def _read(self, place: int, size: int) -> bytes:
        self.file.seek(place)
        return self.file.read(size)

    def _number(self, kind: str, place: int) -> int:
        """A number; 0 if the file ends before it."""
        content = self._read(place, struct.calcsize(f"<{kind}")) if place < self.length else b""
        try:
            return struct.unpack(f"{self.order}{kind}", content)[0]
        except struct.error:
            return 0

    def directory(self, start: int) -> tuple[list[Entry], int]:
        """Complete entries of the directory at a place, and the place of the next directory."""
        head, step, inline, pointer = (8, 20, 8, "Q") if self.big else (2, 12, 4, "I")
        count = min(self._number("Q" if self.big else "H", start), MOST_ENTRIES)
        found = []
        for place in range(start + head, start + head + step * count, step):
            content = self._read(place, step)
            if len(content) < step:
                break
            tag, kind, number = struct.unpack(f"{self.order}HH{pointer}", content[: step - inline])
            value = place + step - inline
            if kind in KINDS:
                entry = Entry(tag, kind, number, place, value)
                if entry.size > inline:
                    far = self._number(pointer, value)
                    entry = dataclasses.replace(entry, value=far)
                if entry.value + entry.size <= self.length:
                    found.append(entry)
        return found, self._number(pointer, start + head + step * count)

    def raw(self, entry: Entry) -> bytes:
        """An entry's numbers as they lie in the file."""
        return self._read(entry.value, entry.size)

    def numbers(self, entry: Entry, most: int = 16) -> list:
        """The first numbers of an entry. A rational becomes its quotient, a text its number."""
        content = self.raw(entry)
        if entry.kind == ASCII:
            text = content.strip(b"\0 ")
            return [int(text)] if text.isdigit() and len(text) < 9 else []
        if entry.kind == UNDEFINED and entry.count <= 8:
            return [int.from_bytes(content, "little" if self.order == "<" else "big")]
        kind = KINDS[entry.kind]
        content = content[: most * struct.calcsize(f"<{kind}")]
        values = list(struct.iter_unpack(f"{self.order}{kind}", content))
        return [pair[0] / (pair[-1] or 1) if len(pair) == 2 else pair[0] for pair in values]

    def find(self, directory: list[Entry], tag: int) -> Entry | None:
        """The first entry of a tag; None if there is none."""
        return next((entry for entry in directory if entry.tag == tag), None)

    def bytes_of(self, directory: list[Entry], tag: int) -> bytes:
        """The numbers of a tag as they lie in the file; empty if there are none."""
        entry = self.find(directory, tag)
        return self.raw(entry) if entry else b""

    def number(self, directory: list[Entry], tag: int, otherwise: int) -> float:
        """The first number of a tag; `otherwise` if there is none."""
        entry = self.find(directory, tag)
        found = self.numbers(entry, 1) if entry else []
        return found[0] if found else otherwise

    def inner(self, directory: list[Entry], tag: int) -> list[Entry]:
        """The directory to which a tag points; empty if there is none."""
        start = int(self.number(directory, tag, 0))
        return self.directory(start)[0] if start > 0 else []

    def tree(
        self,
        directory: list[Entry],
        leave_out: Collection[int] = (),
        pointers: Collection[int] = OF_MAIN,
    ) -> dict[int, Any]:
        """A directory by its tags: (kind, count, bytes), or a tree for a directory below it."""
        found: dict[int, Any] = {}
        for entry in reversed(directory):  # If a tag occurs twice, the first entry counts.
            if entry.tag in pointers:
                inner = self.inner(directory, entry.tag)
                if inner:
                    below = OF_DETAILS if entry.tag == DETAILS else ()
                    found[entry.tag] = self.tree(inner, pointers=below)
            elif entry.tag not in (*leave_out, *OF_MAIN, *OF_DETAILS):
                found[entry.tag] = entry.kind, entry.count, self.raw(entry)
        return found


def written(tree: dict, place: int, order: str) -> bytes:
    """The bytes of a directory, and of those below it, for a place in a file.

    Args:
        tree: from `Directories.tree`.
        place: place in the file, an even number.
        order: order of the bytes in a number, as in `struct`.

    Returns:
        Bytes of even length.
    """
    entries, behind = [], b""
    start = place + 6 + 12 * len(tree)
    for tag, value in sorted(tree.items()):
        if isinstance(value, dict):
            kind, count, content = LONG, 1, struct.pack(f"{order}I", start + len(behind))
            behind += written(value, start + len(behind), order)
        else:
            kind, count, content = value
            if len(content) > 4:
                far = struct.pack(f"{order}I", start + len(behind))
                behind += content + bytes(len(content) % 2)
                content = far
        entries.append(struct.pack(f"{order}HHI", tag, kind, count) + content.ljust(4, b"\0"))
    head = struct.pack(f"{order}H", len(entries))
    return head + b"".join(entries) + bytes(4) + behind
