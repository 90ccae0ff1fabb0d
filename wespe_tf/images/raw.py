"""Raw files of cameras: recognizes them, and develops them with LibRaw.

LibRaw comes with the package rawpy, the extra `raw`. Without it, only a thumbnail could be read, so
raw files are refused.
"""

import importlib.util
import io
import os
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from PIL import Image

from ..errors import first_line, optional
from .directories import Directories

if TYPE_CHECKING:
    import rawpy

# First bytes of raw files that are not TIFF files: Fujifilm's, Olympus', Panasonic's, Minolta's,
# Sigma's, Canon's oldest. Canon's newest are recognized by the bytes after the first four.
MARKS = (
    *(b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"\0MRM", b"FOVb"),
    b"II\x1a\0\0\0HEAPCCDR",
)
CANONS_NEWEST = b"ftypcrx "
OF_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# A TIFF file with one of these suffixes is raw, even if it does not mention a sensor.
SUFFIXES = (
    *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".iiq", ".kdc"),
    *(".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl"),
    *(".sr2", ".srf", ".srw", ".x3f"),
)
SUB_DIRECTORIES, COLORS, DNG_VERSION = 330, 262, 50706
# Color codes for data of a sensor: behind a color filter array, and linear.
OF_SENSORS = (32803, 34892)
# LibRaw's turns as EXIF orientations.
ORIENTATIONS = {0: 1, 3: 3, 5: 8, 6: 6}


def is_raw(path: str | os.PathLike, file: BinaryIO) -> bool:
    """Whether an open file is a raw file of a camera, by its content or, for TIFF, its suffix."""
    file.seek(0)
    head = file.read(16)
    if head.startswith(MARKS) or head[4:12] == CANONS_NEWEST:
        return True
    if not head.startswith(OF_TIFF):
        return False
    if head[8:10] == b"CR" or os.fspath(path).lower().endswith(SUFFIXES):
        return True
    try:
        found = Directories(file)
    except ValueError:
        return False
    main = found.chain[0]
    entry = found.find(main, SUB_DIRECTORIES)
    inner = [found.directory(int(start))[0] for start in found.numbers(entry)] if entry else []
    colors = [found.number(page, COLORS, 0) for page in (*found.chain, *inner)]
    return bool(found.find(main, DNG_VERSION)) or any(color in OF_SENSORS for color in colors)


def can_be_read() -> bool:
    """Whether the package that reads raw files is installed."""
    return importlib.util.find_spec("rawpy") is not None


def opened(path: str | os.PathLike) -> "rawpy.RawPy":
    """A context that opens a raw file and reads its header only.

    Raises:
        UserError: if rawpy is missing. The message has the command that installs it.
        ValueError: if the file cannot be read.
    """
    with optional("raw", "a camera's raw file"):
        import rawpy
    return _done(rawpy.imread, os.fspath(path))


def size_and_orientation(raw: "rawpy.RawPy") -> tuple[tuple[int, int], int]:
    """(width, height) of the photo before it is turned, and its EXIF orientation."""
    sizes = raw.sizes
    return (sizes.width, sizes.height), ORIENTATIONS.get(sizes.flip, 1)


def developed(raw: "rawpy.RawPy") -> np.ndarray:
    """(H, W, 3) uint16 pixels in sRGB, not turned, with the camera's white balance.

    LibRaw makes them so bright that one pixel of a hundred is white.

    Raises:
        ValueError: if they cannot be read, if the size differs from the header's, or if LibRaw
            misunderstands them, as with film scanners.
    """
    (width, height), _ = size_and_orientation(raw)
    if np.median(_done(lambda: raw.raw_image)) > raw.white_level:
        raise ValueError("raw: LibRaw cannot develop this kind of file")
    curve = 2.4, 12.92  # The curve of sRGB; LibRaw's default is that of television.
    pixels = _done(raw.postprocess, use_camera_wb=True, output_bps=16, gamma=curve, user_flip=0)
    if pixels.shape != (height, width, 3):
        raise ValueError(f"{pixels.shape[1]}×{pixels.shape[0]} pixels, expected {width}×{height}")
    return pixels


def exif_of_preview(raw: "rawpy.RawPy") -> bytes:
    """The EXIF block of the JPEG preview in a raw file; empty if there is none."""
    try:
        preview = _done(raw.extract_thumb).data
    except ValueError:
        return b""
    if not isinstance(preview, bytes):
        return b""
    with Image.open(io.BytesIO(preview), formats=["JPEG"]) as picture:
        return picture.info.get("exif", b"")


def _done(call: Any, *arguments: Any, **options: Any) -> Any:
    """Calls LibRaw. Its errors become `ValueError`."""
    import rawpy

    try:
        return call(*arguments, **options)
    except rawpy.LibRawError as error:
        reason = first_line(error)
        raise ValueError(f"raw: {reason[2:-1] if reason.startswith('b') else reason}") from error
