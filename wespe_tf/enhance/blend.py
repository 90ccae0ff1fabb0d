"""Scales the enhancement of a photo: all of it, its tone, or its detail."""

import numpy as np
from scipy.ndimage import gaussian_filter1d

# Standard deviation of the blur that separates tone from detail, in pixels. It is that of the blur
# before DPED's color loss, "dped_code" in `models.views`. The blur ends at four deviations.
BLUR = 4.34
REACH = round(4 * BLUR)
BAND = 256  # rows at once


def blend(
    photo: np.ndarray,
    enhanced: np.ndarray,
    strength: float = 1.0,
    tone: float = 1.0,
    detail: float = 1.0,
) -> None:
    """Weakens or strengthens the enhancement of a photo, in place.

    The change is split into a blurred part, its tone, and the rest, its detail. The result is
    `photo + strength * (tone * blurred + detail * rest)`.

    Args:
        photo: (H, W, 3) uint8 or uint16 array.
        enhanced: array of the same shape and dtype; the result is written into it.
        strength: share of the enhancement in the result, 0 to 1.
        tone: factor on colors and brightness, 0 to 2.
        detail: factor on sharpness and texture, 0 to 2.
    """
    if (strength, tone, detail) == (1.0, 1.0, 1.0):
        return
    height, largest = len(photo), np.iinfo(photo.dtype).max
    before = np.zeros((0, *photo.shape[1:]), np.float32)  # The changes above the current band.
    for top in range(0, height, BAND):
        end = min(top + BAND, height)
        below = min(end + REACH, height)
        change = np.subtract(enhanced[top:below], photo[top:below], dtype=np.float32)
        part = detail * change[: end - top]
        if tone != detail:
            around = np.concatenate([before, change])
            part += (tone - detail) * _blurred(around)[len(before) : len(before) + end - top]
            before = around[: len(before) + end - top][-REACH:]
        result = photo[top:end] + strength * part
        enhanced[top:end] = np.rint(np.clip(result, 0, largest))


def _blurred(pictures: np.ndarray) -> np.ndarray:
    """Blurs an (H, W, 3) float32 array, which is mirrored at its edges."""
    for axis in (0, 1):
        pictures = gaussian_filter1d(pictures, BLUR, axis, truncate=REACH / BLUR)
    return pictures
