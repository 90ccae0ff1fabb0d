"""Random patches of photos, and a cache for the decoded photos."""

import collections
import functools
import hashlib
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import UserError
from ..guide.samples import PhotoSample, sample_photos
from ..images.opening import UnreadablePicture
from ..images.picture import picture_size, read_picture
from ..images.places import spread, square_at
from .folders import find_pictures

CACHE_BYTES = 192 * 2**20
MEASURED_FILES = 2000
CROPS_PER_VISIT = 32

log = logging.getLogger("wespe_tf")


class PhotoCache:
    """Keeps the decoded photos that were used last, in at most `limit` bytes; thread-safe.

    Args:
        limit: in bytes; a single photo may be larger.
        read: function from a path to a uint8 array.
    """

    def __init__(self, limit: int, read: Callable[[str], np.ndarray] = read_picture) -> None:
        self.limit = limit
        self.read = read
        self.size = 0
        self.photos: collections.OrderedDict[str, np.ndarray] = collections.OrderedDict()
        self.lock = threading.Lock()

    def get(self, path: str) -> np.ndarray:
        """The photo at `path`. It is decoded outside the lock, so threads decode in parallel."""
        with self.lock:
            if path in self.photos:
                self.photos.move_to_end(path)
                return self.photos[path]
        photo = self.read(path)
        with self.lock:
            if path not in self.photos:
                self.photos[path] = photo
                self.size += photo.nbytes
                while self.size > self.limit and len(self.photos) > 1:
                    _, dropped = self.photos.popitem(last=False)
                    self.size -= dropped.nbytes
        return photo


