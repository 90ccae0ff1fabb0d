"""Photo files for enhancing: pixels, and everything else that a file holds and should keep.

`images.read_picture` reads what training needs, 8-bit RGB. Here 16 bits, transparency, EXIF, XMP
and the color profile survive from the file that comes in to the one that goes out.
"""

import dataclasses
import io
import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from PIL import Image

from ..errors import UserError, first_line
from ..files import write_atomically
from . import exif
from .picture import DAMAGE, UnreadablePicture, check_claim, unreadable
from .profiles import ADOBE_RGB, SRGB, converted

FORMATS = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}
# A phone's JPEG may hold a second, smaller picture behind the photo.
SEVERAL_PICTURES_ARE_ONE = ("MPO",)
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# tifffile writes no EXIF directories: it gets other tags that sort alike, exchanged afterwards.
STAND_INS = {exif.DETAILS: exif.DETAILS + 1, exif.GPS: exif.GPS + 1}
# Bands of grey pictures.
GREY = ("1", "L", "I", "F")
# zlib's; a higher one takes several times longer and saves a few percent of a photo.
PNG_LEVEL = 3
# What encoders raise: for EXIF that JPEG has no room for, for more pixels a side than WebP has.
REFUSALS = (OSError, ValueError, ArithmeticError, RuntimeError, MemoryError, struct.error)


