"""Measures seconds and peak memory of one .tflite file, in a process that does nothing else.

It is run by its path, `python litert_probe.py FILE HEIGHT WIDTH THREADS`. So neither TensorFlow nor
the rest of the package is in memory. It prints JSON: `seconds` (the median of three runs after a
first one), `bytes` (peak memory minus the memory before the file was opened; null if the system
does not tell), `delegated` (whether XNNPACK takes every operator of every signature).
"""

import json
import statistics
import sys
import time

import numpy as np
from ai_edge_litert.compiled_model import CompiledModel
from ai_edge_litert.interpreter import Interpreter


def memory(entry: str) -> int | None:
    """An entry of this process's status, such as VmRSS, in bytes; None if there is none."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith(entry))
    except (OSError, StopIteration):
        return None


def main(path: str, height: str, width: str, threads: str) -> None:
    """Runs the model of a file, and prints what a run takes, as JSON."""
    before = memory("VmRSS")
    interpreter = Interpreter(path, num_threads=int(threads))
    shape = [1, int(height), int(width), 3]
    (photo,) = [t for t in interpreter.get_input_details() if t["shape"][-1] == 3]
    if list(photo["shape"]) != shape:
        interpreter.resize_tensor_input(photo["index"], shape)
    interpreter.allocate_tensors()
    for given in interpreter.get_input_details():
        interpreter.set_tensor(given["index"], np.zeros(given["shape"], given["dtype"]))
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        interpreter.invoke()
        seconds.append(time.perf_counter() - start)
    after = memory("VmHWM")
    peak = None if after is None or before is None else after - before
    found = {"seconds": statistics.median(seconds[1:]), "bytes": peak}
    delegated = CompiledModel.from_file(path).is_fully_accelerated()
    print(json.dumps(found | {"delegated": delegated}))


if __name__ == "__main__":
    main(*sys.argv[1:])