class PatchStream:
    """Random patches of a folder's photos, by number.

    An epoch cuts about as many patches from each photo as fit onto it side by side, so every pixel
    is equally likely. If all photos fit into the cache, their patches are mixed freely. In a larger
    set, only as many photos as fit are mixed at a time. Each of them gives at most
    `crops_per_visit` patches, then other photos follow.

    Args:
        folder: path of a folder of photos of any size; sub-folders count.
        patch_size: side of the square patches, in pixels.
        seed: seed of the order and the positions.
        key: the setting that names the folder, for messages.
        view_share: share of the patches that show a large part of a photo: a square with at least
            half its shorter side, reduced to the patch size. They show exposure, white balance
            and composition, which cannot be seen in a small part.
        cache_bytes: limit on the memory of the decoded photos, in bytes.
        cache: a `PhotoCache` that other streams use too; by default the stream has its own.
        crops_per_visit: patches that are cut from a photo before another one replaces it.

    Raises:
        UserError: if the folder has no picture of at least `patch_size` pixels a side.
    """

    def __init__(
        self,
        folder: str | Path,
        patch_size: int,
        seed: int,
        key: str,
        view_share: float = 0.0,
        cache_bytes: int = CACHE_BYTES,
        cache: PhotoCache | None = None,
        crops_per_visit: int = CROPS_PER_VISIT,
    ) -> None:
        self.patch_size = patch_size
        self.seed = seed
        self.key = key
        self.view_share = view_share
        self.folder = folder
        self.paths = find_pictures(folder, key)
        self.cache = PhotoCache(cache_bytes) if cache is None else cache
        self.unusable: set[str] = set()
        self.lock = threading.Lock()

        areas = self._measure()
        photo_bytes = 3 * np.mean(areas)
        self.crops = np.maximum(1, np.round(areas / patch_size**2)).astype(int)
        self.window = max(1, int(cache_bytes // photo_bytes))
        if self.window < len(self.paths):
            self.crops = np.minimum(self.crops, crops_per_visit)
        self.epoch_size = int(self.crops.sum())

    def _measure(self) -> np.ndarray:
        """Areas of all photos, in pixels. Photos that are too small or broken are dropped.

        Reading the headers of very many files would take long. Then only some are measured, and
        every photo counts with their mean. A bad photo is noticed when its turn comes.
        """
        few = len(self.paths) <= MEASURED_FILES
        step = 1 if few else len(self.paths) // 64
        measured = self.paths[::step]
        with ThreadPoolExecutor(8) as pool:
            sizes = list(pool.map(self._size, measured))
        usable = [(path, size) for path, size in zip(measured, sizes) if size is not None]
        if not usable:
            raise UserError(
                f"{self.key}: no usable picture in {self.folder}; "
                f"patch_size={self.patch_size} needs at least that many pixels a side"
            )
        areas = np.array([height * width for _, (height, width) in usable], float)
        if few:
            self.paths = [path for path, _ in usable]
            return areas
        return np.full(len(self.paths), areas.mean())

    def _size(self, path: str) -> tuple[int, int] | None:
        try:
            height, width = picture_size(path)
        except UnreadablePicture as error:
            self._skip(path, str(error))
            return None
        if min(height, width) < self.patch_size:
            self._skip(
                path, f"{path}: {width}×{height} pixels, smaller than patch_size={self.patch_size}"
            )
            return None
        return height, width

    @functools.cached_property
    def samples(self) -> list[PhotoSample]:
        """Samples of at most 200 photos, those that can be read, for statistics of the folder.

        Raises:
            UserError: if none of them can be read.
        """
        found = sample_photos(self.paths, self._read)
        if not found:
            raise UserError(f"{self.key}: no picture in {self.folder} can be read")
        return found

    def _read(self, path: str) -> np.ndarray | None:
        """The photo at `path`; None, with a warning, if it is broken or too small."""
        try:
            photo = self.cache.get(path)
        except UnreadablePicture as error:
            self._skip(path, str(error))
            return None
        if min(photo.shape[:2]) < self.patch_size:
            self._skip(path, f"{path}: smaller than patch_size={self.patch_size}")
            return None
        return photo

    def _skip(self, path: str, reason: str) -> None:
        """Warns of an unusable file, only once."""
        with self.lock:
            new = path not in self.unusable
            self.unusable.add(path)
        if new:
            log.warning("warning: skipped %s", reason)

    def digest(self) -> str:
        """SHA-256 of the photos' names and file sizes. Different data sets have different ones.

        A photo that has disappeared since the run began counts without a size.
        """
        found = hashlib.sha256()
        for path in self.paths:
            name = os.path.relpath(path, self.folder)
            size = os.path.getsize(path) if os.path.exists(path) else ""
            found.update(f"{name}\0{size}\0".encode("utf-8", "surrogateescape"))
        return found.hexdigest()

    def __getitem__(self, number: int) -> np.ndarray:
        """Patch `number`, counted from 0 without end.

        Returns:
            (patch_size, patch_size, 3) uint8 array.

        Raises:
            UserError: if no photo of the folder can be read any more.
        """
        return self.cut(number)[0][0]

    def cut(self, number: int, context: int = 0) -> tuple[np.ndarray, str]:
        """Patch `number`, and `context` more patches, which are spread over its photo.

        Returns:
            (1 + context, patch_size, patch_size, 3) uint8 array; path of the photo.

        Raises:
            UserError: if no photo of the folder can be read any more.
        """
        epoch, place = divmod(int(number), self.epoch_size)
        path, photo = self._photo(self._order(epoch)[place])
        rng = np.random.default_rng((self.seed, int(number)))
        is_view = rng.random() < self.view_share
        patches = [self._square(photo, is_view, rng)]
        if context:
            # All places are shifted together, by another distance each time.
            places = (spread(context) + rng.random(2)) % 1
            patches += [self._square(photo, is_view, rng, place) for place in places]
        return np.stack(patches), path

    def _square(
        self,
        photo: np.ndarray,
        is_view: bool,
        rng: np.random.Generator,
        place: np.ndarray | None = None,
    ) -> np.ndarray:
        """A square of a photo, at a random place or at one in [0, 1). A view is then reduced."""
        side = int(min(photo.shape[:2]) * rng.uniform(0.5, 1.0)) if is_view else 0
        side = max(side, self.patch_size)
        if place is None:
            top, left = (int(rng.integers(0, length - side + 1)) for length in photo.shape[:2])
            square = photo[top : top + side, left : left + side]
        else:
            square = square_at(photo, place, side)
        if side > self.patch_size:
            size = (self.patch_size, self.patch_size)
            square = np.asarray(Image.fromarray(square).resize(size, Image.Resampling.BOX))
        return square

    @functools.lru_cache(maxsize=2)  # noqa: B019 (a stream lives as long as the run)
    def _order(self, epoch: int) -> np.ndarray:
        """Indices into `paths` in the order of an epoch."""
        rng = np.random.default_rng((self.seed, epoch, 1))
        photos = rng.permutation(len(self.paths))
        order = []
        for start in range(0, len(photos), self.window):
            together = photos[start : start + self.window]
            order.append(rng.permutation(np.repeat(together, self.crops[together])))
        return np.concatenate(order)

    def _photo(self, index: int) -> tuple[str, np.ndarray]:
        """Path and photo at `index`, or at the next index whose photo can be used."""
        for step in range(len(self.paths)):
            path = self.paths[(index + step) % len(self.paths)]
            photo = None if path in self.unusable else self._read(path)
            if photo is not None:
                return path, photo
        raise UserError(f"{self.key}: no picture in {self.folder} can be read")
