"""Reads every picture file: pixels are upright, in sRGB, in 8 or 16 bits.

Pictures for training, for scores and for enhancing are all read here.
"""

import contextlib
import io
import os
from collections.abc import Iterator
from typing import BinaryIO

import imagecodecs
import numpy as np
from PIL import Image

from ..errors import UserError
from . import exif, jpeg, jxl, png, raw
from .directories import Directories
from .metadata import Metadata, of_pillow
from .opening import DAMAGE, UnreadablePicture, check_claim, formats, naming
from .profiles import ADOBE_RGB, SRGB, converted
from .tiff import ICC, IPTC, XMP, Page, full_range

# Formats in which several pictures may belong to one photo: a phone's JPEG may have a smaller one
# after the photo, and HEIC files name the main one.
SEVERAL_PICTURES_ARE_ONE = ("MPO", "HEIF")
# Orientations that undo another one. All others undo themselves.
BACK = {6: 8, 8: 6}
# Pillow's names for the first band of gray pictures.
GRAY = ("1", "L", "I", "F")


class Source:
    """An opened picture file. Only its header has been read.

    Args:
        path: path of the file.
        file: the file, open.

    Attributes:
        size: (width, height) as stored.
        has_16_bits: whether its pixels are read in 16 bits.
        has_alpha: whether it has transparency.
        is_gray: whether it has no colors; known after it was decoded.
        metadata: `Metadata`.
        orientation: EXIF orientation, 1 to 8.

    Raises:
        UnreadablePicture: if it holds several pictures.
    """

    is_gray = False

    def __init__(self, path: str | os.PathLike, file: BinaryIO):
        self.path, self.file = path, file
        self.of_bare: Metadata | None = None
        self.picture = self._opened()
        self.size = self.picture.size
        frames = getattr(self.picture, "n_frames", 1)
        if frames > 1 and self.picture.format not in SEVERAL_PICTURES_ARE_ONE:
            raise UnreadablePicture(f"{path}: holds {frames} pictures, expected one")
        self.by_libpng, self.has_16_bits = False, self.picture.mode.startswith(("I", "F"))
        self.has_alpha = _has_alpha(self.picture)
        if self.picture.format == "PNG":
            bits, colors = png.header(file)
            self.has_16_bits = bits == 16
            # Pillow reads 16 bits only in gray, and loses transparency in gray with few bits.
            self.by_libpng = bits == 16 or colors == 0 and self.has_alpha
            self._take(png.metadata_behind(file))
        self.metadata = self.of_bare or of_pillow(self.picture)
        self.orientation = exif.orientation(self.metadata.exif)

    def _opened(self) -> Image.Image:
        """Opens the file with Pillow. If broken metadata prevent this, opens it without them."""
        try:
            self.file.seek(0)
            return Image.open(self.file, formats=formats())
        except DAMAGE as error:
            return self._bare(error)

    def _take(self, behind: bytes) -> None:
        """Adds the metadata of `png.metadata_behind`, as Pillow does when it decodes the pixels."""
        if behind:
            try:
                with Image.open(io.BytesIO(behind), formats=["PNG"]) as found:
                    self.picture.info |= found.info
            except DAMAGE as error:
                self.picture = self._bare(error)

    def _load(self) -> None:
        """Decodes the pixels. If broken metadata prevent this, decodes the file without them."""
        try:
            self.picture.load()
        except DAMAGE as error:
            self.picture = self._bare(error)
            self.picture.load()

    def _bare(self, error: BaseException) -> Image.Image:
        """Opens the picture without its metadata. Raises `error` if they are not to blame."""
        self.file.seek(0)
        content = self.file.read()
        strip = {png.SIGNATURE[:2]: png.bare, b"\xff\xd8": jpeg.bare}.get(content[:2])
        if strip is None:
            raise error
        bare = strip(content)
        if bare == content:
            raise error
        picture = Image.open(io.BytesIO(bare))
        self.of_bare = Metadata(broken=["metadata"])
        return picture

    @property
    def icc(self) -> bytes:
        """The color profile that the file or its EXIF names; empty if there is none."""
        is_adobe = not self.metadata.icc and exif.is_adobe_rgb(self.metadata.exif)
        return ADOBE_RGB if is_adobe else self.metadata.icc

    def decoded(self) -> tuple[np.ndarray, bytes]:
        """(H, W, 3 or 4) uint8 or uint16 pixels, upright, in sRGB; and the profile to write.

        A profile that does not fit the pixels is dropped.
        """
        pixels, icc, self.is_gray = self._stored()
        pixels = turned(pixels, self.orientation)
        if not icc:
            return pixels, b""
        colors = pixels[..., :3]
        found = converted(colors[..., 0], icc, "GRAY") if self.is_gray else None
        if found is not None:
            found = np.repeat(found[..., 1:2], 3, axis=-1)  # Exactly gray.
        else:
            found = converted(colors, icc, "RGB")
        if found is None:
            return pixels, b""
        if found is colors:
            return pixels, icc
        alpha = pixels[..., 3:]
        return np.concatenate([found, alpha], axis=-1) if alpha.shape[-1] else found, SRGB

    def _stored(self) -> tuple[np.ndarray, bytes, bool]:
        """RGB pixels as stored, their profile, and whether they are gray."""
        if self.by_libpng:
            del self.picture  # Frees Pillow's pixels, which have 8 bits.
            self.file.seek(0)
            pixels = imagecodecs.png_decode(self.file.read())
            pixels = pixels[..., None] if pixels.ndim == 2 else pixels
            return as_rgb(pixels), self.icc, pixels.shape[-1] <= 2
        self._load()
        return self._of_pillow()

    def _of_pillow(self) -> tuple[np.ndarray, bytes, bool]:
        picture, icc = self.picture, self.icc
        is_gray = picture.getbands()[0] in GRAY
        if picture.mode == "CMYK" and icc:
            pixels = converted(np.asarray(picture), icc, "CMYK")
            if pixels is not None:
                return pixels, SRGB, False
        if picture.mode.startswith(("I", "F")):
            pixels = np.asarray(picture)[..., None]
            if picture.mode == "F":
                pixels = np.rint(np.clip(pixels, 0, 1) * 65535)
            return as_rgb(np.clip(pixels, 0, 65535).astype(np.uint16)), icc, is_gray
        mode = "RGBA" if self.has_alpha else "RGB"
        if isinstance(picture.info.get("transparency"), str):
            del picture.info["transparency"]  # A text of a PNG file, which Pillow would apply.
        # Converting to the same mode would only cost a copy.
        return np.asarray(picture if picture.mode == mode else picture.convert(mode)), icc, is_gray


