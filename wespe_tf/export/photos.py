"""The photos that calibrate and verify an exported file."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from ..config.schema import ExportConfig
from ..data.folders import find_pairs, find_pictures
from ..data.sources import SAMPLE_DIR, sample_folders
from ..errors import UserError
from ..files import digest
from ..images.picture import read_picture
from ..images.places import at_least
from .portable import BYTE

# For the calibration, whole photos are reduced to this longer side, in pixels.
CALIBRATION_SIDE = 384
MOST_CALIBRATION_PHOTOS = 32
MOST_VAL_PHOTOS = 8
# Most pixels of a photo that is verified as a whole: for these, a pass of Keras takes a gigabyte.
WHOLE = 10**6
# Smallest (height, width) of such a photo. Smaller ones consist of edges for the most part, where
# zero padding changes Keras's pass, and its statistics, too.
LEAST_WHOLE = (512, 512)


def find_photos(config: ExportConfig, quantizes: bool) -> tuple[list[np.ndarray], list[tuple]]:
    """Photos to calibrate, and pairs to verify: those that the settings name, or the sample's.

    Returns:
        List of (1, h, w, 3) float32 arrays in [0, 1] of at most `CALIBRATION_SIDE`, empty if
        nothing is calibrated; list of (photo, target) `Image`s, where target may be None.

    Raises:
        UserError: if photos are missing, or a photo is used for both.
    """
    calibrates = quantizes or config.export_norm == "frozen"
    if config.val_dir is None and config.val_target_dir is not None:
        raise UserError("val_target_dir: needs val_dir too")
    if config.export_norm != "frozen" and config.val_target_dir is not None:
        raise UserError("val_target_dir: needs export_norm=frozen, whose cost it scores")
    pairs: Sequence[tuple[str, str | None]]
    if config.val_dir is None:
        sample_folders()
        pairs = find_pairs(SAMPLE_DIR / "val_source", SAMPLE_DIR / "val_target")
    elif config.val_target_dir is None:
        pairs = [(path, None) for path in find_pictures(config.val_dir, "val_dir")]
    else:
        pairs = find_pairs(config.val_dir, config.val_target_dir, "val_dir", "val_target_dir")
    pairs = _evenly(pairs, MOST_VAL_PHOTOS)
    calibration = []
    if calibrates:
        own = config.calibration_dir
        folder = sample_folders().source if own is None else own
        paths = _evenly(find_pictures(folder, "calibration_dir"), MOST_CALIBRATION_PHOTOS)
        _check_apart(paths, [path for path, _ in pairs])
        calibration = [_shrunk(path) for path in paths]
    return calibration, [(_image(photo), None if t is None else _image(t)) for photo, t in pairs]


def _image(path: str) -> Image.Image:
    return Image.fromarray(read_picture(path))


def _evenly(values: list, most: int) -> list:
    """At most `most` elements of a list, evenly spread over it."""
    return [values[k] for k in np.linspace(0, len(values) - 1, min(most, len(values))).astype(int)]


def _check_apart(calibration: Sequence[str], validation: Sequence[str]) -> None:
    known = {digest(path): path for path in calibration}
    for path in validation:
        same = known.get(digest(path))
        if same is not None:
            raise UserError(f"val_dir: {path} equals {same}, which is used for calibration")


def _shrunk(path: str) -> np.ndarray:
    photo = _image(path)
    photo.thumbnail((CALIBRATION_SIDE, CALIBRATION_SIDE))
    return np.asarray(photo)[None] * BYTE


def fitted(picture: Image.Image | None, size: tuple[int, int]) -> Any:
    """A picture scaled and cut to (height, width), as (h, w, 3) float32 in [0, 1], or None."""
    if picture is None:
        return None
    return np.asarray(ImageOps.fit(picture, size[::-1])) * BYTE


def whole_photo(picture: Image.Image) -> np.ndarray:
    """A picture of at most a megapixel, shrunk if it is larger, as (h, w, 3) float32 in [0, 1].

    Its mirror image continues a picture that is smaller than `LEAST_WHOLE`.
    """
    scale = min(1.0, math.sqrt(WHOLE / (picture.width * picture.height)))
    size = [max(1, int(scale * length)) for length in picture.size]
    return at_least(np.asarray(picture.resize(size)), LEAST_WHOLE) * BYTE
