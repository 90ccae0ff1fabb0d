"""Measures photos of 3, 12 and 48 megapixels: time, memory and accuracy by runtime and mode.

    python benchmarks/photos.py data=FOLDER [model=MODEL] [megapixels=3,12,48] [key=value …]

The first photo of the folder is resized to each size. Every way to enhance it runs twice, in a
process of its own. Peak memory is that of the process with its photo. Seconds are those of the
second run, without reading and writing. PSNR compares with float32 Keras in one pass over the whole
photo, or `streamed` if that needs too much memory; these ways must be among `ways=`. It is computed
from 16-bit results, because in 8 bits, rounding would be most of the difference. The share is that
of the fastest matrix multiplication on this machine, in the way's precision. It counts the
generator's multiplications once, even if a mode adds some. Results are appended to a CSV file, and
the table of the latest results between a document's lines `<!-- tables -->` is replaced.
"""

import dataclasses
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import numpy as np
from PIL import Image

from wespe_tf.config.command import as_command
from wespe_tf.config.schema import setting
from wespe_tf.data.folders import find_pictures
from wespe_tf.enhance.runtimes import choose_runtime
from wespe_tf.enhance.tiles import Enhancer
from wespe_tf.errors import UserError
from wespe_tf.images.photo import read_photo
from wespe_tf.progress import progress, say
from wespe_tf.tables import append_row, read_rows, replace_tables
from wespe_tf.training.summary import processor
from wespe_tf.weights.generator import find_model, load_generator
from wespe_tf.weights.tf1_checkpoint import is_checkpoint

HERE = Path(__file__).resolve().parent
USAGE = "usage: python benchmarks/photos.py data=FOLDER [key=value …]"
# Runtime, precision, mode. The others are compared with the first.
WAYS = (
    ("keras", "float32", "whole"),
    ("keras", "float32", "streamed"),
    ("openvino", "float32", "whole"),
    ("openvino", "float32", "streamed"),
    ("openvino", "bfloat16", "whole"),
    ("openvino", "bfloat16", "streamed"),
)
COLUMNS = (
    *("date", "processor", "cores", "model", "megapixels", "runtime", "precision", "mode", "plan"),
    *("seconds_per_megapixel", "times_faster", "peak_memory", "psnr", "largest", "peak_share"),
)


@dataclasses.dataclass
class Settings:
    """Settings of this script."""

    data: str = setting("", "folder of photos")
    model: str = setting("", "the same as for test_model.py")
    models_orig_dir: str = setting("models_orig", "folder of the authors' trained models")
    megapixels: str = setting("3,12,48", "sizes, with commas between them")
    ways: str = setting(
        "", "ways to run, such as keras/float32/whole,openvino/bfloat16/streamed; empty: all"
    )
    memory_limit: float = setting(1.5, "limit for a process in mode streamed", "GB", at_least=0.1)
    memory: float = setting(16.0, "ways that need more are left out", "GB", at_least=1)
    csv: str = setting(str(HERE / "photos.csv"), "results are appended to it")
    document: str = setting(str(HERE / "README.md"), "its table is replaced")


@as_command(USAGE, Settings)
def main(config):
    """Measures."""
    if not config.data:
        raise UserError("data=: missing; expected a folder of photos")
    model = find_model(config.model, config.models_orig_dir)
    photo = Image.fromarray(read_photo(find_pictures(config.data, "data")[0]).pixels)
    table = Path(config.csv)
    names = {"/".join(way): way for way in WAYS}
    ways = config.ways.split(",") if config.ways else list(names)
    if not set(ways) <= names.keys():
        raise UserError(f"ways={config.ways}: expected some of {', '.join(names)}")
    ways = able(names[way] for way in ways)
    peaks = {
        precision: child(multiply, precision)["rate"] for precision in {way[1] for way in ways}
    }
    with tempfile.TemporaryDirectory() as scratch:
        for size in config.megapixels.split(","):
            if not size.replace(".", "", 1).isdigit():
                raise UserError(f"megapixels={config.megapixels}: expected numbers, as in 3,12,48")
            pixels = resized(photo, float(size))
            np.save(f"{scratch}/photo.npy", pixels)
            measure(config, ways, model, Path(scratch), size, pixels.shape, peaks, table)
    replace_tables(Path(config.document), list(lines(read_rows(table))))


def able(ways):
    """The ways that this machine can run. Prints the names of the others."""
    found = []
    for way in ways:
        try:
            choose_runtime(*way[:2])
        except UserError as error:
            print(f"left out: {'/'.join(way)} ({error})")
        else:
            found.append(way)
    return found


def resized(photo, megapixels):
    """A Pillow picture as (H, W, 3) uint8 pixels, resized to this number of megapixels."""
    factor = (megapixels * 1e6 / (photo.width * photo.height)) ** 0.5
    size = round(photo.width * factor), round(photo.height * factor)
    return np.asarray(photo.resize(size, Image.Resampling.BICUBIC))


