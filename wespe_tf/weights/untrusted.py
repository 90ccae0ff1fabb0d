"""Reads files that may be damaged or hostile, each in a process of its own.

Some formats are read by C libraries. A file that was made for it, or was damaged by a bad disk, can
make them crash, hang or take any amount of memory. Then only the child process ends.
"""

import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

READER = Path(__file__).with_name("untrusted_reader.py")

# Limits for the process that reads a file: bytes of memory, and seconds of computing.
MEMORY = 2 * 10**9
SECONDS = 60


class ChildFailed(Exception):
    """A child process has failed. The message is one line that says why."""


def run_alone(script: str | Path, *arguments: object) -> str:
    """Runs a script of this package, without the rest of the package or TensorFlow in memory.

    Args:
        script: path of its file.
        *arguments: for its command line.

    Returns:
        The text that it prints.

    Raises:
        ChildFailed: if it ends with an error or by a signal.
    """
    command = [sys.executable, script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if done.returncode == -signal.SIGXCPU:
        raise ChildFailed(f"not read within {SECONDS} s")
    if done.returncode < 0:
        raise ChildFailed(f"its reader crashed with {signal.Signals(-done.returncode).name}")
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        raise ChildFailed(lines[-1][:160])
    return done.stdout


def read_arrays(path: str | Path, kind: str, largest: int = MEMORY) -> dict[str, np.ndarray]:
    """The arrays of a file, read in a child process within 2 GB and a minute.

    Args:
        path: path of the file.
        kind: `"npz"`, `"mat"` (its variable `layers`), `"hdf5"` or `"keras"` (the weights, and
            `config.json` as text).
        largest: largest size of an array in bytes; larger ones are left out.

    Returns:
        Dictionary of NumPy arrays by name, never with Python objects in them. Nested arrays have
        names with slashes: `layers/0/weights/1`.

    Raises:
        ChildFailed: if the file cannot be read, with the reason.
    """
    with tempfile.TemporaryDirectory(prefix="wespe_tf-") as folder:
        found = Path(folder) / "arrays.npz"
        names = run_alone(READER, path, kind, largest, MEMORY, SECONDS, found)
        with np.load(found, allow_pickle=False) as archive:
            return {name: archive[f"arr_{k}"] for k, name in enumerate(json.loads(names))}
