"""TIFF files: finds the page with the photo, reads pixels of any depth, and writes files."""

import io
import logging
import os
import struct
from typing import Any, BinaryIO, Literal

import numpy as np
import tifffile

from . import exif
from .contents import Photo
from .directories import Directories, Entry
from .opening import UnreadablePicture

logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # Its warnings do not help users.

XMP, ICC, IPTC = 700, 34675, 33723
# Kinds of colors whose pixels are read at any depth: white is 0, black is 0, RGB.
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB = 0, 1, 2
CHANNELS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3}
STRAIGHT_ALPHA, PREMULTIPLIED_ALPHA = 2, 1
ANOTHER_SIZE, A_MASK = 1, 4
UNSIGNED, SIGNED, FLOAT = 1, 2, 3


class Page:
    """The page of a TIFF file that is the photo.

    Args:
        path: path of the file.
        file: the file, open.

    Attributes:
        directories: `Directories` of the file.
        directory: directory of the page.
        index: number of the page in the file.
        size: (width, height) as stored.
        bits: bits of a number, the most of all channels.
        colors: code for the meaning of the channels, or None.
        by_tifffile: whether tifffile must read the pixels, because Pillow would lose something.

    Raises:
        ValueError: if it is not a TIFF file.
        UnreadablePicture: if it has several photos.
    """

    def __init__(self, path: str | os.PathLike, file: BinaryIO):
        self.path = path
        self.directories = Directories(file)
        chain = self.directories.chain
        pages = [k for k, page in enumerate(chain) if not self._is_beside(page)] or [0]
        if len(pages) > 1:
            raise UnreadablePicture(f"{path}: holds {len(pages)} pictures, expected one")
        self.index = pages[0]
        self.directory = chain[self.index]
        self.size = int(self.number(256, 0)), int(self.number(257, 0))
        bits = self.numbers(258, [1])
        self.bits = int(max(bits))
        self.colors = self.number(262, None)
        kinds = set(self.numbers(339, [UNSIGNED]))
        self.kind = kinds.pop() if len(kinds) == 1 else 0
        usual = bits == [1] or set(bits) == {8}
        self.by_tifffile = self.bits > 8 or (
            self.colors in CHANNELS and (not usual or self.kind in (SIGNED, FLOAT))
        )

    def _is_beside(self, page: list[Entry]) -> bool:
        """Whether a page is a smaller copy of the photo, or a mask that says where it is opaque."""
        number = self.directories.number
        return (
            bool(int(number(page, 254, 0)) & (ANOTHER_SIZE | A_MASK)) or number(page, 255, 1) == 2
        )

    def number(self, tag: int, otherwise: Any) -> Any:
        """The first number of a tag of the page."""
        return self.directories.number(self.directory, tag, otherwise)

    def numbers(self, tag: int, otherwise: list) -> list:
        """The numbers of a tag of the page."""
        entry = self.directories.find(self.directory, tag)
        return (self.directories.numbers(entry) if entry else []) or otherwise

    def raw(self, tag: int) -> bytes:
        """The bytes of a tag of the page; empty if there is none."""
        return self.directories.bytes_of(self.directory, tag)

    @property
    def has_alpha(self) -> bool:
        """Whether the channel after the colors says how opaque they are."""
        return self.numbers(338, [0])[0] in (STRAIGHT_ALPHA, PREMULTIPLIED_ALPHA)

    def pixels(self) -> np.ndarray:
        """(H, W, 1 to 4) uint8 or uint16 pixels as stored: gray or RGB, and alpha.

        Raises:
            UnreadablePicture: if they are of another kind.
            ValueError: if the file ends before them.
        """
        with tifffile.TiffFile(self.path) as file:
            page = file.pages[self.index].aspage()
            if self.colors not in CHANNELS or page.dtype is None or page.dtype.kind not in "uif":
                kind = f"{page.dtype} {getattr(page.photometric, 'name', page.photometric)}"
                raise UnreadablePicture(f"{self.path}: holds {kind}, expected RGB or gray")
            ends = (a + b for a, b in zip(page.dataoffsets, page.databytecounts))
            if max(ends, default=0) > self.directories.length:
                raise ValueError("the file ends before its pixels")
            pixels = page.asarray()
            if page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and pixels.ndim == 3:
                pixels = np.moveaxis(pixels, 0, -1)
        pixels = full_range(pixels.reshape(*pixels.shape[:2], -1), self.bits)
        count = CHANNELS[self.colors]
        if self.colors == WHITE_IS_ZERO:
            pixels[..., 0] = np.iinfo(pixels.dtype).max - pixels[..., 0]
        if not self.has_alpha:
            return pixels[..., :count]  # Other channels do not belong to the photo.
        pixels = pixels[..., : count + 1]
        is_straight = self.numbers(338, [0])[0] == STRAIGHT_ALPHA
        return pixels if is_straight else _unpremultiplied(pixels)