def measure(config, ways, model, scratch, size, shape, peaks, table):
    """Appends a row for every way to enhance the photo in the scratch folder."""
    millions = shape[0] * shape[1] / 1e6
    plain, reference = None, None
    for runtime, precision, mode in progress(ways, desc=f"{size} megapixels"):
        whole_needs = 0.9 + choose_runtime(runtime, precision).footprint * 64 * millions / 1e3
        if mode == "whole" and whole_needs > config.memory:
            continue
        if runtime == "keras" and mode != "whole" and reference is not None:
            continue  # Tiles in float32 Keras are needed only if one pass takes too much memory.
        options = (str(model), runtime, precision, mode, config.memory_limit)
        found = child(enhance_twice, str(scratch), *options)
        result = np.load(scratch / "result.npy")
        if runtime == "keras" and reference is None:
            plain, reference = found["seconds"], result
        work = 2 * found["multiplications"] * millions * 1e6
        compared = reference is not None and result is not reference
        psnr, largest = errors(result, reference) if compared else (np.nan, np.nan)
        row = {
            "date": date.today().isoformat(),
            "processor": processor(),
            "cores": os.cpu_count(),
            "model": Path(model).stem,
            "megapixels": size,
            "runtime": runtime,
            "precision": precision,
            "mode": mode,
            "plan": found["plan"],
            "seconds_per_megapixel": f"{found['seconds'] / millions:.3f}",
            "times_faster": f"{plain / found['seconds']:.2f}" if plain else "",
            "peak_memory": f"{found['peak_memory']:.2f}",
            "psnr": f"{psnr:.1f}" if compared else "",
            "largest": f"{largest:.5f}" if compared else "",
            "peak_share": f"{work / found['seconds'] / peaks[precision]:.2f}",
        }
        append_row(table, COLUMNS, row)
        say("  ".join(f"{key}={value}" for key, value in row.items()))


def errors(result, reference):
    """PSNR in dB, and largest difference in [0, 1], of two uint16 pictures, band by band."""
    squares, largest = 0.0, 0.0
    for top in range(0, len(result), 256):
        off = result[top : top + 256].astype(np.float64) - reference[top : top + 256]
        squares += np.square(off / 65535).sum()
        largest = max(largest, np.abs(off).max() / 65535)
    return -10 * np.log10(max(squares / result.size, 1e-30)), largest


# Processes: each runs this file, with the name of a function as its first argument.


def child(function, *arguments):
    """Runs a function of this file in a process of its own, and returns its result."""
    command = [sys.executable, os.path.abspath(__file__), function.__name__, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise UserError(f"{' '.join(command[2:])}: ended with status {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def enhance_twice(scratch, model, runtime, precision, mode, memory_limit):
    """A process: enhances `photo.npy` twice in 8 bits, then in 16 bits to `result.npy`."""
    photo = np.load(f"{scratch}/photo.npy")
    generator = load_generator(Path(model))
    reflect = not is_checkpoint(model)
    enhancer = Enhancer(generator, choose_runtime(runtime, precision), reflect)
    plan = enhancer.plan(photo, mode, float(memory_limit))
    for _ in range(2):
        start = time.perf_counter()
        enhancer(photo, plan)
        seconds = time.perf_counter() - start
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, bytes
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
    np.save(f"{scratch}/result.npy", enhancer(photo.astype(np.uint16) * 257, plan))
    convs = [layer for layer in generator._flatten_layers() if hasattr(layer, "kernel")]
    return {
        "seconds": seconds,
        "peak_memory": peak,
        "plan": str(plan),
        "multiplications": int(sum(np.prod(conv.kernel.shape) for conv in convs)),
    }


def multiply(precision):
    """A process: the speed of the fastest of many matrix multiplications, operations per second."""
    import tensorflow as tf

    rates = []
    for side in (1024, 2048, 4096):
        a = tf.cast(tf.random.normal((side, side)), precision)
        for _ in range(8):
            start = time.perf_counter()
            tf.linalg.matmul(a, a).numpy()
            rates.append(2 * side**3 / (time.perf_counter() - start))
    return {"rate": max(rates)}


# What is shown.


def lines(rows):
    """Lines of Markdown: the latest row of every way, model and size."""
    latest = {}
    for row in rows:
        key = ("model", "megapixels", "runtime", "precision", "mode")
        latest[tuple(row[name] for name in key)] = row
    yield "| model, megapixels | runtime | mode | s per MP | times faster | peak GB | dB | share |"
    yield "|---|---|---|---:|---:|---:|---:|---:|"
    for row in latest.values():
        cells = [
            f"{row['model']}, {row['megapixels']}",
            f"{row['runtime']}, {row['precision']}",
            row["plan"],
            *(row[name] for name in ("seconds_per_megapixel", "times_faster", "peak_memory")),
            *(row[name] for name in ("psnr", "peak_share")),
        ]
        yield f"| {' | '.join(cells)} |"


PROCESSES = {function.__name__: function for function in (enhance_twice, multiply)}

if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in PROCESSES:
        print(json.dumps(PROCESSES[sys.argv[1]](*sys.argv[2:])))
    else:
        main.run()
