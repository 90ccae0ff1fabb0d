"""Kills a small deterministic training again and again, resumes it, and compares the weights.

    python benchmarks/kill.py [kills=20] [seed=0] [output=FOLDER] [key=value …]

Half of the kills (SIGKILL) come within 0.3 seconds after the log has a random number of iterations.
(The log begins after the warm start.) The other kills come when the writing of a random checkpoint
begins. Then every run is resumed until it ends. It must have the weights, the optimizers' moments,
the generators' files and the log of a run that was never stopped, bit for bit. The script appends a
row for each run to a CSV file, and replaces the table in a document. The exit status is 1 if a run
differs.
"""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from wespe_tf.config.command import as_command
from wespe_tf.config.schema import setting
from wespe_tf.errors import UserError
from wespe_tf.models.generator import Generator  # noqa: F401 (Keras looks it up)
from wespe_tf.progress import progress, say
from wespe_tf.tables import append_row, read_rows, replace_tables

SETTINGS = [
    *("preset=recommended", "deterministic=true", "label_smoothing=0.1", "schedule=balance"),
    *("generator_width=8", "generator_blocks=1", "discriminator_width=0.1", "patch_size=32"),
    *("border=4", "batch_size=2", "warm_start_iters=20", "num_train_iters=60", "eval_step=5"),
]
COLUMNS = ("seed", "kill", "moment", "seconds", "iteration", "checkpoint", "resumed", "identical")
MOMENTS = {
    "start": "before it had a folder: started again",
    "random": "at a random moment",
    "checkpoint": "while it wrote a checkpoint",
    "written": "just after it wrote a checkpoint",
    "end": "after the end",
}
ROOT = Path(__file__).resolve().parent.parent
USAGE = "usage: python benchmarks/kill.py [key=value …]"


@dataclasses.dataclass
class Settings:
    """Settings of this script."""

    kills: int = setting(20, "number of runs", at_least=1)
    seed: int = setting(0, "seed of the moments", at_least=0)
    output: str = setting("kill_results", "empty folder for the runs")
    csv: str = setting(str(ROOT / "benchmarks" / "kill.csv"), "rows are appended to it")
    document: str = setting(str(ROOT / "docs" / "RELIABILITY.md"), "its table is replaced")


@as_command(USAGE, Settings)
def main(config):
    """Kills and resumes."""
    output, table = Path(config.output), Path(config.csv)
    output.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(config.seed)
    settings = [*SETTINGS, *make_photos(output / "photos", rng)]
    if start(output, "whole", settings).wait():
        raise UserError(f"{output / 'whole.log'}: the run that is not killed failed")
    good = 0
    for number in progress(range(config.kills), desc="kills"):
        row = kill_one(number, output, settings, rng)
        append_row(table, COLUMNS, {"seed": config.seed, **row})
        say(", ".join(f"{key} {value}" for key, value in row.items()))
        good += row["identical"]
    replace_tables(Path(config.document), list(lines(read_rows(table))), "kill")
    print(f"{good} of {config.kills} ended with the weights of the run that was never stopped")
    if good < config.kills:
        sys.exit(1)


def make_photos(folder, rng):
    """Settings that name two folders of three small smooth pictures."""
    for side in ("source", "target"):
        (folder / side).mkdir(parents=True, exist_ok=True)
        for number in range(3):
            pixels = rng.integers(0, 256, (8, 9, 3), np.uint8)
            picture = Image.fromarray(pixels).resize((72, 64), Image.Resampling.BICUBIC)
            picture.save(folder / side / f"{number}.png")
    return [f"{side}_dir={(folder / side).resolve()}" for side in ("source", "target")]


def start(output, run, arguments):
    """Starts a process of `train.py` in the output folder."""
    with open(output / f"{run}.log", "a", encoding="utf-8") as log:
        command = [sys.executable, str(ROOT / "train.py"), f"run={run}", *arguments]
        return subprocess.Popen(command, cwd=output, stdout=log, stderr=log)


def kill_one(number, output, settings, rng):
    """Kills a run, resumes it, and returns its row."""
    run = f"kill{number}"
    folder = output / "models" / run
    begin = time.monotonic()
    process = start(output, run, settings)
    if number % 2:
        planned, wanted = "checkpoint", 5 * int(rng.integers(1, 12))
        wait_until(process, lambda: writing(folder, wanted))
    else:
        planned, wanted = "random", int(rng.integers(0, 60))
        log = folder / "log.csv"
        wait_until(process, lambda: log.exists() and len(read_rows(log)) >= wanted)
        time.sleep(rng.uniform(0, 0.3))
    process.send_signal(signal.SIGKILL)
    process.wait()
    seconds = time.monotonic() - begin
    lines = read_rows(folder / "log.csv")
    kept = tf.train.latest_checkpoint(str(folder / "checkpoints"))
    kept = None if kept is None else int(kept.rpartition("-")[2])
    moment = moment_of(folder, planned, wanted, kept)
    resumed = start(output, run, settings if moment == "start" else ["resume=true"]).wait()
    return {
        "kill": number,
        "moment": moment,
        "seconds": f"{seconds:.1f}",
        "iteration": lines[-1]["iteration"] if lines else "",
        "checkpoint": "" if kept is None else kept,
        "resumed": resumed == 0,
        "identical": resumed == 0 and state(folder) == state(output / "models" / "whole"),
    }


def moment_of(folder, planned, wanted, kept):
    """When a run was killed, one of `MOMENTS`.

    Args:
        folder: folder of the run.
        planned: `"random"` or `"checkpoint"`.
        wanted: the iteration of that checkpoint, or the number of iterations in the log.
        kept: the iteration of the newest complete checkpoint, or None.
    """
    if not folder.exists():
        return "start"
    if (folder / "summary.json").exists():
        return "end"
    if planned == "checkpoint" and kept is not None and kept >= wanted:
        return "written"
    return planned


def writing(folder, iteration):
    """Whether the first file of a checkpoint exists."""
    return any((folder / "checkpoints").glob(f"ckpt-{iteration}*"))


def wait_until(process, condition):
    """Waits for a condition or the end of the process, and checks every half millisecond."""
    while process.poll() is None and not condition():
        time.sleep(0.0005)


def state(folder):
    """The values to compare: those of the last checkpoint by name, the generators' weights by file,
    and the log without its times."""
    path = tf.train.latest_checkpoint(str(folder / "checkpoints"))
    reader = tf.train.load_checkpoint(path)
    values = {
        name: np.asarray(reader.get_tensor(name)).tobytes()
        for name in reader.get_variable_to_shape_map()
        if not name.startswith(("_CHECKPOINTABLE", "log/"))
    }
    for file in ("generator.keras", "generator_best.keras"):
        weights = keras.saving.load_model(folder / file).get_weights()
        values[file] = [array.tobytes() for array in weights]
    log = [
        {k: v for k, v in row.items() if k != "seconds"} for row in read_rows(folder / "log.csv")
    ]
    return values, log


def lines(rows):
    """Lines of Markdown: for each moment, how many runs were killed, and what became of them."""
    yield "| killed | runs | resumed | identical in the end |"
    yield "|---|---:|---:|---:|"
    for moment in dict.fromkeys(row["moment"] for row in rows):
        here = [row for row in rows if row["moment"] == moment]
        counts = [sum(row[name] == "True" for row in here) for name in ("resumed", "identical")]
        yield f"| {MOMENTS[moment]} | {len(here)} | {counts[0]} | {counts[1]} |"


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    main.run()
