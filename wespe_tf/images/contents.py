"""What a photo's file holds."""

import dataclasses

import numpy as np


@dataclasses.dataclass
class Photo:
    """A photo and what its file says about it.

    Attributes:
        pixels: (H, W, 3) uint8 or uint16 array, sRGB, upright.
        alpha: (H, W) array of the same dtype, or None for an opaque photo.
        exif: EXIF block as in a JPEG file after its "Exif" mark, orientation 1; empty for none.
        xmp: XMP packet, orientation 1; empty for none.
        icc: color profile of `pixels`; empty for none, which means sRGB.
        iptc: IPTC records; empty for none.
        texts: comments and other texts by their names, as PNG has them.
        dpi: pixels per inch, across and down, or None.
        is_gray: whether its file has one channel of colors, as formats that know such files get.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    exif: bytes = b""
    xmp: bytes = b""
    icc: bytes = b""
    iptc: bytes = b""
    texts: dict[str, str] = dataclasses.field(default_factory=dict)
    dpi: tuple[float, float] | None = None
    is_gray: bool = False
