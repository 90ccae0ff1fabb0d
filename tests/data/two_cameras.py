"""Photos that two simulated cameras take of flat scenes, and the truth of where pixels lie."""

from dataclasses import dataclass

import cv2
import numpy as np

from wespe_tf.data.sample import load_picture


@dataclass(frozen=True)
class View:
    """What a camera saw of a scene.

    Attributes:
        homography: (3, 3), from the photo's pixels, without what the lens bends, to the scene's.
        size: width and height of the photo.
        lens: how far the lens moves a corner, in shares of its distance from the center.
    """

    homography: np.ndarray
    size: tuple[int, int]
    lens: float

    def _bent(self, points):
        center = (np.array(self.size) - 1) / 2
        away = (points - center) / np.hypot(*center)
        return points + (points - center) * self.lens * (away**2).sum(1, keepdims=True)

    def to_scene(self, points):
        """Pixels of the scene that the photo's (N, 2) pixels show."""
        straight = points
        for _ in range(20):  # The inverse of `_bent`, by fixed-point iteration.
            straight = points - (self._bent(straight) - straight)
        return _project(self.homography, straight)

    def from_scene(self, points):
        """Pixels of the photo that show the scene's (N, 2) pixels."""
        return self._bent(_project(np.linalg.inv(self.homography), points))

    def shoot(self, scene, rng, gain=1.0, gamma=1.0, noise=0.0, blur=0.0):
        """A photo of the scene, uint8."""
        width, height = self.size
        x, y = np.meshgrid(np.arange(width), np.arange(height))
        places = self.to_scene(np.stack([x.ravel(), y.ravel()], axis=1).astype(float))
        x, y = places.astype(np.float32).T.reshape(2, height, width)
        photo = cv2.remap(scene, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
        if blur:
            photo = cv2.GaussianBlur(photo, (0, 0), blur)
        photo = gain * (photo / 255) ** gamma * 255 + rng.normal(0, noise, photo.shape)
        return np.clip(np.rint(photo), 0, 255).astype(np.uint8)


def scene_of(name, factor=1.6):
    """A picture of scikit-image, enlarged."""
    return cv2.resize(load_picture(name), None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)


def random_view(scene, rng, zoom, size, lens):
    """A view that looks at most of a scene, from a random side.

    Args:
        scene: (H, W, 3) array.
        rng: source of the randomness.
        zoom: share of the scene's width that it shows.
        size: of the photo, in shares of the scene's.
        lens: see `View`.
    """
    whole = np.array([scene.shape[1], scene.shape[0]])
    photo = (whole * size).astype(int)
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    seen = corners * whole / 2 * zoom + whole / 2
    seen = seen + (rng.uniform(-0.03, 0.03, 2) + rng.uniform(-0.02, 0.02, (4, 2))) * whole
    homography = cv2.getPerspectiveTransform(
        ((corners + 1) / 2 * photo).astype(np.float32), seen.astype(np.float32)
    )
    return View(homography.astype(float), tuple(photo.tolist()), lens)


def phone_and_camera(scene, rng):
    """Two views of a scene and their photos: ((view, photo) of the phone, … of the camera).

    The phone's are darker, noisy and not sharp; both lenses bend by a percent, in opposite ways.
    """
    phone = random_view(scene, rng, zoom=0.8, size=0.65, lens=0.01)
    camera = random_view(scene, rng, zoom=0.92, size=1.0, lens=-0.01)
    dim = phone.shoot(scene, rng, gain=0.7, gamma=1.2, noise=4.0, blur=0.8)
    return (phone, dim), (camera, camera.shoot(scene, rng, gamma=0.9, noise=1.0))


def _project(homography, points):
    points = np.asarray(points, float).reshape(-1, 1, 2)
    return cv2.perspectiveTransform(points, homography).reshape(-1, 2)
