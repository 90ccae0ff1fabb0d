"""Two codes in lockstep: the same drawn weights and pictures, and what each code makes of them."""

import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from benchmarks.public_codes.drawing import NETWORKS, drawn, save, save_record
from benchmarks.public_codes.processes import run_process
from benchmarks.public_codes.summary import Column, relative_differences
from wespe_tf.errors import UserError
from wespe_tf.training.loop import fit

PRECISIONS = ("float64", "float32")
# TensorFlow traces graphs in the first turns of each side.
UNTIMED = 3


def draw(named, base):
    """Gives variables of Keras their drawn values.

    Args:
        named: list of (name, kind, variable), in the order of the drawing.
        base: seed of the first one.
    """
    for k, (_, kind, variable) in enumerate(named):
        variable.assign(drawn(base + k, kind, tuple(variable.shape)))


def train_ours(model, named, data, schedule, turns=1, before=lambda iteration: None):
    """Trains a model of this project in its own loop, and writes what a process writes.

    Args:
        model: compiled and built `WESPE`.
        named: dictionary from a network's name to its list of (name, kind, variable).
        data: (phone, dslr), each (iterations, N, H, W, 3) uint8.
        schedule: of the turns.
        turns: in each iteration. All see the same batch.
        before: function that is called with the iteration's number before its first turn.
    """

    def values():
        return {name: [v.numpy() for *_, v in named[name]] for name in NETWORKS}

    losses, ends = [], []

    def on_begin(turn, logs):
        if turn % turns == 0:
            losses.append({})
            before(turn // turns)

    def on_end(turn, logs):
        losses[-1].update(logs)
        if (turn + 1) % turns == 0:
            ends.append(time.perf_counter())

    x, _ = model.unpack(tuple(pictures[0] for pictures in data))
    save("first", {"enhanced": [model.generator(x).numpy()]})
    save("before", values())
    dataset = tf.data.Dataset.from_tensor_slices(tuple(p.repeat(turns, axis=0) for p in data))
    note = keras.callbacks.LambdaCallback(on_train_batch_begin=on_begin, on_train_batch_end=on_end)
    fit(model, dataset, len(dataset), len(dataset), [note], schedule)
    save("after", values())
    save_record(losses, ends)


def use(precision):
    """Makes Keras compute in a precision, `"float32"` or `"float64"`."""
    keras.config.set_floatx(precision)
    keras.config.set_dtype_policy(precision)


def compare(name, works, output, *arguments):
    """Runs both codes in both precisions.

    Args:
        name: of the public code, for the table and for files.
        works: functions of the arguments and the precision; each writes what a process writes. The
            first one runs the public code, the second one this project.
        output: `Path` of the folder for what they print.
        arguments: for both functions.

    Returns:
        A `Column` of the table for each precision.
    """
    return [compare_in(precision, name, works, output, arguments) for precision in PRECISIONS]


def compare_in(precision, name, works, output, arguments):
    """Runs both codes in a precision, and returns the `Column`."""
    with tempfile.TemporaryDirectory() as scratch:
        runs, folders = [], []
        for side, work in zip(("theirs", "ours"), works):
            folder = Path(scratch, side)
            folder.mkdir()
            log = output / f"{side}_{name}_{precision}.log"
            runs.append(run_process(folder, log, work, *arguments, precision))
            folders.append(folder)
        theirs, ours = runs
        check_start(*folders)
        return Column(
            f"{name}, {precision}",
            outputs=largest_difference(*(folder / "first.npz" for folder in folders)),
            losses=relative_differences(theirs["losses"], ours["losses"]),
            seconds=tuple(mean_seconds(run["ends"]) for run in runs),
            peak_memory=tuple(run["peak_memory"] for run in runs),
            moved=largest_difference(folders[0] / "before.npz", folders[0] / "after.npz"),
            weights=largest_difference(*(folder / "after.npz" for folder in folders)),
        )


def check_start(theirs, ours):
    """Raises a `UserError` unless both codes began with the same weights."""
    apart = largest_difference(theirs / "before.npz", ours / "before.npz")
    if apart != 0:
        raise UserError(f"the two codes began with different weights: {apart:.1e} apart")


def largest_difference(one, other):
    """Largest absolute difference of the arrays of two .npz files with the same names."""
    with np.load(one) as first, np.load(other) as second:
        if sorted(first.files) != sorted(second.files):
            raise ValueError(f"{one} and {other} hold other arrays")
        return max(float(np.abs(first[name] - second[name]).max()) for name in first.files)


def mean_seconds(ends):
    """Mean seconds of the iterations that are timed. `ends` says when each iteration ended."""
    return (ends[-1] - ends[UNTIMED - 1]) / (len(ends) - UNTIMED)
