"""What a run is judged by: fixed validation crops, their metrics, the histogram match."""

import numpy as np

from . import metrics
from .data.folders import find_pairs
from .data.pipeline import fixed_crops
from .enhance import enhance
from .images import to_uint8
from .tone import ToneCurve, histogram

CROPS = 64
CROP_SIZE = 100
SHOWN = 8
BATCH = 16


class Validation:
    """64 fixed crops of the validation pairs, or of source photos where there are no pairs.

    Args:
        source_stream: `PatchStream` of the training's source photos.
        target_stream: `PatchStream` of the training's target photos.
        val_source: folder of the phone's side of the validation pairs, or None.
        val_target: folder of the good side, or None.

    Attributes:
        source: (64, s, s, 3) uint8 input crops, s ≤ 100.
        target: (64, s, s, 3) uint8: their partners, or unpaired target patches.
        paired: whether they are partners.
        curve: the `ToneCurve` from the source domain to the target domain.
        baselines: dictionary of `psnr_input`, `ssim_input`, `psnr_histogram_match`,
            `ssim_histogram_match`; empty without pairs.

    Raises:
        UserError: if the folders' names or sizes do not match.
    """

    def __init__(self, source_stream, target_stream, val_source=None, val_target=None):
        self.paired = val_source is not None
        if self.paired:
            pairs = find_pairs(val_source, val_target)
            self.source, self.target = fixed_crops(pairs, CROPS, CROP_SIZE)
        else:
            self.source, self.target = (
                fixed_crops([(path,) for path in stream.readable], CROPS, CROP_SIZE)[0]
                for stream in (source_stream, target_stream)
            )
        self.curve = ToneCurve.match(
            histogram(source_stream.readable), histogram(target_stream.readable)
        )
        self.baselines = {}
        if self.paired:
            for name, pictures in (
                ("input", self.source),
                ("histogram_match", to_uint8(self.curve(self.source))),
            ):
                psnr, ssim = metrics.mean_psnr_ssim(pictures, self.target)
                self.baselines |= {f"psnr_{name}": psnr, f"ssim_{name}": ssim}

    def enhance(self, generator):
        """The generator's answer to all source crops, (64, s, s, 3) uint8."""
        batches = range(0, len(self.source), BATCH)
        return np.concatenate([enhance(generator, self.source[k : k + BATCH]) for k in batches])

    def evaluate(self, enhanced):
        """Metrics of enhanced crops.

        Args:
            enhanced: (64, s, s, 3) uint8, as `enhance` returns.

        Returns:
            Dictionary of `collapse_score`, `correlation`, `mean_red`, `mean_green`, `mean_blue`
            ([0, 1]), and with pairs `psnr` (dB) and `ssim`.
        """
        pictures, source = enhanced / 255.0, self.source / 255.0
        red, green, blue = pictures.mean(axis=(0, 1, 2))
        values = {
            "collapse_score": metrics.collapse_score(pictures, source),
            "correlation": metrics.input_correlation(pictures, source),
            "mean_red": float(red),
            "mean_green": float(green),
            "mean_blue": float(blue),
        }
        if self.paired:
            values["psnr"], values["ssim"] = metrics.mean_psnr_ssim(enhanced, self.target)
        return values
