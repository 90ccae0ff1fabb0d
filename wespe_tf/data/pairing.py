"""Two cameras' folders of photos, and which of them show the same scenes."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..errors import UserError
from ..images.opening import UnreadablePicture
from ..images.picture import read_picture
from ..progress import progress
from .align_page import REFUSED_SIDE
from .folders import find_pictures
from .matching import Pair, by_looks, by_names, by_time, scenes
from .pages import jpeg
from .registration import Features, Registration, agreeing, describe, register
from .settings import AlignConfig
from .shots import Shot, read_shot

# If the clocks differ by more than this, a line says so; in seconds.
WORTH_A_WORD = 2


@dataclass
class Side:
    """One camera's photos.

    Attributes:
        paths: paths of the photos that can be read.
        shots: what their files say.
        features: their features.
        thumbnails: small JPEG files of them.
        broken: for each other photo, a line with the reason why it cannot be read.
    """

    paths: list[str] = field(default_factory=list)
    shots: list[Shot] = field(default_factory=list)
    features: list[Features] = field(default_factory=list)
    thumbnails: list[bytes] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Match:
    """Two photos of one scene.

    Attributes:
        phone, camera: their indices.
        way: how the pair was found: by names, time or looks.
        registration: from the phone's pixels to the camera's.
    """

    phone: int
    camera: int
    way: str
    registration: Registration


def read_side(folder: str, key: str) -> Side:
    """Reads a folder's photos, one at a time.

    Args:
        folder: path.
        key: the setting that names the folder, for messages.

    Raises:
        UserError: if no photo in it can be read.
    """
    side = Side()
    for path in progress(find_pictures(folder, key), desc=f"reading {folder}"):
        try:
            photo = read_picture(path)
            side.shots.append(read_shot(path))
        except UnreadablePicture as error:
            side.broken.append(str(error))
            continue
        side.paths.append(path)
        side.features.append(describe(photo))
        side.thumbnails.append(jpeg(photo, REFUSED_SIDE))
    if not side.paths:
        raise UserError(f"{key}: none of the {len(side.broken)} pictures in {folder} can be read")
    return side


def find_matches(
    phone: Side, camera: Side, config: AlignConfig
) -> tuple[list[Match], dict[int, str]]:
    """Finds photos of two cameras that show the same scene.

    Args:
        phone: the phone's photos.
        camera: the camera's photos.
        config: the settings of the search.

    Returns:
        The matches, in the order of the phone's photos; each photo is in one match at most. And for
        each of the phone's other photos, by its index, the reason why it has no partner.
    """
    ways = ("names", "time", "looks") if config.match == "auto" else (config.match,)
    matches: dict[int, Match] = {}
    taken: set[int] = set()
    reasons: dict[int, str] = {}
    for way in ways:
        for i, j in _candidates(way, phone, camera, matches, taken, config):
            if i in matches or j in taken:
                continue
            registration = register(phone.features[i], camera.features[j])
            if registration is not None and registration.matches >= config.min_matches:
                matches[i] = Match(i, j, way, registration)
                taken.add(j)
            else:
                reasons.setdefault(
                    i,
                    f"by {way} its partner would be {os.path.basename(camera.paths[j])}, but only "
                    f"{agreeing(registration)} points agree, expected {config.min_matches}",
                )
    unmatched = [i for i in range(len(phone.paths)) if i not in matches]
    nothing = f"no photo of the camera matches by {' or '.join(ways)}"
    return [matches[i] for i in sorted(matches)], {i: reasons.get(i, nothing) for i in unmatched}


def _candidates(
    way: str,
    phone: Side,
    camera: Side,
    matches: dict[int, Match],
    taken: set[int],
    config: AlignConfig,
) -> list[Pair]:
    """Pairs of indices that one way of matching proposes."""
    if way == "names":
        return by_names(phone.paths, camera.paths)
    if way == "time":
        taken_when = [[shot.taken for shot in side.shots] for side in (phone, camera)]
        offset, pairs = by_time(taken_when[0], taken_when[1], config.time_tolerance)
        if pairs and abs(offset) > WORTH_A_WORD:
            print(f"by EXIF, the camera's clock differs from the phone's by {offset:+.0f} s")
        return pairs
    ours = [None if i in matches else one for i, one in enumerate(phone.features)]
    theirs = [None if j in taken else one for j, one in enumerate(camera.features)]
    if not any(ours) or not any(theirs):
        return []
    return by_looks(ours, theirs, lambda items: progress(items, desc="comparing"))


def scenes_of(matches: Sequence[Match], phone: Side, config: AlignConfig) -> np.ndarray:
    """Each match's scene, (N,) int. If photos of the phone look alike, they show one scene."""
    features = [phone.features[match.phone] for match in matches]
    return scenes(features, config.min_matches, lambda items: progress(items, desc="scenes"))
