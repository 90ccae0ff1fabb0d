"""Compares the time for MS-SSIM of 1000 patches, in batches of 50: the authors' code and ours.

python benchmarks/ms_ssim.py reference=PATH_TO_THEIR_CHECKOUT
"""

import dataclasses
import importlib
import os
import statistics
import sys
import time
import types

import numpy as np
import scipy.ndimage

from wespe_tf.config.command import as_command
from wespe_tf.config.schema import setting
from wespe_tf.errors import UserError
from wespe_tf.metrics.ms_ssim import ms_ssim

COUNT, BATCH, REPEATS = 1000, 50, 3


@dataclasses.dataclass
class Settings:
    """Settings of this script."""

    reference: str = setting("", "checkout of the authors' repository, aiff22/DPED")


@as_command("usage: python benchmarks/ms_ssim.py reference=CHECKOUT", Settings)
def main(config):
    """Prints both times and their ratio, pair by pair."""
    theirs = load_theirs(config.reference)
    rng = np.random.default_rng(0)
    dslr = rng.uniform(0, 255, (COUNT, 100, 100, 3))
    enhanced = np.clip(dslr + rng.normal(0, 20, dslr.shape), 0, 255)

    def seconds(function):
        start = time.perf_counter()
        for k in range(0, COUNT, BATCH):
            function(dslr[k : k + BATCH], enhanced[k : k + BATCH])
        return time.perf_counter() - start

    ms_ssim(dslr[:BATCH], enhanced[:BATCH])
    pairs = [(seconds(theirs), seconds(ms_ssim)) for _ in range(REPEATS)]
    their_time, our_time = (statistics.median(side) for side in zip(*pairs))
    ratio = statistics.median(a / b for a, b in pairs)
    print(
        f"| {COUNT} patches of 100×100 in batches of {BATCH}, median of {REPEATS} | |\n|---|---:|"
    )
    print(f"| theirs | {their_time:.2f} s |")
    print(f"| ours | {our_time:.2f} s |")
    print(f"| ratio, pair by pair | {ratio:.1f} |")


def load_theirs(checkout):
    """The authors' `MultiScaleSSIM`, from their unchanged file."""
    if not checkout or not os.path.isfile(os.path.join(checkout, "ssim.py")):
        raise UserError(f"reference={checkout}: expected a checkout of the authors' code (ssim.py)")
    # Their file imports `convolve` from a module that SciPy has removed.
    filters = types.ModuleType("scipy.ndimage.filters")
    filters.convolve = scipy.ndimage.convolve
    sys.modules["scipy.ndimage.filters"] = filters
    sys.path.insert(0, checkout)
    return importlib.import_module("ssim").MultiScaleSSIM


if __name__ == "__main__":
    main.run()
