"""Prepares a photo for a network: continues it beyond its edges, and cuts parts as floats."""

import numpy as np

BAND = 256  # rows at once
# Weights of red, green and blue in luminance, from BT.601.
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)


def has_color(photo: np.ndarray) -> bool:
    """Whether any pixel of a photo, (H, W, 3), is not gray."""
    bands = (photo[top : top + BAND] for top in range(0, len(photo), BAND))
    return any((band != band[..., :1]).any() for band in bands)


def remove_color(photo: np.ndarray) -> None:
    """Replaces the pixels of a photo, (H, W, 3) uint8 or uint16, by their luminance, in place."""
    for top in range(0, len(photo), BAND):
        photo[top : top + BAND] = np.rint(photo[top : top + BAND] @ LUMINANCE)[..., None]


class Framed:
    """A photo that is continued by its mirror image, without a copy in memory.

    Args:
        photo: (H, W, 3) uint8 or uint16 array.
        frame: width of the mirror image on every side, in pixels.

    Attributes:
        shape: height and width with the frame.
    """

    def __init__(self, photo: np.ndarray, frame: int):
        self.photo, self.frame = photo, frame
        self.rows, self.columns = (
            np.pad(np.arange(length), frame, mode="symmetric") for length in photo.shape[:2]
        )
        self.shape = len(self.rows), len(self.columns)

    def cut(self, corner: tuple[int, int], shape: tuple[int, int]) -> np.ndarray:
        """A part as (1, h, w, 3) float32 in [0, 1]. `corner` is (top, left)."""
        (top, left), (height, width) = corner, shape
        rows, columns = self.rows[top : top + height], self.columns[left : left + width]
        tile = self.photo[rows[:, None], columns].astype(np.float32)
        tile /= np.iinfo(self.photo.dtype).max
        return tile[None]

    def place(self, result: np.ndarray, tile: np.ndarray, inner: tuple[int, int, int, int]) -> None:
        """Writes the part of a tile within the photo into the result, clipped and rounded.

        Args:
            result: array of the photo's shape and dtype.
            tile: (h, w, 3) float32 array, about in [0, 1].
            inner: (top, bottom, left, right) of the tile in the framed photo.
        """
        top, bottom, left, right = (place - self.frame for place in inner)
        height, width = self.photo.shape[:2]
        rows = slice(max(0, -top), max(0, min(bottom, height) - top))
        columns = slice(max(0, -left), max(0, min(right, width) - left))
        tile = tile[rows, columns]
        if tile.size:
            largest = np.iinfo(result.dtype).max
            above, beside = max(top, 0), max(left, 0)
            result[above : above + tile.shape[0], beside : beside + tile.shape[1]] = np.rint(
                np.clip(tile, 0.0, 1.0) * np.float32(largest)
            )