@dataclasses.dataclass
class Photo:
    """A photo and what its file says about it.

    Attributes:
        pixels: (H, W, 3) uint8 or uint16 array, sRGB, upright.
        alpha: (H, W) array of the same dtype, or None for an opaque photo.
        exif: EXIF block as in a JPEG file after its "Exif" mark, orientation 1; empty for none.
        xmp: XMP packet, orientation 1; empty for none.
        icc: color profile of `pixels`; empty for none, which means sRGB.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    exif: bytes = b""
    xmp: bytes = b""
    icc: bytes = b""


def read_photo(path):
    """Reads a photo with everything that `Photo` holds.

    The EXIF orientation is applied, colors of another profile are converted to sRGB, grey becomes
    RGB, a palette too.

    Args:
        path: of a JPEG, PNG, TIFF or WebP file, or another that Pillow reads.

    Returns:
        A `Photo`.

    Raises:
        UnreadablePicture: naming the file, if it is no picture, damaged, larger than
            `limit_megapixels` allows, or holds several.
    """
    try:
        # From a path Pillow maps plain TIFF files into memory, and shears those on their side.
        with open(path, "rb") as file, Image.open(file) as picture:
            check_claim(path, picture)
            frames = getattr(picture, "n_frames", 1)
            if frames > 1 and picture.format not in SEVERAL_PICTURES_ARE_ONE:
                raise UnreadablePicture(f"{path}: holds {frames} pictures, expected one")
            return _decode(path, picture)
    except DAMAGE as error:
        raise unreadable(path, error) from error


def pixel_bytes(path):
    """Bytes of the pixels and the alpha that `read_photo` returns, from the file's header alone.

    Raises:
        UnreadablePicture: naming the file, if there is no such header.
    """
    try:
        with Image.open(path) as picture:
            channels = 4 if _has_alpha(picture) else 3
            bytes_of_one = 2 if _has_16_bits(path, picture) else 1
            return channels * picture.width * picture.height * bytes_of_one
    except DAMAGE as error:
        raise unreadable(path, error) from error


def write_photo(path, photo, quality=95):
    """Writes a photo so that either the whole file is there or none.

    PNG and TIFF keep 16 bits; JPEG and WebP get 8. JPEG keeps no alpha.

    Args:
        path: whose suffix names the format, one of `FORMATS`.
        photo: `Photo`.
        quality: of JPEG and WebP, 1 to 100.

    Raises:
        UserError: naming the file, if the format is another or the file cannot be written.
    """
    path = Path(path)
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise UserError(f"{path}: expected one of the formats {', '.join(FORMATS)}")
    if kind in ("JPEG", "WEBP"):
        alpha = None if photo.alpha is None else to_8_bits(photo.alpha)
        photo = dataclasses.replace(photo, pixels=to_8_bits(photo.pixels), alpha=alpha)
    try:
        content = _encoded(photo, kind, quality)
    except REFUSALS as error:
        raise UserError(f"{path}: cannot be written ({first_line(error)})") from error
    write_atomically(path, *content)


def _encoded(photo, kind, quality):
    """The parts of a file."""
    if kind == "PNG":
        return _png(photo)
    if kind == "TIFF":
        return _tiff(photo)
    return [_with_pillow(photo, kind, quality)]


def _decode(path, picture):
    if picture.format == "PNG":
        picture.load()  # Its EXIF and XMP may lie behind the pixels.
    block = exif.exif_of(picture)
    xmp = picture.info.get("xmp", picture.info.get("XML:com.adobe.xmp", b""))
    icc = picture.info.get("icc_profile") or (ADOBE_RGB if exif.is_adobe_rgb(block) else b"")
    orientation = picture.getexif().get(exif.ORIENTATION, 1)
    if _has_16_bits(path, picture):
        pixels = _wide_pixels(path, picture)
    else:
        pixels, icc = _narrow_pixels(picture, icc)
    turned = picture.format == "TIFF" and not _has_wide_samples(picture)  # by Pillow itself
    if orientation in TURNS and not turned:
        pixels = _turned(pixels, TURNS[orientation])
    # A view of it would keep all four channels.
    alpha = np.ascontiguousarray(pixels[..., 3]) if pixels.shape[-1] == 4 else None
    pixels, icc = _to_srgb(pixels[..., :3], icc, grey=picture.getbands()[0] in GREY)
    height, width = pixels.shape[:2]
    block = exif.made_true(block, width, height)
    return Photo(np.ascontiguousarray(pixels), alpha, block, exif.upright_xmp(xmp), icc)


def _narrow_pixels(picture, icc):
    """(H, W, 3 or 4) uint8 RGB pixels, and their profile."""
    if picture.mode == "CMYK":
        pixels = converted(np.asarray(picture), icc, "CMYK")
        if pixels is not None:
            return pixels, SRGB
    mode = "RGBA" if _has_alpha(picture) else "RGB"
    # Converting to the same mode would only cost a copy.
    return np.asarray(picture if picture.mode == mode else picture.convert(mode)), icc


def _wide_pixels(path, picture):
    """(H, W, 3 or 4) uint16 pixels as they lie in the file; Pillow knows 16 bits of grey only."""
    if picture.format == "PNG":
        picture.close()  # Frees Pillow's pixels, of 8 bits.
        pixels = imagecodecs.png_decode(Path(path).read_bytes())
    elif _has_wide_samples(picture):
        pixels = _tiff_pixels(path)
    else:
        pixels = np.asarray(picture)
        if picture.mode == "F":
            pixels = np.rint(np.clip(pixels, 0, 1) * 65535)
        pixels = np.clip(pixels, 0, 65535).astype(np.uint16)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.shape[-1] <= 2:  # grey, or grey and alpha
        return np.concatenate([np.repeat(pixels[..., :1], 3, axis=-1), pixels[..., 1:]], axis=-1)
    return pixels


def _tiff_pixels(path):
    """(H, W, 1 to 4) uint16 pixels of a TIFF: grey or RGB, and alpha.

    Raises:
        UnreadablePicture: naming the file, if they are of another kind.
    """
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        colors = {tifffile.PHOTOMETRIC.MINISBLACK: 1, tifffile.PHOTOMETRIC.RGB: 3}
        if page.photometric not in colors or page.dtype != np.uint16:
            kind = f"{page.dtype} {getattr(page.photometric, 'name', page.photometric)}"
            raise UnreadablePicture(f"{path}: holds {kind}, expected uint16 RGB or grey")
        pixels, count = page.asarray(), colors[page.photometric]
        if page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and pixels.ndim == 3:
            pixels = np.moveaxis(pixels, 0, -1)
    if pixels.ndim == 2:
        return pixels[..., None]
    if page.extrasamples[:1] == (tifffile.EXTRASAMPLE.UNASSALPHA,):
        return pixels[..., : count + 1]
    if page.extrasamples[:1] == (tifffile.EXTRASAMPLE.ASSOCALPHA,):
        return _unpremultiplied(pixels[..., : count + 1])
    return pixels[..., :count]  # What else is there says nothing of the photo.


def _unpremultiplied(pixels):
    """uint16 pixels whose colors were multiplied by alpha, their last channel, without that."""
    colors, alpha = pixels[..., :-1].astype(np.float32), pixels[..., -1:]
    colors = np.minimum(np.rint(colors * (65535 / np.maximum(alpha, 1))), 65535)
    return np.concatenate([colors.astype(np.uint16), alpha], axis=-1)


def _has_alpha(picture):
    return bool({"A", "a"} & set(picture.getbands())) or "transparency" in picture.info


def _has_16_bits(path, picture):
    """Whether an opened file's photo is read in 16 bits."""
    if picture.format == "PNG":
        with open(path, "rb") as file:
            return file.read(25)[24] == 16
    return _has_wide_samples(picture) or picture.mode.startswith(("I", "F"))


def _has_wide_samples(picture):
    return picture.format == "TIFF" and np.max(picture.tag_v2.get(258, 8)) == 16


