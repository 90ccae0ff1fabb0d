"""Converts pixels of any color profile to sRGB, which the networks have learned."""

import functools
import io

import imagecodecs
import numpy as np
from PIL import ImageCms

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
# The profile of cameras that name it only in EXIF.
ADOBE_RGB = imagecodecs.cms_profile("adobergb")


def checked(icc: bytes) -> bytes:
    """The profile itself.

    Raises:
        ValueError: if it is broken.
    """
    if icc:
        try:
            ImageCms.ImageCmsProfile(io.BytesIO(icc))
        except OSError as error:
            raise ValueError("no color profile") from error
    return icc


def converted(pixels: np.ndarray, icc: bytes, space: str) -> np.ndarray | None:
    """Pixels in sRGB.

    Args:
        pixels: uint8 or uint16 array, (H, W) of gray, (H, W, 3) of RGB, (H, W, 4) of CMYK.
        icc: their color profile, bytes.
        space: `"GRAY"`, `"RGB"` or `"CMYK"`.

    Returns:
        (H, W, 3) array of the same dtype: `pixels` itself if they are sRGB already. None if the
        profile is of another space, or is damaged.
    """
    try:
        if icc[16:20].strip() != space.encode():  # Pillow's own function fails on odd bytes.
            return None
        if space == "RGB" and _is_srgb(icc):
            return pixels
        return _transform(pixels, icc, space)
    except (OSError, imagecodecs.CmsError):
        return None


@functools.lru_cache(maxsize=64)
def _is_srgb(icc: bytes) -> bool:
    """Whether a profile changes no color by more than 1 of 255.

    Names do not help: "Linear sRGB" has other tones, and profiles that are sRGB have many names.
    """
    steps = np.linspace(0, 65535, 18).astype(np.uint16)
    colors = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
    return np.abs(_transform(colors, icc, "RGB").astype(int) - colors).max() <= 257


def _transform(pixels: np.ndarray, icc: bytes, space: str) -> np.ndarray:
    pixels = np.ascontiguousarray(pixels)
    return imagecodecs.cms_transform(
        pixels, icc, SRGB, colorspace=space.lower(), outcolorspace="rgb"
    )
