"""IPTC records, captions and keywords of press photos, and the Photoshop blocks around them."""

import struct

RECORDS = 0x0404


def checked(records: bytes) -> bytes:
    """Records without the zeros after them.

    Raises:
        ValueError: if they do not begin like a record.
    """
    records = records.rstrip(b"\0")
    if records and records[0] != 0x1C and len(records) % 4 == 0:
        # Many programs write records in this byte order into TIFF files.
        records = struct.pack(
            f">{len(records) // 4}I", *struct.unpack(f"<{len(records) // 4}I", records)
        )
    if records and records[0] != 0x1C:
        raise ValueError("no IPTC record")
    return records


def of_resources(content: bytes) -> bytes:
    """The records in Photoshop's blocks, or the content itself if there are no such blocks."""
    place = content.find(b"8BIM")
    while content[place : place + 4] == b"8BIM" and place + 12 <= len(content):
        number, name = struct.unpack_from(">HB", content, place + 4)
        start = place + 6 + (name + 2) // 2 * 2
        size = int.from_bytes(content[start : start + 4], "big")
        if number == RECORDS:
            return content[start + 4 : start + 4 + size]
        place = start + 4 + (size + 1) // 2 * 2
    return b"" if b"8BIM" in content else content


def as_resources(records: bytes) -> bytes:
    """Records in one of Photoshop's blocks, as JPEG and PNG files hold them."""
    return (
        struct.pack(">4sHHI", b"8BIM", RECORDS, 0, len(records)) + records + bytes(len(records) % 2)
    )
