"""How soon the first batch comes from 30 000 patches on disk, and what the data side holds.

python benchmarks/data.py [patches=30000]
"""

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from wespe_tf.data.pipeline import PatchStream, training_data

PATCH, BATCH, BATCHES, REPEATS = 100, 30, 200, 3


def main(arguments):
    """Prints a table for as many patches of each domain as `patches=` says."""
    count = int(dict(a.split("=") for a in arguments).get("patches", 30_000))
    noise = np.random.default_rng(0).normal(128, 40, (PATCH, PATCH, 3))
    with tempfile.TemporaryDirectory() as folder:
        sides = make_patches(Path(folder), np.clip(noise, 0, 255).astype(np.uint8), count)
        before = resident_megabytes()
        first = []
        for repeat in range(REPEATS):
            start = time.perf_counter()
            streams = [PatchStream(side, PATCH, repeat, side.name) for side in sides]
            batches = iter(training_data(*streams, BATCH))
            next(batches)
            first.append(time.perf_counter() - start)
        start = time.perf_counter()
        for _ in range(BATCHES):
            next(batches)
        rate = 2 * BATCH * BATCHES / (time.perf_counter() - start)
        held = resident_megabytes() - before
        del batches  # or it reads on while the folder goes
    print(f"| {count} patches of each domain on disk | |\n|---|---:|")
    print(f"| first batch, median of {REPEATS} | {statistics.median(first):.1f} s |")
    print(f"| patches per second, both domains | {rate:.0f} |")
    print(f"| memory of the data side | {held:.0f} MB |")


def make_patches(folder, patch, count):
    """One JPEG under `count` names in each of two folders."""
    Image.fromarray(patch).save(folder / "patch.jpg", quality=90)
    sides = [folder / "source", folder / "target"]
    for side in sides:
        side.mkdir()
        for number in range(count):
            os.link(folder / "patch.jpg", side / f"{number}.jpg")
    return sides


def resident_megabytes():
    """Resident memory of this process, from Linux's /proc."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    main(sys.argv[1:])
