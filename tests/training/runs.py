"""Tiny runs for tests: their settings, photos and files, and `train.py` as a process."""

import csv
import json
import os
import subprocess
import sys
import time

import pytest
from PIL import Image

from tests.shared import ROOT
from wespe_tf.config.loading import load
from wespe_tf.config.schema import TrainConfig
from wespe_tf.models.wespe import WESPE
from wespe_tf.training.checkpoints import Checkpoints, Log
from wespe_tf.training.schedule import Simultaneous

LOSSES = WESPE.loss_names()
TINY = (
    "generator_width=8",
    "generator_blocks=1",
    "discriminator_width=0.1",
    "patch_size=32",
    "border=4",
    "batch_size=2",
    "num_train_iters=4",
    "eval_step=2",
    "warm_start_iters=1",
    # Whatever the processor can: bfloat16 has other losses on two devices than on one.
    "precision=float32",
)


def tiny(*arguments):
    return load(TrainConfig, [*TINY, *arguments])


def checkpoints_of(run, model, schedule=None, log=None):
    """The `Checkpoints` of a run with a new log, of which two stay."""
    if log is None:
        log = Log(run.path / "log.csv", ["iteration"])
        log.open()
    return Checkpoints(run.path, model, schedule or Simultaneous(), log, 2)


def make_data(root, make_photo):
    """Folders `source`, `target`, `val_source` and `val_target` below `root`."""
    for number in range(3):
        for side, photo in (
            ("source", make_photo(48, 56, number) // 2),
            ("target", make_photo(48, 56, 10 + number)),
            ("val_source", make_photo(44, 50, 20 + number) // 2),
            ("val_target", make_photo(44, 50, 20 + number)),
        ):
            (root / side).mkdir(parents=True, exist_ok=True)
            Image.fromarray(photo).save(root / side / f"{number}.png")
    own = [f"{side}_dir={root / side}" for side in ("source", "target")]
    val = [f"val_{side}_dir={root / f'val_{side}'}" for side in ("source", "target")]
    return own, val


def read_log(run):
    with open(run / "log.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_summary(run):
    """The summary as strict JSON, which has no NaN and no Infinity."""

    def refuse(constant):
        pytest.fail(f"summary.json has {constant}")

    return json.loads((run / "summary.json").read_text(), parse_constant=refuse)


def start(folder, *arguments, stderr=subprocess.PIPE):
    """`python train.py` in a folder, as a user starts it."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )


def wait_for(condition, process, seconds=600):
    end = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            pytest.fail(f"gave up waiting; output:\n{''.join(process.communicate())[-3000:]}")
        time.sleep(0.2)
