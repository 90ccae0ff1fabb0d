"""Measures memory and time of `python -m wespe_tf.data check` and `align` on large photos.

    python -m benchmarks.own_cameras data=FOLDER [photos=6] [megapixels=12] [csv=FILE]

The first photos of the folder, resized to `megapixels`, are those of the camera. The phone's photos
are made from them: seen from another point, darker and noisy. Peak memory is that of the command's
process. Results are appended to a CSV file. It runs on Linux only.
"""

import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from benchmarks.photo_memory import memory
from wespe_tf.config.command import as_command
from wespe_tf.config.schema import setting
from wespe_tf.data.folders import find_pictures
from wespe_tf.errors import UserError
from wespe_tf.images.picture import read_picture
from wespe_tf.tables import append_row
from wespe_tf.training.summary import processor

HERE = Path(__file__).resolve().parent
USAGE = "usage: python -m benchmarks.own_cameras data=FOLDER [key=value …]"
COLUMNS = (
    *("date", "processor", "cores", "command", "photos", "megapixels", "seconds", "peak_memory"),
    "said",
)


@dataclasses.dataclass
class Settings:
    """Settings of this script."""

    data: str = setting("", "folder of photos")
    photos: int = setting(6, "number of photos of each camera", at_least=2)
    megapixels: float = setting(12.0, "size of each photo", "million pixels", at_least=0.1)
    csv: str = setting(str(HERE / "own_cameras.csv"), "results are appended to it")


@as_command(USAGE, Settings)
def main(config):
    """Measures."""
    with tempfile.TemporaryDirectory() as scratch:
        phone, camera = (Path(scratch) / side for side in ("phone", "camera"))
        make_photos(config, phone, camera)
        out = Path(scratch)
        for command in (
            ["check", str(phone), f"output={out / 'check.html'}"],
            ["align", f"phone_dir={phone}", f"camera_dir={camera}", f"output={out / 'aligned'}"],
        ):
            row = {"photos": config.photos, "megapixels": f"{config.megapixels:g}", **run(command)}
            append_row(Path(config.csv), COLUMNS, row)
            print(row)


def make_photos(config, phone, camera):
    """Writes the photos of both cameras. Pairs have equal names."""
    paths = find_pictures(config.data, "data")[: config.photos]
    if len(paths) < config.photos:
        raise UserError(f"data={config.data}: {len(paths)} photos, expected {config.photos}")
    rng = np.random.default_rng(0)
    for folder in (phone, camera):
        folder.mkdir()
    for number, path in enumerate(paths):
        photo = read_picture(path)
        factor = (config.megapixels * 1e6 / photo[..., 0].size) ** 0.5
        photo = cv2.resize(photo, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
        height, width = photo.shape[:2]
        corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
        moved = corners * 0.9 + rng.uniform(0.02, 0.08, (4, 2)).astype(np.float32) * (width, height)
        view = cv2.getPerspectiveTransform(corners, moved.astype(np.float32))
        seen = cv2.warpPerspective(photo, view, (width, height), flags=cv2.WARP_INVERSE_MAP)
        noise = rng.normal(0, 4, (height, width, 1)).astype(np.float32)
        seen = np.clip(0.8 * seen + noise, 0, 255).astype(np.uint8)
        Image.fromarray(photo).save(camera / f"{number}.jpg", quality=95)
        Image.fromarray(seen).save(phone / f"{number}.jpg", quality=92)


def run(command):
    """Runs a command in a process of its own and measures it."""
    started, peak = time.monotonic(), 0.0
    with subprocess.Popen(
        [sys.executable, "-m", "wespe_tf.data", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        while process.poll() is None:
            # ru_maxrss would also count the memory that this script had when the process began.
            peak = max(peak, memory(process.pid, "VmHWM"))
            time.sleep(0.2)
        lines = process.stdout.read().splitlines()
    if process.returncode not in (0, 1):
        raise UserError(f"{command[0]} ended with exit status {process.returncode}")
    return {
        "date": date.today().isoformat(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "command": command[0],
        "seconds": f"{time.monotonic() - started:.1f}",
        "peak_memory": f"{peak:.3f}",
        "said": lines[0] if command[0] == "align" else lines[-1].partition(";")[0],
    }


if __name__ == "__main__":
    main.run()
