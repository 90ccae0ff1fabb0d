"""Reads what a photo's file says about the shot: camera, time, program, color profile."""

import io
import re
from dataclasses import dataclass
from datetime import datetime

from PIL import Image, ImageCms

from ..images.decoding import opened
from ..images.directories import DETAILS

MAKE, MODEL, SOFTWARE, CHANGED = 271, 272, 305, 306
TAKEN, COMMENT = 0x9003, 0x9286  # in DETAILS


@dataclass(frozen=True)
class Shot:
    """What a file says about its photo. Missing facts are empty or None.

    Attributes:
        camera: maker and model.
        taken: time by the camera's clock.
        program: the program that wrote the file.
        comment: a comment of the user or the system; phones mark screenshots in this way.
        profile: name of the color profile.
    """

    camera: str = ""
    taken: datetime | None = None
    program: str = ""
    comment: str = ""
    profile: str = ""


def read_shot(path: str) -> Shot:
    """Reads what a photo's file says, without its pixels.

    Raises:
        UnreadablePicture: if the file is not a picture.
    """
    with opened(path) as source:
        found = source.metadata
    exif = Image.Exif()
    exif.load(found.exif)
    details = exif.get_ifd(DETAILS)
    make, model = _text(exif.get(MAKE)), _text(exif.get(MODEL))
    # Many models begin with their maker.
    camera = model if model.lower().startswith(make.lower()) else f"{make} {model}".strip()
    return Shot(
        camera=camera or make,
        taken=_time(details.get(TAKEN)) or _time(exif.get(CHANGED)),
        program=_text(exif.get(SOFTWARE)) or _creator(found.xmp),
        comment=_text(details.get(COMMENT)),
        profile=_profile(found.icc),
    )


def _text(value: object) -> str:
    """A tag's text in one line. EXIF comments begin with eight bytes that name their encoding."""
    if isinstance(value, bytes):
        value = value.removeprefix(b"ASCII\0\0\0").removeprefix(b"UNICODE\0")
        value = value.replace(b"\0", b"").decode("utf-8", "replace")
    return " ".join(str(value or "").replace("\0", "").split())


def _time(value: object) -> datetime | None:
    try:
        return datetime.strptime(_text(value), "%Y:%m:%d %H:%M:%S")
    except ValueError:
        return None


def _creator(xmp: bytes) -> str:
    """The program that an XMP packet names, in an attribute or an element."""
    rest = xmp.decode("utf-8", "replace").partition("CreatorTool")[2].lstrip("=>\"' ")
    return re.split("[\"'<]", rest, maxsplit=1)[0]


def _profile(icc: bytes) -> str:
    if not icc:
        return ""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        return _text(ImageCms.getProfileDescription(profile))
    except (OSError, ImageCms.PyCMSError):
        return "damaged"
