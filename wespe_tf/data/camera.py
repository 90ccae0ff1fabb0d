"""A simulated phone camera: turns a good picture into a poor phone's photo of it.

Each step is one pure function. Light and sensor work on *linear* values, proportional to the
number of photons. The phone's own processing works on *display* values, the sRGB-encoded values
in files. Pictures are float32 (H, W, 3), RGB. 0 is black, and 1 is the largest value of a sensor
or file.
"""

from dataclasses import dataclass

import imageio.v3 as iio
import numpy as np
from scipy.ndimage import gaussian_filter
from skimage.color import rgb2gray


@dataclass(frozen=True)
class PhoneCamera:
    """One phone camera with fixed settings. The defaults are the camera of the sample dataset.

    They make a dim, yellowish, washed-out picture, a little soft and noisy, as an old phone does by
    day. Every picture gets the same distortion, so a network can learn its inverse from unpaired
    pictures. Most of the damage is lost saturation, because one tone curve must not be able to
    repair more than half of the damage.

    Attributes:
        blur: standard deviation of the lens's Gaussian blur, pixels, >= 0.
        vignetting: share of the light that is lost in the picture's corners, 0 (none) to 1.
        exposure: exposure error, EV (factors of two of light); negative is too dark.
        shot_noise: variance of the photon noise per unit of linear signal, >= 0: the inverse of
            the number of electrons that fill a pixel.
        read_noise: standard deviation of the sensor's noise in the dark, linear signal, >= 0.
        white_balance: gains of red, green and blue, > 0; (1, 1, 1) is the right balance.
        saturation: factor on the distance from gray; 0 is gray, 1 unchanged.
        contrast: factor on the distance from middle gray; 0 is flat, 1 unchanged.
        jpeg_quality: quality of the JPEG file on libjpeg's scale, 1 to 95.
    """

    blur: float = 0.9
    vignetting: float = 0.25
    exposure: float = -0.5
    shot_noise: float = 0.0015
    read_noise: float = 0.002
    white_balance: tuple[float, float, float] = (1.1, 1.0, 0.7)
    saturation: float = 0.27
    contrast: float = 0.82
    jpeg_quality: int = 90

    def develop(self, picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Take a picture of `picture`, as the phone holds it before it writes a file.

        Args:
            picture: the scene, float32 (H, W, 3), display values in [0, 1].
            rng: source of the noise; it fully determines the result.

        Returns:
            float32 (H, W, 3), display values in [0, 1].

        Raises:
            ValueError: if `picture` is not (H, W, 3).
        """
        if picture.ndim != 3 or picture.shape[2] != 3:
            raise ValueError(f"expected a picture of shape (H, W, 3), got {picture.shape}")
        light = srgb_to_linear(picture)
        light = blur_lens(light, self.blur)
        light = vignette(light, self.vignetting)
        light = expose(light, self.exposure)
        signal = add_noise(light, self.shot_noise, self.read_noise, rng)
        signal = balance_white(signal, self.white_balance)
        display = linear_to_srgb(np.clip(signal, 0, 1))
        display = saturate(display, self.saturation)
        display = stretch_contrast(display, self.contrast)
        return np.clip(display, 0, 1)

    def encode(self, display: np.ndarray) -> bytes:
        """Write the result of `develop`, or a part of it, as the phone's JPEG file.

        Args:
            display: float32 (H, W, 3), display values in [0, 1].

        Returns:
            the bytes of the file, 4:2:0 chroma subsampling as phones use.
        """
        return encode_jpeg(display, self.jpeg_quality)


def srgb_to_linear(display: np.ndarray) -> np.ndarray:
    """Undo the sRGB encoding (IEC 61966-2-1): display values in [0, 1] to linear ones."""
    return np.where(display <= 0.04045, display / 12.92, ((display + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(linear: np.ndarray) -> np.ndarray:
    """Encode linear values in [0, 1] as sRGB (IEC 61966-2-1)."""
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def blur_lens(linear: np.ndarray, sigma: float) -> np.ndarray:
    """Spread each point of light over a Gaussian of standard deviation `sigma` pixels."""
    return gaussian_filter(linear, (sigma, sigma, 0), mode="nearest")


def vignette(linear: np.ndarray, loss: float) -> np.ndarray:
    """Darken towards the corners: a pixel keeps 1 - loss·r², r = 0 in the center, 1 in a corner."""
    height, width = linear.shape[:2]
    y, x = np.linspace(-1, 1, height), np.linspace(-1, 1, width)
    # Distances are relative to the diagonal, so that the fall-off is round in any frame.
    y, x = y * height / np.hypot(height, width), x * width / np.hypot(height, width)
    gain = 1 - loss * (y[:, None] ** 2 + x**2)
    return linear * gain[..., None].astype(linear.dtype)


def expose(linear: np.ndarray, ev: float) -> np.ndarray:
    """Change the amount of light by `ev` factors of two."""
    return linear * 2.0**ev


def add_noise(linear: np.ndarray, shot: float, read: float, rng: np.random.Generator) -> np.ndarray:
    """Add the sensor's noise: independent and normal, of variance shot·signal + read².

    The usual model of raw data (Foi et al., "Practical Poissonian-Gaussian noise modeling and
    fitting for single-image raw-data", IEEE TIP 2008). Values may leave [0, 1].
    """
    sigma = np.sqrt(shot * linear + read**2)
    return linear + sigma * rng.standard_normal(linear.shape, dtype=np.float32)


def balance_white(linear: np.ndarray, gains: tuple[float, float, float]) -> np.ndarray:
    """Multiply red, green and blue by their gains."""
    return linear * np.asarray(gains, linear.dtype)


def saturate(display: np.ndarray, factor: float) -> np.ndarray:
    """Scale each pixel's distance from the gray of its luminance by `factor`."""
    gray = rgb2gray(display)[..., None]
    return gray + factor * (display - gray)


def stretch_contrast(display: np.ndarray, factor: float) -> np.ndarray:
    """Scale the distance from middle gray, display value 0.5, by `factor`."""
    return 0.5 + factor * (display - 0.5)


def encode_jpeg(display: np.ndarray, quality: int) -> bytes:
    """Write display values in [0, 1] as the bytes of a JPEG file of that quality, 4:2:0."""
    pixels = np.round(display * 255).astype(np.uint8)
    return iio.imwrite(
        "<bytes>", pixels, extension=".jpg", plugin="pillow", quality=quality, subsampling="4:2:0"
    )
