"""Which files are pictures, and how one is opened that may be damaged, huge or no file at all."""

import contextlib
import os
import stat
import struct
import warnings
from collections.abc import Iterator

import pillow_heif
from PIL import Image, UnidentifiedImageError

from ..errors import UserError, first_line
from . import jxl, raw

# A file may claim as many pixels for each of its bytes; an empty page in black and white has more,
# so pictures that take little memory may claim any.
PIXELS_PER_BYTE = 2000
ALWAYS_ALLOWED = 50_000_000
# What is taken for a picture by its name; files of other names are looked into.
BY_NAME = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")
SUFFIXES = (*BY_NAME, ".heic", ".heif", ".hif", ".avif", ".jxl")
# Formats of Pillow that are none of photos, or are read by other programs.
NO_PHOTOS = ("BUFR", "EPS", "FLI", "GRIB", "HDF5", "ICNS", "MPEG", "PDF", "WAL", "WMF", "XVTHUMB")

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


def unreadable(path: str | os.PathLike, error: BaseException) -> UnreadablePicture:
    """The `UnreadablePicture` that tells what one of `DAMAGE` means for the file at `path`."""
    if isinstance(error, FileNotFoundError):
        return UnreadablePicture(f"{path}: no such file")
    if isinstance(error, Image.DecompressionBombError):
        return UnreadablePicture(f"{path}: larger than max_megapixels={megapixels_allowed():g}")
    known = not isinstance(error, UnidentifiedImageError)
    reason = first_line(error) if known else "of no known format"
    return UnreadablePicture(f"{path}: not a readable picture ({reason})")


def limit_megapixels(limit: float) -> None:
    """Sets the size from which on pictures are refused before anything is decoded.

    Args:
        limit: millions of pixels; holds for the whole process.
    """
    # Pillow refuses from twice its limit on, and only warns of what is between.
    Image.MAX_IMAGE_PIXELS = int(limit * 1e6 / 2)
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)


def pixels_allowed() -> int:
    """The limit in force; Pillow refuses from twice its own on."""
    return 2 * (Image.MAX_IMAGE_PIXELS or 0)


def megapixels_allowed() -> float:
    """The same in millions."""
    return pixels_allowed() / 1e6


limit_megapixels(400)
pillow_heif.register_heif_opener()  # teaches Pillow HEIC
# Pillow's, on metadata that it cannot read: what is lost is told here, with the file's name.
for told in ("Corrupt EXIF data", "Metadata Warning", "Truncated File Read", "Image appears"):
    warnings.filterwarnings("ignore", message=told, category=UserWarning)


def check_claim(path: str | os.PathLike, width: int, height: int) -> None:
    """Refuses a header with more pixels than are allowed, or than the rest of the file can hold.

    Raises:
        ValueError, Image.DecompressionBombError: with the number of pixels.
    """
    pixels, size = width * height, os.path.getsize(path)
    if pixels > pixels_allowed():
        raise Image.DecompressionBombError(f"{pixels} pixels")
    if pixels > max(ALWAYS_ALLOWED, PIXELS_PER_BYTE * size):
        raise ValueError(f"{pixels // 10**6} megapixels cannot be in {size} bytes")


def formats() -> list[str]:
    """Names of the formats in which Pillow may open a photo."""
    Image.init()
    return [name for name in Image.ID if name not in NO_PHOTOS]


@contextlib.contextmanager
def naming(path: str | os.PathLike) -> Iterator[None]:
    """A context that tells all `DAMAGE` within it as an `UnreadablePicture`.

    It is not entered where there is no regular file: a named pipe would be waited for.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise UnreadablePicture(f"{path}: not a readable picture (no regular file)")
        yield
    except DAMAGE as error:
        raise unreadable(path, error) from error


def is_picture(path: str) -> bool:
    """Whether a regular file is to be read as a picture, by its name or by how it begins.

    Raw files are, where what reads them is installed.
    """
    if path.lower().endswith(BY_NAME):
        return True
    try:
        with open(path, "rb") as file:
            if raw.is_raw(path, file):
                return raw.can_be_read()
            file.seek(0)
            if jxl.is_jxl(file.read(12)):
                return True
        with Image.open(path, formats=formats()):
            return True
    except DAMAGE:
        return False
