"""How good enhanced pictures are, compared with a reference: PSNR and SSIM."""

from collections.abc import Iterable

import numpy as np
import skimage.metrics

# Side of the window of `ssim` in pixels. Smaller pictures have no SSIM.
SSIM_WINDOW = 11


def psnr(picture: np.ndarray, reference: np.ndarray) -> float:
    """Peak signal-to-noise ratio of one 8-bit picture, decibels.

    Args:
        picture: (H, W, 3) uint8 array.
        reference: the same shape.

    Returns:
        10·log10(255² / MSE); infinite for equal pictures.
    """
    mse = np.mean(np.square(picture.astype(np.float64) - reference.astype(np.float64)))
    return float(10 * np.log10(255.0**2 / mse)) if mse > 0 else float("inf")


def ssim(picture: np.ndarray, reference: np.ndarray) -> float:
    """Structural similarity of one 8-bit picture (Wang et al. 2004), mean over channels.

    As in the publication, the window is a Gaussian with a standard deviation of 1.5, and
    covariances are biased.

    Args:
        picture: (H, W, 3) uint8 array; H and W are at least `SSIM_WINDOW`.
        reference: the same shape.

    Returns:
        At most 1.
    """
    return float(
        skimage.metrics.structural_similarity(
            picture,
            reference,
            channel_axis=-1,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )


def mean_psnr_ssim(
    pictures: Iterable[np.ndarray], references: Iterable[np.ndarray]
) -> tuple[float, float]:
    """Means of `psnr` and `ssim` over pairs of 8-bit pictures.

    Args:
        pictures: sequence of (H, W, 3) uint8 arrays.
        references: as many of the same shapes.

    Returns:
        (decibels, SSIM).
    """
    pairs = list(zip(pictures, references, strict=True))
    return (
        float(np.mean([psnr(*pair) for pair in pairs])),
        float(np.mean([ssim(*pair) for pair in pairs])),
    )


def tone_corrected_psnr(picture: np.ndarray, reference: np.ndarray) -> float:
    """PSNR after the best curve for each channel: the error that no global tone curve can remove.

    The curve maps each 8-bit value to the mean of the reference over the pixels with this value. Of
    all curves it has the smallest squared error.

    Args:
        picture: (H, W, 3) uint8 array.
        reference: the same shape.

    Returns:
        Decibels; infinite if a curve makes the picture equal to the reference.
    """
    squares = 0.0
    for c in range(3):
        values, answers = picture[..., c].ravel(), reference[..., c].ravel().astype(np.float64)
        count = np.maximum(np.bincount(values, minlength=256), 1)
        curve = np.bincount(values, weights=answers, minlength=256) / count
        squares += np.sum(np.square(curve[values] - answers))
    mse = squares / picture.size
    return float(10 * np.log10(255.0**2 / mse)) if mse > 0 else float("inf")
