"""Measures memory of the command `test_model.py`: one photo of each size, then many photos.

    python -m benchmarks.photo_memory data=FOLDER [model=MODEL] [megapixels=3,12,48] [key=value …]

The first photo of the folder is resized to each size, written as JPEG, and enhanced with
`memory_limit=1.5` to both PNG files. Peak memory is that of the command's process until its last
photo is written. Then many photos are enhanced in one command. The file in the middle is cut in
half. The command must name this file, end with exit status 1, and enhance all others. After each
photo, the resident memory of the process is noted. Without the first eighth of the photos, `early`
is the median of the first third, and `late` that of the last third. Results are appended to a CSV
file, and the table in a document is replaced. It runs on Linux only.
"""

import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.photos import resized
from wespe_tf.config.command import as_command
from wespe_tf.config.schema import setting
from wespe_tf.data.folders import find_pictures
from wespe_tf.errors import UserError
from wespe_tf.images.photo import read_photo
from wespe_tf.progress import progress, say
from wespe_tf.tables import append_row, read_rows, replace_tables
from wespe_tf.training.summary import processor
from wespe_tf.weights.generator import find_model

HERE = Path(__file__).resolve().parent
LIMIT = 1.5  # GB for the process
USAGE = "usage: python -m benchmarks.photo_memory data=FOLDER [key=value …]"
COLUMNS = (
    *("date", "processor", "cores", "model", "photos", "megapixels", "seconds", "peak_memory"),
    *("early", "late", "done", "status"),
)


@dataclasses.dataclass
class Settings:
    """Settings of this script."""

    data: str = setting("", "folder of photos")
    model: str = setting("", "the same as for test_model.py")
    models_orig_dir: str = setting("models_orig", "folder of the authors' trained models")
    megapixels: str = setting("3,12,48", "sizes of single photos, with commas between them")
    photos: int = setting(40, "number of photos in the command with many", at_least=3)
    each: float = setting(3.0, "size of each of these photos", "megapixels", at_least=0.001)
    csv: str = setting(str(HERE / "photo_memory.csv"), "results are appended to it")
    document: str = setting(str(HERE / "README.md"), "its table is replaced")


@as_command(USAGE, Settings)
def main(config):
    """Measures."""
    if not config.data:
        raise UserError("data=: missing; expected a folder of photos")
    if not Path("/proc/self/status").exists():
        raise UserError("this measures on Linux only")
    model = find_model(config.model, config.models_orig_dir)
    photo = Image.fromarray(read_photo(find_pictures(config.data, "data")[0]).pixels)
    table = Path(config.csv)
    works = [(1, float(size)) for size in config.megapixels.split(",")]
    for count, megapixels in progress([*works, (config.photos, config.each)], desc="photos"):
        row = measure(photo, model, count, megapixels)
        append_row(table, COLUMNS, row)
        say("  ".join(f"{key}={value}" for key, value in row.items()))
    replace_tables(Path(config.document), list(lines(read_rows(table))), "memory")


def measure(photo, model, count, megapixels):
    """A row: `count` photos of a size in one command. If there are several, one is broken.

    Raises:
        UserError: if the command does not end as it should.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder, output = Path(scratch, "photos"), Path(scratch, "out")
        make_photos(folder, resized(photo, megapixels), count)
        found = run(
            [
                "test_model.py",
                *(f"model={model}", f"input={folder}", f"output={output}", f"memory_limit={LIMIT}"),
            ]
        )
        done = len(list(output.glob("*_enhanced.png")))
    expected = (1, 0) if count == 1 else (count - 1, 1)
    if (done, found["status"]) != expected:
        raise UserError(f"{done} of {count} done, exit status {found['status']}: {found['errors']}")
    early, late = early_and_late(found["resident"]) if count > 1 else ("", "")
    return {
        "date": date.today().isoformat(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "model": Path(model).stem,
        "photos": count,
        "megapixels": f"{megapixels:g}",
        "seconds": f"{found['seconds']:.1f}",
        "peak_memory": f"{found['peak']:.2f}",
        "early": early,
        "late": late,
        "done": done,
        "status": found["status"],
    }


def make_photos(folder, pixels, count):
    """Fills a folder with JPEG files of shifted pixels. Among several, the middle one is cut."""
    folder.mkdir()
    for number in range(count):
        path = folder / f"{number}.jpg"
        Image.fromarray(np.roll(pixels, 16 * number, axis=1)).save(path, quality=95)
    if count > 1:
        broken = folder / f"{count // 2}.jpg"
        broken.write_bytes(broken.read_bytes()[: broken.stat().st_size // 2])


def run(arguments):
    """Runs a script of this project.

    Returns:
        Dictionary: exit `status`; `seconds`; `peak` memory, GB; memory `resident` after each photo,
        GB; `errors`, the last line on stderr.
    """
    command = [sys.executable, "-u", *arguments]
    start, resident, peak = time.monotonic(), [], 0.0
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            command, cwd=HERE.parent, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        for line in process.stdout:
            if line.split(": ")[0].endswith((".jpg", ".png")):  # a photo and its numbers
                resident.append(memory(process.pid, "VmRSS"))
                # ru_maxrss would also count the memory that this script had when it began.
                peak = max(peak, memory(process.pid, "VmHWM"))
        status = process.wait()
        errors.seek(0)
        return {
            "status": status,
            "seconds": time.monotonic() - start,
            "peak": peak,
            "resident": [gigabytes for gigabytes in resident if gigabytes],
            "errors": (errors.read().splitlines() or [""])[-1],
        }


def memory(process, name):
    """Resident memory now, `VmRSS`, or at its peak, `VmHWM`, in GB; 0 after the process ended."""
    for entry in Path(f"/proc/{process}/status").read_text().splitlines():
        if entry.startswith(name):
            return int(entry.split()[1]) * 1024 / 1e9
    return 0.0


def early_and_late(resident):
    """Medians of the first and the last third, without the first eighth, as texts in GB."""
    settled = resident[len(resident) // 8 :]
    third = max(1, len(settled) // 3)
    return tuple(f"{np.median(part):.3f}" for part in (settled[:third], settled[-third:]))


def lines(rows):
    """Lines of Markdown: the latest row of every model, size and number of photos."""
    latest = {tuple(row[k] for k in ("model", "megapixels", "photos")): row for row in rows}
    yield "| model | photos | megapixels | peak GB | GB early | GB late | s |"
    yield "|---|---:|---:|---:|---:|---:|---:|"
    keys = ("model", "photos", "megapixels", "peak_memory", "early", "late", "seconds")
    for row in latest.values():
        yield f"| {' | '.join(row[key] for key in keys)} |"


if __name__ == "__main__":
    main.run()
