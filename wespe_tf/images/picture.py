"""Picture files in and out: uint8 RGB arrays, whatever the file holds."""

import os
import struct
import warnings
from pathlib import Path

import imageio.v3 as iio
import numpy as np
from PIL import Image

from ..errors import UserError, first_line
from ..files import write_atomically

# A file may claim as many pixels for each of its bytes; an empty page in black and white has more,
# so pictures that take little memory may claim any.
PIXELS_PER_BYTE = 2000
ALWAYS_ALLOWED = 50_000_000
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")

# What decoders raise on damaged files: UnidentifiedImageError is an OSError, and the errors of
# imagecodecs are RuntimeErrors.
DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    EOFError,
    RuntimeError,
    MemoryError,
    struct.error,
    Image.DecompressionBombError,
)


class UnreadablePicture(UserError):
    """A file that is not a whole, readable picture."""


def read_picture(path):
    """Reads a picture as 8-bit RGB, turned upright by its EXIF orientation.

    Grey pictures get three equal channels, transparency is dropped, CMYK is converted, 16-bit
    values are rounded to 8.

    Args:
        path: of a file in any format that Pillow reads.

    Returns:
        (H, W, 3) uint8 array.

    Raises:
        UnreadablePicture: naming the file, if it cannot be decoded to its end.
    """
    picture_size(path)  # refuses what claims too much
    try:
        with iio.imopen(path, "r", plugin="pillow") as file:
            mode = file.metadata(index=0)["mode"]
            if mode.startswith(("I", "F")):
                return _from_wide_gray(file.read(index=0, rotate=True))
            # Converting RGB to RGB would only cost a copy.
            return file.read(index=0, mode=None if mode == "RGB" else "RGB", rotate=True)
    except DAMAGE as error:
        raise unreadable(path, error) from error


def unreadable(path, error):
    """The `UnreadablePicture` that tells what one of `DAMAGE` means for the file at `path`."""
    if isinstance(error, FileNotFoundError):
        return UnreadablePicture(f"{path}: no such file")
    if isinstance(error, Image.DecompressionBombError):
        return UnreadablePicture(f"{path}: larger than max_megapixels={megapixels_allowed():g}")
    return UnreadablePicture(f"{path}: not a readable picture ({first_line(error)})")


def limit_megapixels(limit):
    """Sets the size from which on pictures are refused before anything is decoded.

    Args:
        limit: millions of pixels; holds for the whole process.
    """
    # Pillow refuses from twice its limit on, and only warns of what is between.
    Image.MAX_IMAGE_PIXELS = int(limit * 1e6 / 2)
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)


def megapixels_allowed():
    """The limit in force."""
    return 2 * Image.MAX_IMAGE_PIXELS / 1e6


limit_megapixels(400)


def _from_wide_gray(picture):
    """16-bit grey (as uint16 or int32), or float grey in [0, 1], to 8-bit RGB."""
    scale = 255.0 if picture.dtype.kind == "f" else 255.0 / 65535.0
    eight = to_uint8(picture * (scale / 255.0))
    return np.repeat(eight[..., None], 3, axis=-1)


def picture_size(path):
    """Height and width of a picture after EXIF orientation, from its header alone.

    Raises:
        UnreadablePicture: naming the file, if there is no such header.
    """
    try:
        with Image.open(path) as picture:
            check_claim(path, picture)
            width, height = picture.size
            turned = picture.getexif().get(0x0112, 1) >= 5
    except DAMAGE as error:
        raise unreadable(path, error) from error
    return (width, height) if turned else (height, width)


def check_claim(path, picture):
    """Refuses a header with more pixels than the rest of the file can hold.

    Args:
        path: of the file.
        picture: Pillow's, opened and not yet decoded.

    Raises:
        ValueError: with the number of pixels.
    """
    pixels, size = picture.width * picture.height, os.path.getsize(path)
    if pixels > max(ALWAYS_ALLOWED, PIXELS_PER_BYTE * size):
        raise ValueError(f"{pixels // 10**6} megapixels cannot be in {size} bytes")


def to_uint8(picture):
    """Clips to [0, 1], scales to 0–255 and rounds.

    Args:
        picture: float array in [0, 1], any shape.

    Returns:
        uint8 array of the same shape.
    """
    return np.rint(np.clip(picture, 0.0, 1.0) * 255.0).astype(np.uint8)


def write_picture(path, picture):
    """Writes a uint8 picture so that either the whole file is there or none.

    Args:
        path: whose suffix names the format; folders above it must exist.
        picture: (H, W, 3) uint8 array.

    Raises:
        UserError: naming the file, if it cannot be written.
    """
    path = Path(path)
    write_atomically(path, iio.imwrite("<bytes>", picture, extension=path.suffix))
