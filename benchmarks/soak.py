"""Trains a small model for half an hour, and checks that memory and step time do not grow.

    python benchmarks/soak.py [minutes=30] [output=FOLDER] [key=value …]

It runs `train.py` on small photos, and stops it with SIGTERM. Every second it notes the resident
memory of the process. The first fifth of the time, the warm-up, does not count. The rest is divided
into twenty parts. The slope is that of a line through their medians, with its standard error. The
time of a step is that between two lines of `log.csv`, without steps next to an evaluation.
At the end, the log must have a line for every iteration, with finite losses. There must also be a
figure of every evaluation, TensorBoard's events of every iteration, a checkpoint and a summary. The
script appends a row to a CSV file, replaces the table in a document, and draws `soak.png` in the
output folder. The exit status is 1 if something is missing, or if memory or step time grows. It
grows if the slope is more than twice its standard error, and more than 50 MB or a tenth per hour.
"""

import dataclasses
import json
import math
import signal
import sys
import time
from datetime import date
from pathlib import Path

import numpy as np
from kill import make_photos, start
from matplotlib.figure import Figure
from PIL import Image

from wespe_tf.config.command import as_command
from wespe_tf.config.schema import setting
from wespe_tf.errors import UserError
from wespe_tf.files import write_atomically
from wespe_tf.models.wespe import WESPE
from wespe_tf.tables import append_row, read_rows, replace_tables
from wespe_tf.training.figures import to_png

HERE = Path(__file__).resolve().parent
USAGE = "usage: python benchmarks/soak.py [key=value …]"
EVAL_STEP = 200
TRAINING = [
    *("preset=recommended", "generator_width=8", "generator_blocks=1", "discriminator_width=0.1"),
    *("patch_size=32", "border=4", "batch_size=2", "warm_start_iters=20"),
    *("num_train_iters=100000000", "learning_rate_decay=none", f"eval_step={EVAL_STEP}"),
]
PARTS = 20
WARM_UP = 0.2
COLUMNS = (
    *("date", "minutes", "iterations", "memory_mb", "memory_slope_mb_per_hour", "memory_error"),
    *("step_ms", "step_slope_ms_per_hour", "step_error", "figures", "missing"),
)


@dataclasses.dataclass
class Settings:
    """Settings of this script."""

    minutes: float = setting(30.0, "length of the training", "minutes", at_least=0.5)
    output: str = setting("soak_results", "folder for the run and the figure")
    csv: str = setting(str(HERE / "soak.csv"), "a row is appended to it")
    document: str = setting(str(HERE.parent / "docs" / "RELIABILITY.md"), "its table is replaced")


@as_command(USAGE, Settings)
def main(config):
    """Trains and measures."""
    output = Path(config.output)
    output.mkdir(parents=True, exist_ok=True)
    run = f"soak{len(list(output.glob('models/soak*')))}"
    folder = output / "models" / run
    photos = make_photos(output / "photos", np.random.default_rng(0))
    samples = watch(start(output, run, [*TRAINING, *photos]), folder, 60 * config.minutes)
    log = read_rows(folder / "log.csv")
    steps = step_times(log)
    memory_line, step_line = line(samples), line(steps)
    missing = what_is_missing(folder, log)
    row = {
        "date": date.today().isoformat(),
        "minutes": f"{config.minutes:g}",
        "iterations": len(log) - 1,
        "memory_mb": f"{memory_line.level:.1f}",
        "memory_slope_mb_per_hour": f"{3600 * memory_line.slope:.2f}",
        "memory_error": f"{3600 * memory_line.error:.2f}",
        "step_ms": f"{1e3 * step_line.level:.1f}",
        "step_slope_ms_per_hour": f"{3.6e6 * step_line.slope:.2f}",
        "step_error": f"{3.6e6 * step_line.error:.2f}",
        "figures": len(list((folder / "figures").glob("*.png"))),
        "missing": "; ".join(missing),
    }
    append_row(Path(config.csv), COLUMNS, row)
    print(", ".join(f"{key} {value}" for key, value in row.items()))
    write_atomically(output / "soak.png", to_png(draw(samples, steps, memory_line, step_line)))
    replace_tables(Path(config.document), list(lines(read_rows(Path(config.csv)))), "soak")
    grows = memory_line.grows(50 / 3600) or step_line.grows(step_line.level / 10 / 3600)
    if missing or grows:
        sys.exit(1)


def watch(process, folder, seconds):
    """(N, 2) array: seconds since the first iteration, resident memory in MB.

    Raises:
        UserError: if anything but the signal ends the training.
    """
    samples, begin = [], None
    while begin is None or time.monotonic() - begin < seconds:
        time.sleep(1)  # The time before the first iteration does not count.
        if process.poll() is not None:
            raise UserError(f"{folder}: the training ended with status {process.returncode}")
        if begin is None and len(read_rows(folder / "log.csv")) > 1:
            begin = time.monotonic()
        if begin is not None:
            samples.append((time.monotonic() - begin, resident(process.pid)))
    process.send_signal(signal.SIGTERM)
    status = process.wait()
    if status != 128 + signal.SIGTERM:
        raise UserError(f"{folder}: ended with status {status} on SIGTERM, expected 143")
    return np.array(samples)


