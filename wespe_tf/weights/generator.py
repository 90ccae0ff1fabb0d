"""Finds trained generators by name, and loads them from any of their formats."""

import collections
import inspect
import json
import os
import re
from pathlib import Path
from typing import Any

import keras
import numpy as np

from ..errors import UserError, first_line
from ..models.generator import Generator, kernel_bytes
from .tf1_checkpoint import is_checkpoint, load_checkpoint
from .untrusted import ChildFailed, read_arrays

# The trained model that comes with the project (models/README.md). It is the default.
SHIPPED_MODEL = Path(__file__).with_name("phone_bench.keras")


def find_model(model: str, models_orig_dir: str = "models_orig") -> Path:
    """The file that `model=` names.

    Args:
        model: path of a run folder, of a `.keras` or `.tflite` file or of a checkpoint (without
            `.index`), the name of a run in `models/`, or of one of the authors' models in
            `models_orig_dir`; empty for the model that comes with the project.
        models_orig_dir: folder of the authors' trained models.

    Returns:
        Path of the file, or of the checkpoint.

    Raises:
        UserError: if there is none.
    """
    if not model:
        if not SHIPPED_MODEL.is_file():
            raise UserError(f"model=: missing, and {SHIPPED_MODEL} is missing, too")
        return SHIPPED_MODEL
    run = Path(model) / "generator.keras"
    for path in (Path(model), run, "models" / run):
        if os.path.isfile(path):  # `Path.is_file` raises if a name is too long, or without rights.
            return path
    for path in (Path(model), Path(models_orig_dir) / model):
        if is_checkpoint(path):
            return path
    raise UserError(
        f"model={model}: no such run folder, .keras file or checkpoint, here, in models/ or in "
        f"{models_orig_dir}/"
    )


def load_generator(model: str | Path) -> Generator:
    """A trained `Generator` in float32.

    Args:
        model: see `find_model`.

    Raises:
        UserError: if there is no such file or it is not a generator of this project.
    """
    path = find_model(str(model))
    if is_checkpoint(path):
        return load_checkpoint(path)
    try:
        arrays = read_arrays(path, "keras")
        described = json.loads(str(arrays.pop("config.json")))
        name, options = described["registered_name"], described["config"]
        if name != keras.saving.get_registered_name(Generator):
            raise UserError(
                f"model={path}: holds {str(name)[:60]!r}, expected a wespe_tf Generator"
            )
        return _generator(options, arrays)
    except (ChildFailed, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f"model={path}: not a readable .keras file ({first_line(error)})"
        ) from error


def _generator(options: Any, arrays: dict[str, np.ndarray]) -> Generator:
    """A `Generator` with the options and weights of a file.

    Nothing else in the file counts. Keras's own loading would import what the file names.
    """
    if not isinstance(options, dict):
        raise ValueError("it has no options")
    options = {k: v for k, v in options.items() if k not in ("name", "trainable", "dtype")}
    unknown = set(options) - set(inspect.signature(Generator).parameters)
    if unknown:
        raise ValueError(f"unknown option {min(unknown)!r}")
    needed = kernel_bytes(options["width"], options["blocks"], options.get("ending", "dped"))
    if needed > sum(array.nbytes for array in arrays.values()):
        raise ValueError("it holds less than its options need")
    generator = Generator(**options, dtype="float32")
    generator.build((None, None, None, 3))
    _assign(generator, arrays)
    return generator


def _assign(generator: Generator, arrays: dict[str, np.ndarray]) -> None:
    """Gives every layer its arrays, by the names in Keras's files.

    Names are `head/vars/0`, … for the first layer, and `layers/<class>_<number>/vars/0`, … for the
    others. Layers of a class are counted from 0, in order. The number 0 itself is left out.
    """
    stores: dict[str, dict[str, np.ndarray]] = collections.defaultdict(dict)
    for name, array in arrays.items():
        folder, _, number = name.rpartition("/vars/")
        stores[folder][number] = array
    counts: dict[str, int] = collections.Counter()
    for layer in generator.layers:
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(layer).__name__).lower()
        before, counts[name] = counts[name], counts[name] + 1
        folder = "head" if layer is generator.head else f"layers/{name}_{before}"
        layer.load_own_variables(stores[folder.removesuffix("_0")])
