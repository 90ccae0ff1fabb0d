"""XMP packets, made true of what is written: upright, and one picture only."""

import re

# Namespaces whose claims are of what lies beside the picture in its file, such as the film of a
# motion photo or the rest of a packet that was too long; and what that is, where it is worth a
# word. None of it is written.
GONE = {
    "http://ns.adobe.com/hdr-gain-map/1.0/": "gain map",
    "http://ns.apple.com/HDRGainMap/1.0/": "gain map",
    "http://ns.apple.com/pixeldatainfo/1.0/": "",
    "http://ns.google.com/photos/1.0/container/": "",
    "http://ns.google.com/photos/1.0/container/item/": "",
    "http://ns.google.com/photos/1.0/depthmap/": "depth map",
    "http://ns.google.com/photos/1.0/image/": "",
    "http://ns.google.com/photos/1.0/audio/": "",
    "http://ns.google.com/photos/dd/1.0/device/": "depth map",
}
# Of these only some names are.
GONE_NAMES = {
    "http://ns.google.com/photos/1.0/camera/": rb"(?:MotionPhoto|MicroVideo)\w*",
    "http://ns.adobe.com/xmp/note/": rb"HasExtendedXMP",
}


def checked(packet: bytes | str) -> bytes:
    """A packet as bytes.

    Raises:
        ValueError: if it is broken: not in UTF-8, or no XML.
    """
    packet = packet.encode("utf-8", "surrogateescape") if isinstance(packet, str) else packet
    packet = packet.rstrip(b"\0")
    packet.decode("utf-8")
    if packet and not packet.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<"):
        raise ValueError("no XML")
    return packet


def beside(packet: bytes) -> list[str]:
    """What a packet says that lies beside the picture: a gain map, a depth map."""
    return [name for space, name in GONE.items() if name and space.encode() in packet]


def made_true(packet: bytes) -> bytes:
    """A packet with orientation 1, and without claims of what is not in the file."""
    for prefix, space in re.findall(rb"xmlns:([\w.-]+)\s*=\s*[\"']([^\"'<>]*)[\"']", packet):
        uri = space.decode("utf-8", "replace")
        names = rb"[\w.-]+" if uri in GONE else GONE_NAMES.get(uri)
        if names:
            packet = _without(packet, re.escape(prefix) + rb":" + names)
    return re.sub(rb"(tiff:Orientation(?:\s*=\s*[\"']|>)\s*)\d", rb"\g<1>1", packet)


def _without(packet: bytes, name: bytes) -> bytes:
    """A packet without the attributes and elements whose names fit a pattern."""
    packet = re.sub(rb"\s" + name + rb"\s*=\s*(?:\"[^\"<]*\"|'[^'<]*')", b"", packet)
    packet = re.sub(rb"<" + name + rb"(?:\s[^<>]*)?/>", b"", packet)
    parts, place = [], 0
    for start in re.finditer(rb"<(" + name + rb")(?:\s[^<>]*)?>", packet):
        end = re.compile(rb"</" + re.escape(start[1]) + rb"\s*>").search(packet, start.end())
        if start.start() >= place and end:
            parts.append(packet[place : start.start()])
            place = end.end()
    return b"".join(parts) + packet[place:]