def resident(number):
    """Resident memory of a process in MB."""
    with open(f"/proc/{number}/status", encoding="ascii") as file:
        return next(int(entry.split()[1]) / 1e3 for entry in file if entry.startswith("VmRSS"))


def step_times(log):
    """(N, 2) array: end of each step, in seconds since the first iteration; its duration."""
    seconds = np.array([float(row["seconds"]) for row in log])
    plain = [k for k in range(2, len(log)) if not (log[k]["psnr"] or log[k]["collapse_score"])]
    plain = [k for k in plain if not log[k - 1]["collapse_score"]]
    return np.array([(seconds[k] - seconds[1], seconds[k] - seconds[k - 1]) for k in plain])


@dataclasses.dataclass
class Line:
    """A straight line through samples over time.

    Attributes:
        level: median of the samples.
        slope: slope of the line, per second.
        error: standard error of the slope.
        offset: the line's value at second 0.
    """

    level: float
    slope: float
    error: float
    offset: float

    def grows(self, most):
        """Whether the slope is above `most`, and certainly above 0."""
        return self.slope > max(2 * self.error, most)


def line(samples):
    """The `Line` through the medians of `PARTS` parts of the samples after the warm-up.

    Neighboring samples depend on each other, parts hardly do. So the usual formula for the error is
    right for parts only. Medians ignore other work of the machine, if it is short.
    """
    times = samples[:, 0]
    samples = samples[times >= times[-1] * WARM_UP]
    parts = np.array([np.median(part, axis=0) for part in np.array_split(samples, PARTS)])
    x, y = parts[:, 0] - parts[:, 0].mean(), parts[:, 1]
    slope = (x @ y) / (x @ x)
    left = y - y.mean() - slope * x
    error = math.sqrt(left @ left / (PARTS - 2) / (x @ x))
    offset = y.mean() - slope * parts[:, 0].mean()
    return Line(np.median(samples[:, 1]), slope, error, offset)


def what_is_missing(folder, log):
    """Names of what a finished run should have, but this one lacks."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    last = len(log) - 1
    found = []
    if [row["iteration"] for row in log] != [str(k) for k in range(len(log))]:
        found.append("lines of log.csv")
    losses = WESPE.loss_names()
    if not all(math.isfinite(float(row[name])) for row in log[1:] for name in losses):
        found.append("finite losses")
    evaluated = [int(row["iteration"]) for row in log if row["collapse_score"]]
    if evaluated != sorted({*range(0, last + 1, EVAL_STEP), last}):
        found.append("evaluations")
    for name in ["losses", *(f"samples_{k:06d}" for k in evaluated)]:
        try:
            with Image.open(folder / "figures" / f"{name}.png") as figure:
                figure.load()
        except OSError:
            found.append(f"{name}.png")
    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"tensors": 0})
    events.Reload()
    if [event.step for event in events.Tensors("loss/generator")] != list(range(1, last + 1)):
        found.append("events of TensorBoard")
    if not (folder / "checkpoints" / f"ckpt-{last}.index").exists():
        found.append("the last checkpoint")
    summary = folder / "summary.json"
    if not summary.exists() or json.loads(summary.read_text())["iterations"] != last:
        found.append("summary.json")
    return found


# What is shown.


def draw(samples, steps, memory_line, step_line):
    """Memory and step time over time, with their lines."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    upper.plot(samples[:, 0] / 60, samples[:, 1], lw=1)
    upper.set_ylabel("resident memory, MB")
    lower.plot(steps[:, 0] / 60, 1e3 * steps[:, 1], ".", ms=1)
    lower.set_ylim(0, 1e3 * np.percentile(steps[:, 1], 99.5))
    lower.set_ylabel("step, ms")
    lower.set_xlabel("minutes")
    for axes, found, scale in ((upper, memory_line, 1), (lower, step_line, 1e3)):
        ends = np.array([WARM_UP, 1]) * samples[-1, 0]
        values = scale * (found.offset + found.slope * ends)
        per_hour = f"{3600 * scale * found.slope:.2g} ± {3600 * scale * found.error:.2g} per hour"
        axes.plot(ends / 60, values, "k", lw=1, label=per_hour)
        axes.legend(frameon=False)
    return figure


def lines(rows):
    """Lines of Markdown: every run."""
    yield "| minutes | steps | memory, MB | slope, MB/h | step, ms | slope, ms/h | missing |"
    yield "|---:|---:|---:|---:|---:|---:|---|"
    for row in rows:
        cells = [
            *(row[name] for name in ("minutes", "iterations", "memory_mb")),
            f"{row['memory_slope_mb_per_hour']} ± {row['memory_error']}",
            row["step_ms"],
            f"{row['step_slope_ms_per_hour']} ± {row['step_error']}",
            row["missing"] or "nothing",
        ]
        yield f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main.run()