def full_range(pixels: np.ndarray, bits: int) -> np.ndarray:
    """Integers of any depth, or floats in [0, 1], scaled to the full range of uint8 or uint16."""
    if pixels.dtype.kind == "u" and bits in (8, 16):
        return pixels
    dtype = np.uint8 if bits <= 8 else np.uint16
    full = np.empty(pixels.shape, dtype)
    white = {"f": 1, "i": 2 ** (bits - 1) - 1, "u": 2**bits - 1}[pixels.dtype.kind]
    for top in range(0, len(pixels), 64):  # In bands, because float64 takes more memory.
        band = np.nan_to_num(pixels[top : top + 64].astype(np.float64)) / white
        full[top : top + 64] = np.rint(np.clip(band, 0, 1) * np.iinfo(dtype).max)
    return full


def _unpremultiplied(pixels: np.ndarray) -> np.ndarray:
    """Divides colors by alpha, the last channel, if they were multiplied by it."""
    white = np.iinfo(pixels.dtype).max
    colors, alpha = pixels[..., :-1].astype(np.float32), pixels[..., -1:]
    colors = np.minimum(np.rint(colors * (white / np.maximum(alpha, 1))), white)
    return np.concatenate([colors.astype(pixels.dtype), alpha], axis=-1)


def write(pixels: np.ndarray, photo: Photo) -> list[bytes]:
    """The parts of a file. Pillow cannot write 16 bits of color, and fails on EXIF directories.

    Args:
        pixels: (H, W) or (H, W, 2 to 4) uint8 or uint16 array.
        photo: `Photo` with the metadata.
    """
    order: Literal[">", "<"] = ">" if photo.exif[:2] == b"MM" else "<"
    file = io.BytesIO()
    tifffile.imwrite(
        file,
        pixels,
        bigtiff=False,
        byteorder=order,
        photometric="minisblack" if photo.is_gray else "rgb",
        planarconfig="contig",
        extrasamples=None if photo.alpha is None else ["unassalpha"],
        compression="zlib",
        software=False,
        metadata=None,
    )
    directories = Directories(file)
    of_resolution = (exif.X_RESOLUTION, exif.Y_RESOLUTION, exif.RESOLUTION_UNIT)
    tree = directories.tree(directories.chain[0], of_resolution)
    if photo.dpi:
        tree |= exif.resolution(photo.dpi, order)
    if photo.exif:
        block = Directories(photo.exif)
        tree |= block.tree(block.chain[0], exif.OF_PIXELS)
    for tag, kind, content in ((XMP, 1, photo.xmp), (ICC, 7, photo.icc), (IPTC, 7, photo.iptc)):
        if content:
            tree[tag] = kind, len(content), content
    # The complete directory goes to the end. The one that tifffile wrote stays, but is not used.
    place = file.seek(0, io.SEEK_END) + file.tell() % 2
    file.seek(place)
    file.write(exif.written(tree, place, order))
    file.seek(4)
    file.write(struct.pack(f"{order}I", place))
    return [file.getvalue()]
