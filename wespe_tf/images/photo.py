"""Reads and writes photos with all that an enhanced photo should keep.

16 bits, transparency, EXIF, XMP, IPTC, comments, resolution and the color profile are copied from
the input file to the output file, if its format has room for them.
"""

import dataclasses
import io
import logging
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..errors import UserError, first_line
from ..files import write_atomically
from . import exif, jpeg, jxl, png, tiff, xmp
from .contents import Photo
from .decoding import opened, to_8_bits

log = logging.getLogger("wespe_tf")

FORMATS = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
    ".heic": "HEIF",
    ".heif": "HEIF",
    ".hif": "HEIF",
    ".avif": "AVIF",
    ".jxl": "JXL",
}
LOSSLESS = ("PNG", "TIFF")  # To all others, `quality` applies.
# An encoder's option for color differences, the value that keeps one for each pixel, and the value
# that keeps one for four pixels.
CHROMA: dict[str, tuple[str, Any, Any]] = {
    "JPEG": ("subsampling", 0, 2),
    "HEIF": ("chroma", 444, 420),
    "AVIF": ("subsampling", "4:4:4", "4:2:0"),
}
FINE_CHROMA = 90  # The lowest quality with a color difference for each pixel.
# Errors of encoders, for instance if a side is too long for WebP, or the memory too small.
REFUSALS = (OSError, ValueError, ArithmeticError, RuntimeError, MemoryError, struct.error)


def read_photo(path: str | os.PathLike) -> Photo:
    """Reads a photo with everything that `Photo` holds.

    The EXIF orientation is applied, and colors of another profile are converted to sRGB. Gray and
    palettes become RGB. Broken metadata are left out, with a warning that names the file. If a file
    holds several pictures of one photo, for instance a gain map, the main one is read, and a line
    says so.

    Args:
        path: path of a JPEG, PNG, TIFF, WebP, HEIC, AVIF or JPEG XL file, of a raw file, or of
            another file that Pillow reads.

    Raises:
        UnreadablePicture: if the file is not a picture, is damaged, is larger than
            `limit_megapixels` allows, or holds several pictures.
    """
    with opened(path) as source:
        found = source.metadata
        pixels, icc = source.decoded()
    if found.broken:
        log.warning("warning: %s: left out %s: cannot be read", path, ", ".join(found.broken))
    if found.beside:
        log.warning("%s: the main picture is read, not its %s", path, " and ".join(found.beside))
    height, width = pixels.shape[:2]
    # A copy, because a view would keep all four channels in memory.
    alpha = np.ascontiguousarray(pixels[..., 3]) if pixels.shape[-1] == 4 else None
    return Photo(
        np.ascontiguousarray(pixels[..., :3]),
        alpha,
        source.is_gray,
        exif=exif.made_true(found.exif, width, height),
        xmp=xmp.made_true(found.xmp, width, height),
        icc=icc,
        iptc=found.iptc,
        texts=found.texts,
        dpi=found.dpi,
    )


def pixel_bytes(path: str | os.PathLike) -> int:
    """Bytes of the pixels and the alpha that `read_photo` returns, from the header alone.

    Raises:
        UnreadablePicture: if the header cannot be read.
    """
    with opened(path) as source:
        width, height = source.size
        bytes_of_pixel = (4 if source.has_alpha else 3) * (2 if source.has_16_bits else 1)
        return bytes_of_pixel * width * height


def write_photo(path: str | os.PathLike, photo: Photo, quality: int = 95) -> None:
    """Writes a photo, completely or not at all.

    PNG and TIFF keep 16 bits, other formats get 8. JPEG keeps no alpha. Metadata for which a format
    has no room are left out. A warning names metadata that are too long for the format.

    Args:
        path: path of the file. Its suffix names the format, one of `FORMATS`.
        photo: `Photo`.
        quality: quality of all formats except PNG and TIFF, 1 to 100.

    Raises:
        UserError: if the format is not in `FORMATS`, or the file cannot be written.
    """
    path = Path(path)
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise UserError(f"{path}: expected one of the formats {', '.join(FORMATS)}")
    if kind not in LOSSLESS:  # JPEG XL's encoder would take 16 bits for linear light.
        alpha = None if photo.alpha is None else to_8_bits(photo.alpha)
        photo = dataclasses.replace(photo, pixels=to_8_bits(photo.pixels), alpha=alpha)
    if photo.is_gray:
        photo = dataclasses.replace(photo, icc=b"")  # A profile of RGB does not fit gray.
    try:
        parts, lost = _encoded(photo, kind, quality)
    except REFUSALS as error:
        raise UserError(f"{path}: cannot be written ({first_line(error)})") from error
    write_atomically(path, *parts)
    if lost:
        log.warning("warning: %s: left out %s: too long for its format", path, ", ".join(lost))


def _encoded(photo: Photo, kind: str, quality: int) -> tuple[list, list[str]]:
    """The parts of a file, and names of the metadata that are too long for it."""
    if kind == "PNG":
        return list(png.write(_all_channels(photo), photo)), []
    if kind == "TIFF":
        return tiff.write(_all_channels(photo), photo), []
    if kind == "JXL":
        return jxl.write(_all_channels(photo), photo, quality), []
    options: dict[str, Any] = {"quality": quality}
    if kind in CHROMA:
        option, each, shared = CHROMA[kind]
        options[option] = each if quality >= FINE_CHROMA else shared
    if kind != "JPEG":
        # If the block has an orientation, Pillow writes all of it anew for AVIF. Then values move,
        # and makers' notes point to wrong places.
        block = exif.without_orientation(photo.exif) if kind == "AVIF" else photo.exif
        texts = {"exif": block, "xmp": photo.xmp}
        return [_by_pillow(_all_channels(photo), kind, photo, **options, **texts)], []
    if photo.dpi:
        options["dpi"] = tuple(min(round(side), 65535) for side in photo.dpi)
    photo = dataclasses.replace(photo, alpha=None)
    return jpeg.with_metadata(_by_pillow(_all_channels(photo), kind, photo, **options), photo)


def _by_pillow(pixels: np.ndarray, kind: str, photo: Photo, **options: Any) -> bytes:
    """The content of a file with pixels, profile and those options that are not empty."""
    options = {key: value for key, value in options.items() if value != b""}
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, icc_profile=photo.icc or None, **options)
    return file.getvalue()


def _all_channels(photo: Photo) -> np.ndarray:
    """All channels in one array, (H, W) if there is only gray, else (H, W, 2 to 4)."""
    colors = photo.pixels[..., 1:2] if photo.is_gray else photo.pixels
    if photo.alpha is not None:
        return np.concatenate([colors, photo.alpha[..., None]], axis=-1)
    return np.ascontiguousarray(colors[..., 0]) if photo.is_gray else colors
