"""Recognizes picture files. Guards against files that are damaged, huge or not regular."""

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

# Most pixels that a file may claim for each of its bytes. An empty black and white page has more.
# So pictures that take little memory are always allowed.
PIXELS_PER_BYTE = 2000
ALWAYS_ALLOWED = 50_000_000
# Files with these suffixes count as pictures. The beginning of all other files is read to decide.
BY_NAME = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")
SUFFIXES = (*BY_NAME, ".heic", ".heif", ".hif", ".avif", ".jxl")
# Formats of Pillow that do not hold photos, or that Pillow reads with other programs.
NO_PHOTOS = ("BUFR", "EPS", "FLI", "GRIB", "HDF5", "ICNS", "MPEG", "PDF", "WAL", "WMF", "XVTHUMB")

# Errors of decoders on damaged files. UnidentifiedImageError is an OSError, and the errors of
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
    """The `UnreadablePicture` for a file, from an error in `DAMAGE`."""
    if isinstance(error, FileNotFoundError):
        return UnreadablePicture(f"{path}: no such file")
    if isinstance(error, Image.DecompressionBombError):
        return UnreadablePicture(f"{path}: larger than max_megapixels={pixels_allowed() / 1e6:g}")
    known = not isinstance(error, UnidentifiedImageError)
    reason = first_line(error) if known else "its format is not known"
    return UnreadablePicture(f"{path}: not a readable picture ({reason})")


def limit_megapixels(limit: float) -> None:
    """Sets the largest size of pictures. Larger ones are refused before they are decoded.

    Args:
        limit: million pixels, for the whole process.
    """
    # Pillow refuses pictures above twice its limit. Above its limit, it only warns.
    Image.MAX_IMAGE_PIXELS = int(limit * 1e6 / 2)
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)


def pixels_allowed() -> int:
    """The present limit in pixels, twice the limit of Pillow."""
    return 2 * (Image.MAX_IMAGE_PIXELS or 0)


limit_megapixels(400)
pillow_heif.register_heif_opener()  # So Pillow can read HEIC.
# Pillow's warnings about metadata that it cannot read. Our own warnings name the file.
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
    """A context that turns every error in `DAMAGE` into an `UnreadablePicture` for the file.

    A file that is not regular is refused: to read a named pipe could take forever.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise UnreadablePicture(f"{path}: not a readable picture (not a regular file)")
        yield
    except DAMAGE as error:
        raise unreadable(path, error) from error


def is_picture(path: str) -> bool:
    """Whether a regular file counts as a picture, by its suffix or its first bytes.

    Raw files count if the package that reads them is installed.
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
