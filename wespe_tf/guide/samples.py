"""What the guide needs to know of each photo. It is small, so each file is read only once."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from ..images.picture import read_picture

MAX_FILES = 200
# Sums over a domain's photos.
PIXELS = 100_000
TILES = 10_240
TILES_OF_A_PHOTO = 1024
TILE = 16
LUMA = np.array([0.2989, 0.5870, 0.1140])


@dataclasses.dataclass
class PhotoSample:
    """A photo's histograms, and some of its pixels.

    Attributes:
        path: the photo's file.
        histogram: (3, 256) counts of the values of red, green and blue.
        luminances: (256,) the photo's `luminance_histogram`.
        pixels: (N, 3) uint8 pixels, evenly spread.
        weight: number of the photo's pixels for each of these.
        tiles: (T, 16, 16, 3) uint8 squares, evenly spread; none if the photo is smaller.
    """

    path: str
    histogram: np.ndarray
    luminances: np.ndarray
    pixels: np.ndarray
    weight: float
    tiles: np.ndarray

    @classmethod
    def of(cls, photo: np.ndarray, path: str = "", count: int = 1) -> "PhotoSample":
        """The sample of a photo.

        Args:
            photo: (H, W, 3) uint8 array.
            path: its file.
            count: number of the domain's photos. Together, they have about 100 000 pixels and at
                most 10 240 tiles.
        """
        colors = photo.reshape(-1, 3)
        # A copy: a view would keep the whole photo in memory.
        pixels = colors[:: stride(len(colors) * count, PIXELS)].copy()
        return cls(
            path,
            np.reshape(Image.fromarray(photo).histogram(), (3, 256)),
            luminance_histogram(photo),
            pixels,
            len(colors) / len(pixels),
            _tiles(photo, min(TILES_OF_A_PHOTO, max(1, TILES // count))),
        )


def sample_photos(
    paths: Sequence[str | os.PathLike],
    read: Callable[[str], np.ndarray | None] = read_picture,
) -> list[PhotoSample]:
    """Samples of photos, or of 200 of them if there are more. Two files are read at a time.

    Args:
        paths: picture files of a domain. A domain is one kind of pictures, such as a phone's.
        read: function from a path to a (H, W, 3) uint8 array, or to None for a photo that is left
            out. A cache's `get` avoids that files are decoded twice.
    """
    some = [str(path) for path in some_of(paths)]

    def sample(path: str) -> PhotoSample | None:
        # The photo is not kept: together, the photos may not fit into memory.
        photo = read(path)
        return None if photo is None else PhotoSample.of(photo, path, len(some))

    with ThreadPoolExecutor(2) as pool:
        return [found for found in pool.map(sample, some) if found is not None]


def some_of(paths: Sequence[str | os.PathLike], seed: int = 0) -> list[str | os.PathLike]:
    """The paths, or 200 of them drawn by `seed`: enough for a domain's statistics."""
    if len(paths) <= MAX_FILES:
        return list(paths)
    chosen = np.random.default_rng(seed).choice(len(paths), MAX_FILES, replace=False)
    return [paths[i] for i in sorted(chosen)]


def histogram(photos: Sequence[PhotoSample]) -> np.ndarray:
    """Counts of the values of red, green and blue in all photos, (3, 256)."""
    return np.sum([photo.histogram for photo in photos], axis=0)


def luminance(pictures: np.ndarray) -> np.ndarray:
    """Luminance of 8-bit pictures, (..., 3) uint8 → (...) uint8."""
    return np.rint(pictures @ LUMA).astype(np.uint8)


def luminance_histogram(photo: np.ndarray) -> np.ndarray:
    """Counts of the 256 luminances of a photo, (H, W, 3) uint8 → (256,).

    About 100 000 pixels of a large photo are counted. This is enough, and takes less memory.
    """
    colors = photo.reshape(-1, 3)
    return np.bincount(luminance(colors[:: stride(len(colors), PIXELS)]), minlength=256)


def stride(count: int, most: int) -> int:
    """Step that takes about `most` of `count` values, or fewer, evenly spread.

    It is odd, so that the pixels of a photo do not all come from the same columns.
    """
    return max(1, count // most) | 1


def _tiles(photo: np.ndarray, most: int) -> np.ndarray:
    """At most about `most` of the tiles that fit onto a photo side by side."""
    rows, columns = (length // TILE for length in photo.shape[:2])
    places = np.arange(rows * columns)[:: stride(rows * columns, most)]
    whole = photo[: rows * TILE, : columns * TILE].reshape(rows, TILE, columns, TILE, 3)
    return whole[places // columns, :, places % columns]
