"""The content of a picture file, as it is read and written."""

import dataclasses

import numpy as np


@dataclasses.dataclass(kw_only=True)
class Attached:
    """The metadata of a file. Those that it does not have are empty.

    Attributes:
        exif: EXIF block, without the "Exif" mark that JPEG files have before it.
        icc: color profile.
        xmp: XMP packet.
        iptc: IPTC records.
        texts: comments and other texts by name, as in PNG files.
        dpi: pixels per inch, across and down, or None.
    """

    exif: bytes = b""
    icc: bytes = b""
    xmp: bytes = b""
    iptc: bytes = b""
    texts: dict[str, str] = dataclasses.field(default_factory=dict)
    dpi: tuple[float, float] | None = None


@dataclasses.dataclass
class Photo(Attached):
    """A photo and its metadata, in which the orientation is 1.

    Attributes:
        pixels: (H, W, 3) uint8 or uint16 array, sRGB, upright. An empty `icc` means sRGB, too.
        alpha: (H, W) array of the same dtype, or None for an opaque photo.
        is_gray: whether its file has a single channel of colors. Then the result has, too, if its
            format allows it.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    is_gray: bool = False
