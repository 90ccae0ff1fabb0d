"""Photo files for enhancing: pixels, and everything else that a file holds and should keep.

`images.read_picture` reads what training needs, 8-bit RGB. Here 16 bits, transparency, EXIF, XMP
and the color profile survive from the file that comes in to the one that goes out.
"""

import dataclasses
import io
import re
import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from PIL import Image, ImageCms

from .errors import UserError
from .files import write_atomically
from .images import DAMAGE, UnreadablePicture, check_claim, unreadable

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
ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Of a 16-bit TIFF's EXIF these are written again: who, with what, when.
PLAIN_TAGS = {270: "ImageDescription", 271: "Make", 272: "Model", 306: "DateTime", 315: "Artist"}
PLAIN_TAGS |= {33432: "Copyright"}


# zlib's; a higher one takes several times longer and saves a few percent of a photo.
PNG_LEVEL = 3


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
        with Image.open(path) as picture:
            check_claim(path, picture)
            frames = getattr(picture, "n_frames", 1)
            if frames > 1 and picture.format not in SEVERAL_PICTURES_ARE_ONE:
                raise UnreadablePicture(f"{path}: holds {frames} pictures, expected one")
            return _decode(path, picture)
    except DAMAGE as error:
        raise unreadable(path, error) from error


def pixel_bytes(path):
    """Bytes of the pixels that `read_photo` returns, from the file's header alone.

    Raises:
        UnreadablePicture: naming the file, if there is no such header.
    """
    try:
        with Image.open(path) as picture:
            return 3 * picture.width * picture.height * (2 if _has_16_bits(path, picture) else 1)
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
    if kind == "PNG":
        content = _png(photo)
    elif photo.pixels.dtype == np.uint16:
        content = [_wide_tiff(photo)]
    else:
        content = [_with_pillow(photo, kind, quality)]
    write_atomically(path, *content)


def _decode(path, picture):
    exif = picture.info.get("exif", b"") or _exif_of_tiff(picture)
    exif = exif.removeprefix(b"Exif\x00\x00")
    orientation = picture.getexif().get(ORIENTATION, 1)
    xmp = picture.info.get("xmp", picture.info.get("XML:com.adobe.xmp", b""))
    icc = picture.info.get("icc_profile") or b""
    pixels = _wide_pixels(path, picture)
    if pixels is None:
        if picture.mode in ("CMYK", "LAB", "YCbCr") and icc:
            profiles = ImageCms.ImageCmsProfile(io.BytesIO(icc)), ImageCms.createProfile("sRGB")
            picture, icc = ImageCms.profileToProfile(picture, *profiles, outputMode="RGB"), b""
        alpha = "A" in picture.getbands() or "transparency" in picture.info
        mode = "RGBA" if alpha else "RGB"
        # Converting to the same mode would only cost a copy.
        pixels = np.asarray(picture if picture.mode == mode else picture.convert(mode))
        orientation = picture.getexif().get(ORIENTATION, 1)  # Pillow turns a TIFF by itself.
    turn = TURNS.get(orientation)
    if turn is not None:
        pixels = _turned(pixels, turn)
    pixels, alpha = pixels[..., :3], pixels[..., 3] if pixels.shape[-1] == 4 else None
    pixels, icc = _to_srgb(pixels, icc)
    return Photo(np.ascontiguousarray(pixels), alpha, _upright_exif(exif), _upright_xmp(xmp), icc)


def _wide_pixels(path, picture):
    """(H, W, 3 or 4) uint16 pixels of a file with 16 bits, as it lies; None for one with 8.

    Pillow knows 16 bits of grey only.
    """
    if not _has_16_bits(path, picture):
        return None
    if picture.format == "PNG":
        pixels = imagecodecs.png_decode(Path(path).read_bytes())
    elif _has_wide_samples(picture):
        pixels = tifffile.imread(path)
        if picture.tag_v2.get(284, 1) == 2:  # channels one after another
            pixels = np.moveaxis(pixels, 0, -1)
    else:
        pixels = np.asarray(picture)
        if picture.mode == "F":
            pixels = np.rint(np.clip(pixels, 0, 1) * 65535)
        pixels = np.clip(pixels, 0, 65535)
    pixels = pixels.astype(np.uint16)
    if pixels.ndim == 2:
        return np.repeat(pixels[..., None], 3, axis=-1)
    if pixels.shape[-1] <= 2:  # grey, or grey and alpha
        return np.concatenate([np.repeat(pixels[..., :1], 3, axis=-1), pixels[..., 1:]], axis=-1)
    return pixels[..., :4]


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


