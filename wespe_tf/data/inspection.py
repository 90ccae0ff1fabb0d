"""Inspects one photo: reads its file and all its pixels."""

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path

import imagehash
import numpy as np
from PIL import Image
from skimage.color import rgb2gray, rgb2hsv

from ..files import digest
from ..images.opening import UnreadablePicture
from ..images.picture import read_picture
from .shots import Shot, read_shot

# Statistics and hashes are computed from a copy with this longer side, in pixels.
SMALL = 256
# The perceptual hash has 16 × 16 bits.
HASH_SIDE = 16
DARK, BRIGHT = 5, 250  # of 255
# A picture without a camera is a screenshot if this share of pixels equals a neighbor.
FLAT = 0.75
SCREENSHOT = re.compile(r"screen.?shot|screen.?cap|bildschirmfoto|capture.d.?.?cran", re.I)
EDITORS = re.compile(
    r"photoshop|lightroom|camera raw|gimp|snapseed|darktable|rawtherapee|picasa|vsco|affinity|"
    r"capture one|luminar|topaz|dxo|picsart|instagram|facetune|prisma|pixelmator|acdsee|paint|"
    r"afterlight|polarr|photoscape|imagemagick|photolab|canva|remini",
    re.I,
)
ENHANCED = re.compile(r"_(enhanced|before_after)$", re.I)


@dataclass(frozen=True)
class Look:
    """How a photo looks; gray values from 0 to 255.

    Attributes:
        brightness: mean gray value.
        contrast: standard deviation of the gray values.
        saturation: mean saturation, from 0 (gray) to 1.
        red, blue: mean divided by the mean of green; 1 and 1 if the picture is gray on average.
        dark, bright: share of pixels whose gray value is near 0, and near 255.
    """

    brightness: float
    contrast: float
    saturation: float
    red: float
    blue: float
    dark: float
    bright: float


@dataclass(frozen=True)
class Inspected:
    """A photo and what was found out about it.

    Attributes:
        path: path of the file.
        size: height and width in pixels; (0, 0) if the file is broken.
        shot: what the file says.
        look: how it looks; None if the file is broken.
        digest: SHA-256 of the file.
        hash: perceptual hash, (32,) uint8. Few bits differ between pictures that look alike.
        broken: why it cannot be read; empty if it can.
        screenshot: the sign that it is a screenshot; empty if there is none.
        edited: the sign that the file was edited after the camera; empty if there is none.
    """

    path: str
    size: tuple[int, int] = (0, 0)
    shot: Shot = Shot()
    look: Look | None = None
    digest: str = ""
    hash: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(32, np.uint8))
    broken: str = ""
    screenshot: str = ""
    edited: str = ""


def inspect(path: str) -> Inspected:
    """Reads a photo and finds out all that `Inspected` holds."""
    try:
        photo, shot = read_picture(path), read_shot(path)
    except UnreadablePicture as error:
        return Inspected(path, broken=str(error).removeprefix(f"{path}: "))
    small = Image.fromarray(photo)
    small.thumbnail((SMALL, SMALL), Image.Resampling.BOX, reducing_gap=None)
    bits = imagehash.phash(small, hash_size=HASH_SIDE).hash
    return Inspected(
        path,
        photo.shape[:2],
        shot,
        look_of(np.asarray(small)),
        digest(path),
        np.packbits(bits),
        screenshot=_screenshot(path, shot, photo),
        edited=_edited(path, shot),
    )


def look_of(photo: np.ndarray) -> Look:
    """How a (H, W, 3) uint8 photo looks."""
    gray = rgb2gray(photo) * 255
    red, green, blue = photo.reshape(-1, 3).mean(axis=0)
    return Look(
        brightness=float(gray.mean()),
        contrast=float(gray.std()),
        saturation=float(rgb2hsv(photo)[..., 1].mean()),
        red=float(red / max(green, 1)),
        blue=float(blue / max(green, 1)),
        dark=float((gray <= DARK).mean()),
        bright=float((gray >= BRIGHT).mean()),
    )


def flat_share(photo: np.ndarray) -> float:
    """Share of pixels that equal their left neighbor: small in photos, large in drawings."""
    rows = photo[:: max(1, len(photo) // 512)]  # Some rows are enough.
    return float((rows[:, 1:] == rows[:, :-1]).all(axis=2).mean())


def _screenshot(path: str, shot: Shot, photo: np.ndarray) -> str:
    if SCREENSHOT.search(Path(path).stem):
        return "its name says so"
    if SCREENSHOT.search(shot.comment):
        return "its EXIF comment says so"
    if not shot.camera and (flat := flat_share(photo)) >= FLAT:
        return f"no camera, and {flat:.0%} of the pixels are like their neighbors"
    return ""


def _edited(path: str, shot: Shot) -> str:
    if EDITORS.search(shot.program):
        return f"written by {shot.program}"
    if ENHANCED.search(Path(path).stem):
        return "enhanced, its name says"
    return ""
