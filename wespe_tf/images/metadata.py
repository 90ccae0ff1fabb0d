"""The metadata of a picture file, and which of them are broken."""

import dataclasses
from collections.abc import Callable

from PIL import Image

from . import exif, iptc, jpeg, png, profiles, xmp
from .contents import Attached


@dataclasses.dataclass
class Metadata(Attached):
    """The metadata of a file, unchanged.

    Attributes:
        broken: names of metadata that cannot be read, such as "EXIF". They count as missing.
        beside: names of other parts of the file, such as "gain map".
    """

    broken: list[str] = dataclasses.field(default_factory=list)
    beside: list[str] = dataclasses.field(default_factory=list)

    def take(self, name: str, find: Callable[[], bytes | str]) -> None:
        """Sets one of the attributes of bytes to what a function finds, if that is not broken."""
        checks = {"exif": exif, "xmp": xmp, "icc": profiles, "iptc": iptc}
        try:
            setattr(self, name, checks[name].checked(find()))
        except (ValueError, TypeError):  # In a PNG file, a text may have such a name.
            self.broken.append(name.upper())


def of_pillow(picture: Image.Image) -> Metadata:
    """The metadata that Pillow has found."""
    info, found = picture.info, Metadata()
    found.take("exif", lambda: info.get("exif") or _raw(info, "exif", b"Exif\0\0"))
    found.take("xmp", lambda: info.get("xmp") or _packet(info))
    found.take("icc", lambda: info.get("icc_profile") or _raw(info, "icc") or _raw(info, "icm"))
    found.take("iptc", lambda: _records(picture))
    if picture.format == "PNG":
        hidden = ("Raw profile type ", "XML:com.adobe.xmp")
        found.texts = {
            key: str(text)
            for key, text in info.items()
            if isinstance(key, str) and isinstance(text, str) and not key.startswith(hidden)
        }
    if picture.format in ("JPEG", "MPO") and info.get("comment"):
        found.texts["Comment"] = info["comment"].decode("utf-8", "replace").rstrip("\0")
    found.dpi = _dpi(picture)
    found.beside = sorted({*xmp.beside(found.xmp), *_beside(picture)})
    return found


def _beside(picture: Image.Image) -> set[str]:
    """Names of the parts of a HEIC file other than the main picture."""
    if picture.format != "HEIF":
        return set()
    kinds = "".join(picture.info.get("aux", ())).lower()
    found = {"gain map"} if "gainmap" in kinds else set()
    found |= {"masks"} if "matte" in kinds else set()
    found |= {"depth map"} if picture.info.get("depth_images") or "depth" in kinds else set()
    return found | ({"other pictures"} if getattr(picture, "n_frames", 1) > 1 else set())


def _dpi(picture: Image.Image) -> tuple[float, float] | None:
    """The resolution outside of EXIF. None if there is none; Pillow would invent one."""
    if picture.format == "PNG":
        found = picture.info.get("dpi")
        return found if isinstance(found, tuple) else None  # A text may have this name.
    inch = {1: 1.0, 2: 2.54}.get(picture.info.get("jfif_unit", 0))
    if inch is None:
        return None
    across, down = picture.info["jfif_density"]
    return (across * inch, down * inch) if across and down else None


def _raw(info: dict, name: str, mark: bytes = b"") -> bytes:
    """Metadata that ImageMagick wrote as a text, also EXIF from older versions."""
    if f"Raw profile type {name}" in info:
        return png.raw_profile(info[f"Raw profile type {name}"])
    older = (
        png.raw_profile(info["Raw profile type APP1"]) if "Raw profile type APP1" in info else b""
    )
    return older.removeprefix(mark) if mark and older.startswith(mark) else b""


def _packet(info: dict) -> bytes:
    return info.get("XML:com.adobe.xmp") or _raw(info, "xmp", b"http://ns.adobe.com/xap/1.0/\0")


def _records(picture: Image.Image) -> bytes:
    blocks = (data for name, data in getattr(picture, "applist", ()) if name == "APP13")
    resources = b"".join(data for data in blocks if data.startswith(jpeg.RESOURCES))
    info = picture.info
    return iptc.of_resources(resources or _raw(info, "iptc") or _raw(info, "8bim"))