class TiffSource(Source):
    """An opened TIFF file; see `Source`."""

    def __init__(self, path: str | os.PathLike, file: BinaryIO):
        self.path, self.file = path, file
        self.page = page = Page(path, file)
        self.size = page.size
        picture = None if page.by_tifffile else self._of_page()
        if picture is not None:
            self.picture = picture
        self.by_tifffile = picture is None
        self.has_16_bits = page.by_tifffile and page.bits > 8
        self.has_alpha = page.has_alpha if picture is None else _has_alpha(picture)
        self.metadata = found = Metadata()
        found.take("exif", lambda: exif.of_tiff(page.directories, page.directory))
        found.take("xmp", lambda: page.raw(XMP))
        found.take("icc", lambda: page.raw(ICC))
        found.take("iptc", lambda: page.raw(IPTC))
        found.dpi = exif.resolution_of(page.directories, page.directory)
        self.orientation = exif.orientation_of(page.directories, page.directory)

    def _of_page(self) -> Image.Image | None:
        """Opens the page with Pillow. None if Pillow fails on its tags, but not tifffile."""
        try:
            self.file.seek(0)
            picture = Image.open(self.file, formats=["TIFF"])
            picture.seek(self.page.index)
            self.turned: int = picture.getexif().get(exif.ORIENTATION) or 1
            return picture
        except DAMAGE:
            if self.page.colors not in (0, 1, 2):
                raise
            return None

    def _stored(self) -> tuple[np.ndarray, bytes, bool]:
        if self.by_tifffile:
            pixels = self.page.pixels()
            return as_rgb(pixels), self.icc, pixels.shape[-1] <= 2
        self.picture.load()
        pixels, icc, is_gray = self._of_pillow()
        # Pillow has turned these pixels by its own rules. This is undone.
        return turned(pixels, BACK.get(self.turned, self.turned)), icc, is_gray