def _turned(pixels, turn):
    """Pixels after one of Pillow's transpositions."""
    if turn in (Image.Transpose.TRANSPOSE, Image.Transpose.TRANSVERSE):
        pixels = pixels.swapaxes(0, 1)
        return pixels[::-1, ::-1] if turn == Image.Transpose.TRANSVERSE else pixels
    if turn == Image.Transpose.FLIP_LEFT_RIGHT:
        return pixels[:, ::-1]
    if turn == Image.Transpose.FLIP_TOP_BOTTOM:
        return pixels[::-1]
    quarters = {Image.Transpose.ROTATE_90: 1, Image.Transpose.ROTATE_180: 2}
    return np.rot90(pixels, quarters.get(turn, 3))


def _to_srgb(pixels, icc, grey):
    """Pixels in sRGB, and the profile to tag them with, empty where theirs says nothing."""
    if not icc:
        return pixels, b""
    found = converted(pixels[..., 0], icc, "GRAY") if grey else None
    if found is None:
        found = converted(pixels, icc, "RGB")
    if found is None:
        return pixels, b""
    return found, icc if found is pixels else SRGB


def to_8_bits(pixels):
    """uint16 or uint8 pixels as uint8, rounded."""
    if pixels.dtype == np.uint8:
        return pixels
    eight = np.empty(pixels.shape, np.uint8)
    for top in range(0, len(pixels), 256):  # In bands: wider numbers of a whole photo are large.
        eight[top : top + 256] = (pixels[top : top + 256].astype(np.uint32) + 128) // 257
    return eight


def _all_channels(photo):
    if photo.alpha is None:
        return photo.pixels
    return np.concatenate([photo.pixels, photo.alpha[..., None]], axis=-1)


def _with_pillow(photo, kind, quality):
    """A JPEG or WebP file."""
    pixels = photo.pixels if kind == "JPEG" else _all_channels(photo)
    options = {"quality": quality, "icc_profile": photo.icc, "xmp": photo.xmp}
    if kind == "JPEG":
        options["subsampling"] = 0 if quality >= 90 else 2
    if photo.exif:
        options["exif"] = b"Exif\x00\x00" + photo.exif if kind == "JPEG" else photo.exif
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **{key: v for key, v in options.items() if v != b""})
    return file.getvalue()


def _png(photo):
    """A PNG file in parts; a faster encoder than Pillow's, which has no 16 bits of color."""
    pixels = np.ascontiguousarray(_all_channels(photo))
    plain = memoryview(imagecodecs.png_encode(pixels, level=PNG_LEVEL))
    chunks = b""
    if photo.icc:
        chunks += _png_chunk(b"iCCP", b"ICC profile\x00\x00" + zlib.compress(photo.icc))
    if photo.exif:
        chunks += _png_chunk(b"eXIf", photo.exif)
    if photo.xmp:
        chunks += _png_chunk(b"iTXt", b"XML:com.adobe.xmp\x00\x00\x00\x00\x00" + photo.xmp)
    end_of_header = 8 + 25  # the signature and the IHDR chunk, which comes first
    return plain[:end_of_header], chunks, plain[end_of_header:]


def _png_chunk(kind, data):
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def _tiff(photo):
    """A TIFF file in parts; Pillow has no 16 bits of color, and fails on directories of EXIF."""
    tags = [(700, 1, len(photo.xmp), photo.xmp, True)] if photo.xmp else []
    texts = exif.parsed(photo.exif)
    tags += [(tag, 2, 0, str(texts[tag]), True) for tag in exif.TEXTS if tag in texts]
    directories = {tag: exif.directory_bytes(photo.exif, tag, 0) for tag in STAND_INS}
    tags += [(STAND_INS[tag], exif.LONG, 1, 0, True) for tag in STAND_INS if directories[tag]]
    file = io.BytesIO()
    tifffile.imwrite(
        file,
        _all_channels(photo),
        byteorder="<",
        photometric="rgb",
        planarconfig="contig",
        extrasamples=None if photo.alpha is None else ["unassalpha"],
        compression="zlib",
        iccprofile=photo.icc or None,
        extratags=tags,
        software=False,
        metadata=None,
    )
    file.seek(0)
    with tifffile.TiffFile(file) as written:
        entries = {tag.code: tag.offset for tag in written.pages[0].tags}
    for tag, stand_in in STAND_INS.items():
        if stand_in in entries:
            end = file.seek(0, io.SEEK_END)
            place = end + end % 2
            file.write(bytes(end % 2) + exif.directory_bytes(photo.exif, tag, place))
            file.seek(entries[stand_in])
            file.write(struct.pack("<HHII", tag, exif.LONG, 1, place))
    return [file.getvalue()]
