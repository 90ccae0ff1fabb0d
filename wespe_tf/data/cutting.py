"""Aligned patches of two registered photos, as DPED's authors cut them.

Cross-correlation finds each window of the phone's photo in the camera's photo, near the place where
the registration expects it (Ignatov et al., "DSLR-Quality Photos on Mobile Devices with Deep
Convolutional Networks", ICCV 2017, section 3.1). Their windows move by whole pixels. Here they move
by fractions of a pixel.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from .registration import Registration

# A window moves away from its expected place only if its correlation gains this much for each
# squared pixel of the move. So smooth windows, which correlate everywhere, stay where they are.
GAIN_OF_A_MOVE = 5e-4
# Smallest standard deviation of a window's gray values (of 255); below it, the window is refused.
FLATTEST = 1.5
# The camera's photo is shrunk first if more of its pixels than this lie along a phone pixel.
FINEST = 1.2


@dataclass(frozen=True)
class Window:
    """A window of the phone's photo, which is kept or refused.

    Attributes:
        left, top: its upper left corner in the phone's photo, in pixels.
        x, y: its center in the camera's photo, in pixels with fractions.
        correlation: correlation of both gray patches, -1 to 1.
        phone, camera: (S, S, 3) uint8 patches; None if the window is refused.
        reason: why it is refused; empty if it is kept.
    """

    left: int
    top: int
    x: float
    y: float
    correlation: float
    phone: np.ndarray | None = None
    camera: np.ndarray | None = None
    reason: str = ""


class Cutter:
    """Cuts aligned patches of two photos.

    Args:
        phone: (H, W, 3) uint8 array.
        camera: (H', W', 3) uint8 array.
        registration: from the phone's pixels to the camera's.
        size: side of the patches, in pixels of the phone's photo.
        search: how far around its expected place a window is looked for, in pixels. It is refused
            if it is found less than a pixel from the end of this area.
        threshold: smallest correlation of patches that are kept.

    Attributes:
        scale: how many camera pixels lie along a phone pixel.
    """

    def __init__(
        self,
        phone: np.ndarray,
        camera: np.ndarray,
        registration: Registration,
        size: int,
        search: int,
        threshold: float,
    ):
        self.phone, self.registration = phone, registration
        self.size, self.search, self.threshold = size, search, threshold
        self.limits = np.array([camera.shape[1], camera.shape[0]]) - 1
        self.scale = registration.scale(np.array(phone.shape[1::-1]) / 2)
        self.factor = 1 / self.scale if self.scale > FINEST else 1.0
        if self.factor < 1:
            camera = cv2.resize(
                camera, None, fx=self.factor, fy=self.factor, interpolation=cv2.INTER_AREA
            )
        self.camera = camera
        self.gray = cv2.cvtColor(camera, cv2.COLOR_RGB2GRAY)

    def windows(self, stride: int) -> Iterator[Window]:
        """All windows of the part that both photos show, `stride` pixels apart, row by row."""
        height, width = self.phone.shape[:2]
        for top in range(0, height - self.size + 1, stride):
            for left in range(0, width - self.size + 1, stride):
                if self._is_common(left, top):
                    yield self._window(left, top)

    def preview(self, side: int) -> np.ndarray:
        """The camera's view of the phone's whole photo, black where the camera saw nothing.

        Args:
            side: longer side of the result, in pixels.

        Returns:
            (h, w, 3) uint8 array.
        """
        height, width = self.phone.shape[:2]
        step = max(1.0, max(height, width) / side)
        x, y = np.meshgrid(np.arange(0, width, step), np.arange(0, height, step))
        places = self.registration(np.stack([x.ravel(), y.ravel()], axis=1)) * self.factor
        # Most pixels are skipped. Without this blur, slanted edges would turn into steps.
        smooth = cv2.GaussianBlur(self.camera, (0, 0), 0.4 * step)
        x, y = places.astype(np.float32).T.reshape(2, *x.shape)
        return cv2.remap(smooth, x, y, cv2.INTER_LINEAR)

    def _is_common(self, left: int, top: int) -> bool:
        """Whether the camera saw a window and the area around it that is searched."""
        low, high = -self.search, self.size - 1 + self.search
        corners = np.array([[low, low], [high, low], [high, high], [low, high]]) + (left, top)
        places = self.registration(corners)
        return bool((places >= 0).all() and (places <= self.limits).all())

    def _window(self, left: int, top: int) -> Window:
        patch = self.phone[top : top + self.size, left : left + self.size]
        gray = cv2.cvtColor(patch, cv2.COLOR_RGB2GRAY)
        if gray.std() < FLATTEST:
            x, y = self._center(left, top)
            return Window(left, top, x, y, 0.0, reason="nothing to see")
        reach = self.search
        around = self._cut(self.gray, left - reach, top - reach, self.size + 2 * reach)
        move_x, move_y = best_move(cv2.matchTemplate(around, gray, cv2.TM_CCOEFF_NORMED))
        found = self._cut(self.camera, left + move_x, top + move_y, self.size)
        seen = cv2.cvtColor(found, cv2.COLOR_RGB2GRAY)
        # For two patches of the same size, matchTemplate gives a single correlation.
        correlation = float(cv2.matchTemplate(seen, gray, cv2.TM_CCOEFF_NORMED)[0, 0])
        x, y = self._center(left + move_x, top + move_y)
        if max(abs(move_x), abs(move_y)) > reach - 1:
            return Window(left, top, x, y, correlation, reason="out of reach")
        if not correlation >= self.threshold:
            return Window(left, top, x, y, correlation, reason="too unlike")
        return Window(left, top, x, y, correlation, patch, found)

    def _center(self, left: float, top: float) -> list[float]:
        middle = np.full((1, 2), (self.size - 1) / 2)
        place = cv2.perspectiveTransform(middle[None], self._view(left, top, self.size))[0, 0]
        return (((place + 0.5) / self.factor) - 0.5).tolist()

    def _cut(self, camera: np.ndarray, left: float, top: float, size: int) -> np.ndarray:
        """The camera's view of a square of the phone's photo. Its corner may lie between pixels."""
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        return cv2.warpPerspective(camera, self._view(left, top, size), (size, size), flags=flags)

    def _view(self, left: float, top: float, size: int) -> np.ndarray:
        """The homography from a square of the phone's photo to `self.camera`, from its corners.

        Within a square, lenses move points by less than a tenth of a pixel from this homography.
        """
        corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float) * (size - 1)
        places = self.registration(corners + (left, top))
        # Pixel 0 begins at -0.5, and must still begin there after scaling.
        places = (places + 0.5) * self.factor - 0.5
        return cv2.getPerspectiveTransform(corners.astype(np.float32), places.astype(np.float32))


def best_move(correlations: np.ndarray) -> tuple[float, float]:
    """The move with which a window correlates best, to fractions of a pixel.

    Args:
        correlations: (2r + 1, 2r + 1) array; its middle is the window that has not moved.

    Returns:
        The move in x and y, in pixels, between -r and r.
    """
    reach = len(correlations) // 2
    away = np.arange(-reach, reach + 1) ** 2
    gain = correlations - GAIN_OF_A_MOVE * (away[:, None] + away)
    row, column = map(int, np.unravel_index(np.nanargmax(gain), gain.shape))
    return (
        column - reach + _summit(gain[row], column),
        row - reach + _summit(gain[:, column], row),
    )


def _summit(line: np.ndarray, k: int) -> float:
    """Top of the parabola through values k - 1, k and k + 1, relative to k, in [-0.5, 0.5]."""
    if not 0 < k < len(line) - 1:
        return 0.0
    before, here, after = line[k - 1 : k + 2]
    bend = before - 2 * here + after
    return float(np.clip(0.5 * (before - after) / bend, -0.5, 0.5)) if bend < 0 else 0.0
