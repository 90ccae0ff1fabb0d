"""XMP packets, adapted to what is written: a single picture, upright."""

import re

# Namespaces that describe other parts of the file, such as the film of a motion photo. These parts
# are not written. If a line should tell the user about such a part, its name is given.
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
# In these namespaces, only these names describe other parts, such as the rest of a long packet.
GONE_NAMES = {
    "http://ns.google.com/photos/1.0/camera/": rb"(?:MotionPhoto|MicroVideo)\w*",
    "http://ns.adobe.com/xmp/note/": rb"HasExtendedXMP",
}
# The name of sRGB in `photoshop:ICCProfile`.
SRGB = rb"sRGB IEC61966-2.1"


def checked(packet: bytes | str) -> bytes:
    """A packet as bytes.

    Raises:
        ValueError: if it is not UTF-8, or not XML.
    """
    packet = packet.encode("utf-8", "surrogateescape") if isinstance(packet, str) else packet
    packet = packet.rstrip(b"\0")
    packet.decode("utf-8")
    if packet and not packet.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<"):
        raise ValueError("no XML")
    return packet


def beside(packet: bytes) -> list[str]:
    """Names of other parts of the file that a packet describes: a gain map, a depth map."""
    return [name for space, name in GONE.items() if name and space.encode() in packet]


def made_true(packet: bytes, width: int, height: int) -> bytes:
    """Adapts a packet to a photo of this size in pixels, upright, in sRGB.

    Descriptions of parts that are not written are taken out. Nothing else changes.
    """
    for prefix, space in re.findall(rb"xmlns:([\w.-]+)\s*=\s*[\"']([^\"'<>]*)[\"']", packet):
        uri = space.decode("utf-8", "replace")
        names = rb"[\w.-]+" if uri in GONE else GONE_NAMES.get(uri)
        if names:
            packet = _without(packet, re.escape(prefix) + rb":" + names)
    numbers = {
        **{b"tiff:Orientation": 1, b"tiff:ImageWidth": width, b"tiff:ImageLength": height},
        **{b"exif:PixelXDimension": width, b"exif:PixelYDimension": height},
        b"exif:ColorSpace": 1,
    }
    for name, number in numbers.items():
        found = rb"(\b" + name + rb"(?:\s*=\s*[\"']|>)\s*)-?\d+"
        packet = re.sub(found, rb"\g<1>%d" % number, packet)
    packet = re.sub(rb"(<photoshop:ICCProfile>)[^<]*", rb"\g<1>" + SRGB, packet)
    attribute = rb"(\bphotoshop:ICCProfile\s*=\s*)([\"'])[^<]*?\2"
    return re.sub(attribute, rb"\g<1>\g<2>" + SRGB + rb"\g<2>", packet)


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