def _to_srgb(pixels, icc):
    """Pixels in sRGB, and the profile to tag them with."""
    if not icc:
        return pixels, b""
    try:
        name = ImageCms.getProfileDescription(io.BytesIO(icc))
        if "sRGB" in name:
            return pixels, icc
        srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        converted = imagecodecs.cms_transform(
            np.ascontiguousarray(pixels), icc, srgb, colorspace="rgb", outcolorspace="rgb"
        )
    except (ImageCms.PyCMSError, imagecodecs.CmsError):
        return pixels, b""  # A profile of something else, or a damaged one, says nothing.
    return converted, srgb


def _exif_of_tiff(picture):
    """A TIFF file's own tags as an EXIF block; other formats hold one as it is."""
    if picture.format != "TIFF":
        return b""
    exif = picture.getexif()
    kept = Image.Exif()
    for tag in PLAIN_TAGS:
        if tag in exif:
            kept[tag] = exif[tag]
    for directory in (0x8769, 0x8825):  # EXIF proper, GPS
        if exif.get_ifd(directory):
            kept.get_ifd(directory).update(exif.get_ifd(directory))
    return kept.tobytes() if len(kept) else b""


def _upright_exif(exif):
    """An EXIF block with orientation 1, the rest untouched: makers' notes keep their places."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None or len(exif) < 10:
        return b""
    changed = bytearray(exif)
    (place,) = struct.unpack_from(f"{order}I", exif, 4)
    if place + 2 > len(exif):
        return b""
    (count,) = struct.unpack_from(f"{order}H", exif, place)
    for entry in range(place + 2, min(place + 2 + 12 * count, len(exif) - 11), 12):
        (tag,) = struct.unpack_from(f"{order}H", exif, entry)
        if tag == ORIENTATION:
            struct.pack_into(f"{order}H", changed, entry + 8, 1)
    return bytes(changed)


def _upright_xmp(xmp):
    xmp = xmp.encode() if isinstance(xmp, str) else xmp
    return re.sub(rb"(tiff:Orientation(?:=[\"']|>))\s*\d", rb"\g<1>1", xmp)


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
    pixels = photo.pixels if kind == "JPEG" else _all_channels(photo)
    options = {"exif": photo.exif} if photo.exif else {}
    if photo.icc:
        options["icc_profile"] = photo.icc
    if kind in ("JPEG", "WEBP"):
        options["quality"] = quality
        if photo.xmp:
            options["xmp"] = photo.xmp
    if kind == "JPEG":
        options["subsampling"] = 0 if quality >= 90 else 2
        if photo.exif:
            options["exif"] = b"Exif\x00\x00" + photo.exif
    if kind == "TIFF":
        options["compression"] = "tiff_adobe_deflate"
        options["exif"] = _parsed(photo.exif)
        if photo.xmp:
            options["exif"][700] = photo.xmp
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def _parsed(block):
    exif = Image.Exif()
    if block:
        exif.load(b"Exif\x00\x00" + block)
    return exif


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


def _wide_tiff(photo):
    tags = []
    if photo.xmp:
        tags.append((700, 1, len(photo.xmp), photo.xmp, True))
    if photo.exif:
        exif = _parsed(photo.exif)
        texts = {tag: str(exif[tag]) for tag in PLAIN_TAGS if tag in exif}
        tags += [(tag, 2, len(text) + 1, text, True) for tag, text in texts.items()]
    file = io.BytesIO()
    tifffile.imwrite(
        file,
        _all_channels(photo),
        photometric="rgb",
        planarconfig="contig",
        extrasamples=None if photo.alpha is None else ["unassalpha"],
        compression="zlib",
        iccprofile=photo.icc or None,
        extratags=tags,
        metadata=None,
    )
    return file.getvalue()
