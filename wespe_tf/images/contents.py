"""What is read from a picture file, and written into one."""

import dataclasses

import numpy as np


@dataclasses.dataclass(kw_only=True)
class Attached:
    """What a file says besides its pixels; empty for what it does not say.

    Attributes:
        exif: EXIF block as in a JPEG file after its "Exif" mark.
        icc: color profile.
        xmp: XMP packet.
        iptc: IPTC records.
        texts: comments and other texts by their names, as PNG has them.
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
    """A photo and what its file says besides; there, too, its orientation is 1.

    Attributes:
        pixels: (H, W, 3) uint8 or uint16 array, sRGB, upright; no `icc` means sRGB, too.
        alpha: (H, W) array of the same dtype, or None for an opaque photo.
        is_gray: whether its file has one channel of colors, as formats that know such files get.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    is_gray: bool = False
