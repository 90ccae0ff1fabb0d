"""Seconds and peak memory of one .tflite file, in a process that does nothing else.

Run by its path, `python litert_probe.py FILE HEIGHT WIDTH THREADS`, so that neither TensorFlow nor
the rest of the package is in memory. Prints JSON: `seconds` (median of three after one), `bytes`
(peak above what the interpreter without a model takes; null where the system does not tell).
"""

import json
import statistics
import sys
import time

import numpy as np
from ai_edge_litert.interpreter import Interpreter


def memory(entry):
    """An entry of this process's status in bytes: VmRSS, VmHWM; None where there is none."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith(entry))
    except (OSError, StopIteration):
        return None


def main(path, height, width, threads):
    before = memory("VmRSS")
    interpreter = Interpreter(path, num_threads=int(threads))
    (photo,) = interpreter.get_input_details()
    shape = [1, int(height), int(width), 3]
    if list(photo["shape"]) != shape:
        interpreter.resize_tensor_input(photo["index"], shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(photo["index"], np.zeros(shape, photo["dtype"]))
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        interpreter.invoke()
        seconds.append(time.perf_counter() - start)
    peak = memory("VmHWM")
    peak = None if peak is None else peak - before
    print(json.dumps({"seconds": statistics.median(seconds[1:]), "bytes": peak}))


if __name__ == "__main__":
    main(*sys.argv[1:])
