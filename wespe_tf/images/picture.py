"""Reads and writes plain pictures, as uint8 RGB arrays."""

import os
from pathlib import Path

import imageio.v3 as iio
import numpy as np

from ..files import write_atomically
from .decoding import opened, to_8_bits


def read_picture(path: str | os.PathLike) -> np.ndarray:
    """Reads a picture as 8-bit RGB, upright and in sRGB.

    Gray pictures get three equal channels. Transparency is dropped, CMYK is converted, and 16-bit
    values are rounded to 8 bits.

    Args:
        path: path of a file in any format that `images.photo.read_photo` reads.

    Returns:
        (H, W, 3) uint8 array.

    Raises:
        UnreadablePicture: if the file cannot be decoded completely.
    """
    with opened(path) as source:
        pixels, _ = source.decoded()
        return np.ascontiguousarray(to_8_bits(pixels[..., :3]))


def picture_size(path: str | os.PathLike) -> tuple[int, int]:
    """Height and width of a picture after EXIF orientation, from its header alone.

    Raises:
        UnreadablePicture: if the header cannot be read.
    """
    with opened(path) as source:
        width, height = source.size
        return (width, height) if source.orientation >= 5 else (height, width)


def to_uint8(picture: np.ndarray) -> np.ndarray:
    """Clips to [0, 1], scales to 0–255 and rounds.

    Args:
        picture: float array of any shape.

    Returns:
        uint8 array of the same shape.
    """
    return np.rint(np.clip(picture, 0.0, 1.0) * 255.0).astype(np.uint8)


def write_picture(path: str | os.PathLike, picture: np.ndarray) -> None:
    """Writes a uint8 picture, completely or not at all.

    Args:
        path: path of the file. Its suffix names the format, and its folder must exist.
        picture: (H, W, 3) uint8 array.

    Raises:
        UserError: if the file cannot be written.
    """
    path = Path(path)
    content = iio.imwrite("<bytes>", picture, plugin="pillow", extension=path.suffix)
    write_atomically(path, content)
