"""Cameras' raw files: which files are some, and how LibRaw develops them.

LibRaw comes with the package rawpy, the extra `raw`. What such a file shows without it is only a
thumbnail, so that it is refused then.
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

# How raw files begin that are no TIFF files: Fujifilm's, Olympus', Panasonic's, Minolta's, Sigma's,
# Canon's oldest. Canon's newest are told by what follows their first four bytes.
MARKS = (
    *(b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"\0MRM", b"FOVb"),
    b"II\x1a\0\0\0HEAPCCDR",
)
CANONS_NEWEST = b"ftypcrx "
OF_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# A TIFF file that says nothing of a sensor is raw by its name.
SUFFIXES = (
    *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".iiq", ".kdc"),
    *(".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl"),
    *(".sr2", ".srf", ".srw", ".x3f"),
)
SUB_DIRECTORIES, COLORS, DNG_VERSION = 330, 262, 50706
# Colors of what a sensor has seen: of a color filter array, and linear ones.
OF_SENSORS = (32803, 34892)
# LibRaw's turns as EXIF orientations.
ORIENTATIONS = {0: 1, 3: 3, 5: 8, 6: 6}


def is_raw(path: str | os.PathLike, file: BinaryIO) -> bool:
    """Whether an open file is a camera's raw one, by what it holds."""
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
    """A raw file of which nothing but the header has been read; a context.

    Raises:
        UserError: with the command that installs what reads it, where that is missing.
        ValueError: if it cannot be read.
    """
    with optional("raw", "a camera's raw file"):
        import rawpy
    return _done(rawpy.imread, os.fspath(path))


def size_and_orientation(raw: "rawpy.RawPy") -> tuple[tuple[int, int], int]:
    """(width, height) of the photo before it is turned, and its EXIF orientation."""
    sizes = raw.sizes
    return (sizes.width, sizes.height), ORIENTATIONS.get(sizes.flip, 1)


def developed(raw: "rawpy.RawPy") -> np.ndarray:
    """(H, W, 3) uint16 pixels, not turned: white as the camera measured it, sRGB.

    They are as bright as LibRaw makes them: one pixel of a hundred is white.

    Raises:
        ValueError: if they cannot be read, are not as many as the header says, or LibRaw
            misunderstands them, as it does those of film scanners.
    """
    (width, height), _ = size_and_orientation(raw)
    if np.median(_done(lambda: raw.raw_image)) > raw.white_level:
        raise ValueError("raw: of a kind that LibRaw does not develop")
    curve = 2.4, 12.92  # sRGB's; LibRaw's own is that of television.
    pixels = _done(raw.postprocess, use_camera_wb=True, output_bps=16, gamma=curve, user_flip=0)
    if pixels.shape != (height, width, 3):
        raise ValueError(f"{pixels.shape[1]}×{pixels.shape[0]} pixels, expected {width}×{height}")
    return pixels


def exif_of_preview(raw: "rawpy.RawPy") -> bytes:
    """The EXIF block of the JPEG file that lies in a raw one; empty where there is none."""
    try:
        preview = _done(raw.extract_thumb).data
    except ValueError:
        return b""
    if not isinstance(preview, bytes):
        return b""
    with Image.open(io.BytesIO(preview), formats=["JPEG"]) as picture:
        return picture.info.get("exif", b"")


def _done(call: Any, *arguments: Any, **options: Any) -> Any:
    """What a call of LibRaw returns; its errors are `ValueError`."""
    import rawpy

    try:
        return call(*arguments, **options)
    except rawpy.LibRawError as error:
        reason = first_line(error)
        raise ValueError(f"raw: {reason[2:-1] if reason.startswith('b') else reason}") from error
