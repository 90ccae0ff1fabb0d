"""Registration: finds where one photo's pixels lie in another photo of the same scene.

Scale-invariant features (SIFT) find points that both photos show. RANSAC fits a homography to the
points that agree. Then least squares refine it, together with the distortion of both lenses: at
the distance r from a photo's center, a point moves by a share of r², as in Brown's lens model.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.optimize import least_squares

# Photos are reduced to this longer side before features are looked for. SIFT enlarges a photo to
# twice its size and keeps eleven float32 copies, 180 MB at this side.
FEATURE_SIDE = 1000
MOST_FEATURES = 1500
# SIFT's default of 0.04 finds few features in a phone's dim photos.
FAINTEST_CONTRAST = 0.01
# Largest ratio of the distances of a feature's best and second best match (Lowe, IJCV 2004).
RATIO = 0.8
# Largest distance between a matching point and its place by the homography, as a share of half the
# diagonal. Lenses distort photos by about 1 %.
REACH = 0.01
# Six points are needed for ten numbers: eight of the homography, one for each lens.
FEWEST = 6
# A photo shows at most this many times the width of the other.
LARGEST_ZOOM = 8
# Usual error of matching points, one pixel of the reduced photo, and usual distortion of a photo's
# corners by a lens. Both are shares of half the diagonal.
USUAL_MISS = 1 / 600
USUAL_BEND = 0.02


@dataclass(frozen=True)
class Features:
    """The SIFT features of a photo.

    Attributes:
        height, width: size of the photo in pixels.
        points: (N, 2) float32, x and y in the photo's pixels, the strongest feature first.
        descriptors: (N, 128) uint8.
    """

    height: int
    width: int
    points: np.ndarray
    descriptors: np.ndarray

    @property
    def center(self) -> np.ndarray:
        """Center of the photo, (2,): x and y in pixels."""
        return np.array([self.width - 1, self.height - 1]) / 2

    @property
    def radius(self) -> float:
        """Half the photo's diagonal, in pixels."""
        return float(np.hypot(self.width, self.height) / 2)


