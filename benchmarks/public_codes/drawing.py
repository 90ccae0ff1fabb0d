"""What both codes draw, and what their processes write.

The processes of the public codes import this file, and must not hold more in memory than that code
alone. So it imports neither TensorFlow nor PyTorch.
"""

import json
from pathlib import Path

import numpy as np

from benchmarks.public_codes.processes import RECORD

BATCH_SIZE = 3
NETWORKS = ("G", "F", "D_color", "D_texture")


def drawn(seed, kind, shape):
    """A variable's value, float64.

    Args:
        seed: number of the variable in its network, plus the network's base.
        kind: `"kernel"`, `"dense"`, `"vgg_kernel"`, `"scale"`, `"bias"` or `"shift"`.
        shape: kernels are (height, width, in, out), dense kernels (in, out).
    """
    z = np.random.RandomState(seed).standard_normal(shape)
    if kind in ("kernel", "dense"):
        return z / np.sqrt(np.prod(shape[:-1]))
    if kind == "vgg_kernel":
        return z * np.sqrt(2 / np.prod(shape[:-1]))
    return 1 + 0.1 * z if kind == "scale" else 0.1 * z


def pictures(seed, count, size):
    """(count, size, size, 3) uint8: squares of one color, with noise."""
    side = -(-size // 20)
    flat = np.random.RandomState(seed).randint(20, 236, (count, side, side, 3))
    flat = flat.repeat(20, 1).repeat(20, 2)[:, :size, :size]
    noise = np.random.RandomState(seed + 1).randint(-20, 21, (count, size, size, 3))
    return (flat + noise).astype(np.uint8)


def batches(seed, iterations, size):
    """(iterations, BATCH_SIZE, size, size, 3) uint8."""
    found = pictures(seed, iterations * BATCH_SIZE, size)
    return found.reshape(iterations, BATCH_SIZE, size, size, 3)


def kind_of(name, dimensions):
    """The kind of a variable of a public code, from its name and its number of dimensions."""
    if dimensions == 1:
        return "scale" if name.endswith(("weight", "gamma")) else "bias"
    return "kernel" if dimensions == 4 else "dense"


def save(name, networks):
    """Writes `name`.npz.

    Args:
        name: of the file.
        networks: dictionary from a network's name to its values, a list of arrays.
    """
    values = {f"{n}.{k}": v for n, found in networks.items() for k, v in enumerate(found)}
    np.savez(f"{name}.npz", **values)


def save_record(losses, ends):
    """Writes `RECORD`.

    Args:
        losses: list of dictionaries, one for each iteration.
        ends: when each iteration ended.
    """
    Path(RECORD).write_text(json.dumps({"losses": losses, "ends": ends}))
