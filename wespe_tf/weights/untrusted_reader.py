"""Reads the arrays of a file that may be damaged or hostile, in a process that does nothing else.

It is run by its path, `python untrusted_reader.py FILE KIND LARGEST MEMORY SECONDS OUTPUT`. So
neither TensorFlow nor the rest of the package is in memory. It writes the arrays to OUTPUT, an .npz
file, and prints their names as JSON. See `untrusted.read_arrays`.
"""

import io
import json
import os
import resource
import sys
import zipfile
from collections.abc import Iterator
from typing import Any

# More threads of BLAS would only take memory.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np  # noqa: E402

# Kinds of dtypes that are read: numbers and text. Objects are pickled, and could run any code.
PLAIN = "biufcSU"
Named = Iterator[tuple[str, np.ndarray]]


def main(path: str, kind: str, largest: str, memory: str, seconds: str, output: str) -> None:
    """Reads a file within limits on memory and time, and writes its arrays to `output`."""
    read = {"npz": npz, "mat": mat, "hdf5": hdf5, "keras": keras_file}[kind]
    resource.setrlimit(resource.RLIMIT_DATA, (int(memory), int(memory)))
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds) + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    found = dict(read(path, int(largest)))
    np.savez(output, *found.values())
    print(json.dumps(list(found)))


def npz(path: str, largest: int) -> Named:
    """The arrays of NumPy's archive."""
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.filename.endswith(".npy") and member.file_size <= largest + 10**4:
                with archive.open(member) as file:
                    array = np.lib.format.read_array(file, allow_pickle=False)
                yield from plain(member.filename.removesuffix(".npy"), array, largest)


def mat(path: str, largest: int) -> Named:
    """The variable `layers` of a MATLAB file: structs by field names, cells by their numbers."""
    import scipy.io

    content = scipy.io.loadmat(
        path, variable_names=["layers"], simplify_cells=True, appendmat=False
    )
    if "layers" in content:
        yield from nested("layers", content["layers"], largest)


def nested(name: str, value: Any, largest: int) -> Named:
    """The arrays in structs and cells."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from nested(f"{name}/{key}", item, largest)
    elif isinstance(value, list) or (isinstance(value, np.ndarray) and value.dtype.kind == "O"):
        for number, item in enumerate(value):
            yield from nested(f"{name}/{number}", item, largest)
    else:
        yield from plain(name, np.asarray(value), largest)


def hdf5(file: Any, largest: int) -> Named:
    """The data sets of an HDF5 file. Links, and data sets in other files, are refused."""
    import h5py

    with h5py.File(file, "r") as content:
        yield from group("", content, largest, set())


def group(name: str, content: Any, largest: int, seen: set) -> Named:
    """The data sets below a group, each group once."""
    import h5py

    for key in content:
        if not isinstance(content.get(key, getlink=True), h5py.HardLink):
            raise ValueError(f"{name}{key} is a link, expected the data themselves")
        item = content[key]
        if isinstance(item, h5py.Group):
            if item.id not in seen:
                seen.add(item.id)
                yield from group(f"{name}{key}/", item, largest, seen)
        elif isinstance(item, h5py.Dataset):
            if item.external or item.is_virtual:
                raise ValueError(f"{name}{key} lies in other files, expected the data themselves")
            if item.shape is not None and item.nbytes <= largest and item.dtype.kind in PLAIN:
                yield f"{name}{key}", item[()]


def keras_file(path: str, largest: int) -> Named:
    """The weights in a Keras archive by their paths, and `config.json`."""
    with zipfile.ZipFile(path) as archive:
        yield "config.json", np.array(archive.read("config.json").decode())
        yield from hdf5(io.BytesIO(archive.read("model.weights.h5")), largest)


def plain(name: str, array: np.ndarray, largest: int) -> Named:
    """An array with its name, if it has plain values and is not too large."""
    if array.dtype.kind in PLAIN and array.nbytes <= largest:
        yield name, array


if __name__ == "__main__":
    main(*sys.argv[1:])