@dataclass(frozen=True)
class Registration:
    """A map from the pixels of one photo to those of another.

    Attributes:
        one, other: features of both photos, for their sizes.
        homography: (3, 3) matrix from the first photo to the other. Points are measured from the
            photos' centers, in units of half the diagonal.
        bend_one, bend_other: distortion of each lens: it moves a point by this share of r². r is
            the distance from the center in the same unit.
        matches: number of matching points that agree.
    """

    one: Features
    other: Features
    homography: np.ndarray
    bend_one: float
    bend_other: float
    matches: int

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Maps points of the first photo to the other.

        Args:
            points: (N, 2) array, x and y in the first photo's pixels.

        Returns:
            (N, 2) float64 array, x and y in the other photo's pixels.
        """
        from_center = (np.asarray(points, np.float64) - self.one.center) / self.one.radius
        moved = _bent(from_center, self.bend_one)
        moved = _bent(_project(self.homography, moved), self.bend_other)
        return moved * self.other.radius + self.other.center

    def scale(self, point: np.ndarray) -> float:
        """How many pixels of the other photo lie along a pixel of the first, at a point (2,)."""
        x, y = point
        origin, right, below = self(np.array([[x, y], [x + 1, y], [x, y + 1]], float))
        return float(np.sqrt(abs(np.linalg.det(np.stack([right - origin, below - origin])))))


def describe(photo: np.ndarray) -> Features:
    """The features of a photo, at most `MOST_FEATURES`.

    Args:
        photo: (H, W, 3) uint8 RGB array.
    """
    height, width = photo.shape[:2]
    factor = min(1.0, FEATURE_SIDE / max(height, width))
    small = cv2.resize(photo, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    sift = cv2.SIFT.create(nfeatures=MOST_FEATURES, contrastThreshold=FAINTEST_CONTRAST)
    found, descriptors = sift.detectAndCompute(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), None)
    if not found:
        return Features(height, width, np.zeros((0, 2), np.float32), np.zeros((0, 128), np.uint8))
    order = np.argsort([-point.response for point in found], kind="stable")
    points = (np.array([point.pt for point in found], np.float32) + 0.5) / factor - 0.5
    return Features(height, width, points[order], descriptors[order].astype(np.uint8))


def matching_points(one: Features, other: Features, most: int = MOST_FEATURES) -> np.ndarray:
    """Indices of features that are like each other, and unlike all other features.

    Args:
        one: features of a photo.
        other: features of another photo.
        most: how many of the strongest features of each photo are compared.

    Returns:
        (N, 2) int array: index in `one`, index in `other`.
    """
    ours, theirs = (side.descriptors[:most].astype(np.float32) for side in (one, other))
    if min(len(ours), len(theirs)) < 2:
        return np.zeros((0, 2), int)
    pairs = cv2.BFMatcher(cv2.NORM_L2).knnMatch(ours, theirs, k=2)
    good = [best for best, second in pairs if best.distance < RATIO * second.distance]
    # If several match one feature, only the nearest stays: {index in other: index in one}.
    nearest = {m.trainIdx: m.queryIdx for m in sorted(good, key=lambda m: -m.distance)}
    return np.array([(i, j) for j, i in nearest.items()], int).reshape(-1, 2)


def register(one: Features, other: Features) -> Registration | None:
    """The registration of two photos that show the same scene.

    Args:
        one: features of the first photo, whose pixels are looked for.
        other: features of the photo in which they are looked for.

    Returns:
        A `Registration`, or None if the matching points do not fit two views of one scene. Few
        `matches` mean that the photos show different scenes.
    """
    matches = matching_points(one, other)
    if len(matches) < FEWEST:
        return None
    source = (one.points[matches[:, 0]] - one.center) / one.radius
    target = (other.points[matches[:, 1]] - other.center) / other.radius
    homography, agree = cv2.findHomography(
        source, target, cv2.USAC_MAGSAC, REACH, maxIters=5000, confidence=0.9999
    )
    if homography is None or not _is_view(homography, one, other):
        return None
    source, target = (side[agree.ravel().astype(bool)] for side in (source, target))
    if len(source) < FEWEST:
        return None
    # A point may have several features, which differ in their direction.
    distinct = min(len(np.unique(side.round(3), axis=0)) for side in (source, target))
    return Registration(one, other, *_refined(homography, source, target), distinct)


def agreeing(registration: Registration | None) -> int:
    """How many points of two photos agree; 0 without a registration."""
    return 0 if registration is None else registration.matches


def _refined(
    homography: np.ndarray, source: np.ndarray, target: np.ndarray
) -> tuple[np.ndarray, float, float]:
    """The homography and both lenses' distortions that fit points best. Outliers count little."""

    def moved(values: np.ndarray, points: np.ndarray) -> np.ndarray:
        matrix = np.append(values[:8], 1).reshape(3, 3)
        return _bent(_project(matrix, _bent(points, values[8])), values[9])

    def misses(values: np.ndarray) -> np.ndarray:
        return np.append(
            (moved(values, source) - target).ravel() / USUAL_MISS, values[8:] / USUAL_BEND
        )

    start = np.append((homography / homography[2, 2]).ravel()[:8], [0.0, 0.0])
    found = least_squares(misses, start, loss="soft_l1").x
    return np.append(found[:8], 1).reshape(3, 3), float(found[8]), float(found[9])


def _is_view(homography: np.ndarray, one: Features, other: Features) -> bool:
    """Whether a homography keeps the order of a photo's corners, and its size within limits."""
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * one.center / one.radius
    depths = corners @ homography[2, :2] + homography[2, 2]
    if depths.min() * depths.max() <= 0:
        return False
    moved = _project(homography, corners).astype(np.float32)
    # The area has a sign; that of a mirrored view is negative.
    area = cv2.contourArea(moved, oriented=True) / cv2.contourArea(corners.astype(np.float32), True)
    return bool(cv2.isContourConvex(moved) and 1 / LARGEST_ZOOM**2 < area < LARGEST_ZOOM**2)


def _project(homography: np.ndarray, points: np.ndarray) -> np.ndarray:
    points = np.asarray(points, np.float64).reshape(-1, 1, 2)
    return cv2.perspectiveTransform(points, homography).reshape(-1, 2)


def _bent(points: np.ndarray, share: float) -> np.ndarray:
    """Points after the distortion of a lens, measured as in `Registration.homography`."""
    return points * (1 + share * (points**2).sum(axis=1, keepdims=True))
