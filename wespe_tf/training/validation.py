"""Judges a run: fixed validation crops, their metrics, and the histogram match."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from ..data.crops import fixed_crops
from ..data.folders import find_pairs
from ..data.patches import PatchStream
from ..enhance.runtimes import choose_runtime
from ..enhance.tiles import Enhancer, enhance
from ..guide.samples import histogram
from ..guide.tone_curve import ToneCurve
from ..images.picture import to_uint8
from ..metrics import collapse, distance, quality, texture
from ..models.generator import Generator
from ..models.staged import Staged, reach

CROPS = 64
CROP_SIZE = 100
SHOWN = 8

STATISTICS = (distance.color_statistics, distance.texture_statistics)


class Validation:
    """64 fixed crops of the validation pairs, or of source photos if there are no pairs.

    Args:
        source_stream: `PatchStream` of the training's source photos.
        target_stream: `PatchStream` of the training's target photos.
        val_source: folder of the validation pairs' phone photos, or None.
        val_target: folder of the validation pairs' good photos, or None.
        context: if not 0, each crop is enhanced with the norms' statistics of so many other crops
            of its photo, as G was trained; see `context_patches`.

    Attributes:
        source: (64, s, s, 3) uint8 input crops, s ≤ 100.
        target: (64, s, s, 3) uint8: their partners, or crops of other target photos.
        paired: whether `target` holds the partners of `source`.
        curve: the `ToneCurve` from the source domain to the target domain.
        wanted: (64, s, s, 3) uint8 crops of the training's target photos, of any scene.
        baselines: dictionary of `psnr_input`, `ssim_input`, `psnr_histogram_match`,
            `ssim_histogram_match`; empty without pairs.

    Raises:
        UserError: if names or sizes of the pairs' files do not match.
    """

    def __init__(
        self,
        source_stream: PatchStream,
        target_stream: PatchStream,
        val_source: str | Path | None = None,
        val_target: str | Path | None = None,
        context: int = 0,
    ) -> None:
        self.paired = val_source is not None and val_target is not None
        (self.wanted,) = _crops_of(target_stream)
        if val_source is not None and val_target is not None:
            pairs = find_pairs(val_source, val_target)
            self.source, self.target, *found = fixed_crops(pairs, CROPS, CROP_SIZE, context=context)
        else:
            self.source, *found = _crops_of(source_stream, context)
            self.target = self.wanted
        self.context = found[0] if context else None
        self.wanted_texture = texture.detail_energy(self.wanted), texture.flat_noise(self.wanted)
        self.wanted_statistics = [statistics(self.wanted) for statistics in STATISTICS]
        self.idle = self._distances(self.source)
        self.curve = ToneCurve.match(
            *(histogram(stream.samples) for stream in (source_stream, target_stream))
        )
        self.enhancer: Enhancer | None = None
        self.enhance_part: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
        self.baselines: dict[str, float] = {}
        if self.paired:
            for name, pictures in (
                ("input", self.source),
                ("histogram_match", to_uint8(self.curve(self.source))),
            ):
                psnr, ssim = quality.mean_psnr_ssim(pictures, self.target)
                self.baselines |= {f"psnr_{name}": psnr, f"ssim_{name}": ssim}

    def enhance(self, generator: Generator) -> np.ndarray:
        """Enhances all source crops, with their context; (64, s, s, 3) uint8."""
        # Kept for the next evaluation: TensorFlow would have to trace a new `Enhancer`.
        if self.enhancer is None or self.enhancer.generator is not generator:
            self.enhancer = Enhancer(generator, choose_runtime("keras"))
            self.enhance_part = None
        if self.context is None or self.enhancer.local:
            return np.stack([enhance(self.enhancer, crop) for crop in self.source])
        if self.enhance_part is None:
            self.enhance_part = _part_enhancer(self.enhancer.generator)
        return np.stack([self.enhance_part(*part) for part in zip(self.source, self.context)])

    def evaluate(self, enhanced: np.ndarray) -> dict[str, float]:
        """Metrics of enhanced crops.

        Args:
            enhanced: (64, s, s, 3) uint8, as `enhance` returns.

        Returns:
            Dictionary of `distance` (see `distance`), `collapse_score`, `correlation`,
            `mean_red`, `mean_green`, `mean_blue` ([0, 1]), `detail_ratio` and `flat_noise_ratio`
            (`texture.detail_energy` and `texture.flat_noise` over those of `wanted`), and with
            pairs `psnr` (dB) and `ssim`.
        """
        pictures, source = enhanced / 255.0, self.source / 255.0
        red, green, blue = pictures.mean(axis=(0, 1, 2))
        values = {
            "distance": self.distance(enhanced),
            "collapse_score": collapse.collapse_score(pictures, source),
            "correlation": collapse.input_correlation(pictures, source),
            "mean_red": float(red),
            "mean_green": float(green),
            "mean_blue": float(blue),
            "detail_ratio": texture.ratio(texture.detail_energy(enhanced), self.wanted_texture[0]),
            "flat_noise_ratio": texture.ratio(texture.flat_noise(enhanced), self.wanted_texture[1]),
        }
        if self.paired:
            values["psnr"], values["ssim"] = quality.mean_psnr_ssim(enhanced, self.target)
        return values

    def distance(self, pictures: np.ndarray) -> float:
        """How far pictures are from the target domain, measured without pairs. Lower is better.

        For `color_statistics` and for `texture_statistics`, it divides the sliced Wasserstein
        distance between `pictures` and `wanted` by that between `source` and `wanted`. The result
        is the mean of both ratios; 1 means no better than the input. docs/RECIPE.md says how far
        it agrees with PSNR.

        Args:
            pictures: (64, s, s, 3) uint8, as `enhance` returns.
        """
        pairs = zip(self._distances(pictures), self.idle)
        return float(np.mean([now / max(before, 1e-6) for now, before in pairs]))

    def _distances(self, pictures: np.ndarray) -> list[float]:
        return [
            distance.sliced_wasserstein(statistics(pictures), wanted)
            for statistics, wanted in zip(STATISTICS, self.wanted_statistics)
        ]


def _crops_of(stream: PatchStream, context: int = 0) -> tuple[np.ndarray, ...]:
    """64 fixed crops of a `PatchStream`'s photos, and their context, if there is one."""
    photos = [(photo.path,) for photo in stream.samples]
    return fixed_crops(photos, CROPS, CROP_SIZE, read=stream.cache.get, context=context)


def _part_enhancer(generator: Generator) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """A function that enhances a part of a photo with the statistics of other parts.

    It takes a (H, W, 3) uint8 array and a (K, h, w, 3) one, and returns a (H, W, 3) uint8 array.
    """
    staged = Staged(generator)
    frame, edge = reach(generator), reach(generator, norms_only=True)

    @tf.function(reduce_retracing=True)
    def run(picture: tf.Tensor, context: tf.Tensor) -> tf.Tensor:
        picture, context = (tf.cast(p, tf.float32) / 255 for p in (picture, context))
        # Zero padding changes the edges of the other parts, but small parts are little else.
        margin = min(edge, context.shape[1] // 4)
        return staged.like_photos(picture[None], context[None], margin)[0]

    def enhance_part(picture: np.ndarray, context: np.ndarray) -> np.ndarray:
        framed = np.pad(picture, ((frame, frame), (frame, frame), (0, 0)), "reflect")
        return to_uint8(run(framed, context).numpy()[frame:-frame, frame:-frame])

    return enhance_part