class RawSource(Source):
    """An opened raw file of a camera; see `Source`."""

    has_16_bits, has_alpha = True, False

    def __init__(self, path: str | os.PathLike, file: BinaryIO):
        self.path, self.metadata = path, Metadata()
        with self._raw() as found:
            self.size, self.orientation = raw.size_and_orientation(found)
            preview = raw.exif_of_preview(found)
        try:
            directories = Directories(file)
        except ValueError:
            self.metadata.take("exif", lambda: preview)
            return
        main = directories.chain[0]
        self.metadata.take("exif", lambda: exif.of_tiff(directories, main))
        self.metadata.take("xmp", lambda: directories.bytes_of(main, XMP))
        self.metadata.take("iptc", lambda: directories.bytes_of(main, IPTC))

    def _raw(self) -> "raw.rawpy.RawPy":
        try:
            return raw.opened(self.path)
        except UserError as error:
            raise UnreadablePicture(f"{self.path}: {error}") from error

    def _stored(self) -> tuple[np.ndarray, bytes, bool]:
        with self._raw() as found:
            return raw.developed(found), b"", False


class JxlSource(Source):
    """An opened JPEG XL file; see `Source`."""

    def __init__(self, path: str | os.PathLike, file: BinaryIO):
        self.path, self.orientation = path, 1  # The decoder turns pictures upright.
        self.metadata = found = Metadata()
        file.seek(0)
        self.content = file.read()
        parts = list(jxl.boxes(self.content))
        self.header = header = jxl.Header(jxl.stream(parts))
        if header.is_moving:
            raise UnreadablePicture(f"{path}: holds several pictures, expected one")
        if not header.is_srgb:
            raise UnreadablePicture(f"{path}: its color space is not known, expected sRGB")
        self.size, self.has_16_bits = header.size, header.bits > 8
        self.has_alpha = header.has_alpha
        boxes = dict(reversed(parts))
        found.take("exif", lambda: boxes.get(b"Exif", b"")[4:])
        found.take("xmp", lambda: boxes.get(b"xml ", b""))

    def _stored(self) -> tuple[np.ndarray, bytes, bool]:
        pixels = full_range(imagecodecs.jpegxl_decode(self.content), 16)  # They may be floats.
        return as_rgb(pixels.reshape(*pixels.shape[:2], -1)), b"", self.header.is_gray


@contextlib.contextmanager
def opened(path: str | os.PathLike) -> Iterator[Source]:
    """A context that opens a picture file as a `Source`.

    Raises:
        UnreadablePicture: if anything is wrong with the file, also within the context; or if it has
            more pixels than are allowed.
    """
    # Pillow would map a plain TIFF file into memory if it got its path, and then shear pictures
    # that lie on their side.
    with naming(path), open(path, "rb") as file:
        head = file.read(12)
        file.seek(0)
        kind: type[Source]
        if raw.is_raw(path, file):
            kind = RawSource
        elif jxl.is_jxl(head):
            kind = JxlSource
        else:
            kind = TiffSource if head[:4] in raw.OF_TIFF else Source
        source = kind(path, file)
        check_claim(path, *source.size)
        yield source


def as_rgb(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 1 to 4) pixels, with three equal channels in place of a gray one."""
    if pixels.shape[-1] > 2:
        return pixels
    return np.concatenate([np.repeat(pixels[..., :1], 3, axis=-1), pixels[..., 1:]], axis=-1)


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels with this EXIF orientation, turned as a viewer shows them, without a copy."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels[:, ::-1] if orientation in (2, 3, 6, 7) else pixels


def to_8_bits(pixels: np.ndarray) -> np.ndarray:
    """uint16 or uint8 pixels as uint8, rounded."""
    if pixels.dtype == np.uint8:
        return pixels
    eight = np.empty(pixels.shape, np.uint8)
    for top in range(0, len(pixels), 256):  # In bands, because uint32 takes more memory.
        eight[top : top + 256] = (pixels[top : top + 256].astype(np.uint32) + 128) // 257
    return eight


def _has_alpha(picture: Image.Image) -> bool:
    # In a PNG file, a text may have this name.
    is_given = not isinstance(picture.info.get("transparency"), str | None)
    return bool({"A", "a"} & set(picture.getbands())) or is_given
