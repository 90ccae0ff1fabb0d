"""Reads the graph of a TFLite file, and measures how long it runs and how much memory it takes."""

import collections
import dataclasses
import json
import os
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from ..enhance.litert import size_text
from ..errors import UserError
from ..weights.untrusted import ChildFailed, run_alone

# This script runs one file without the rest of this package in memory.
PROBE = Path(__file__).with_name("litert_probe.py")
# Operators whose results have shapes that are not known before they run.
DYNAMIC_OPERATORS = {
    *("BROADCAST_ARGS", "CUSTOM", "FILL", "IF", "NON_MAX_SUPPRESSION_V4", "RANGE", "RANK"),
    *("SHAPE", "UNIQUE", "WHERE", "WHILE"),
}


@dataclasses.dataclass
class Graph:
    """Facts about the graph of a .tflite file.

    Attributes:
        operators: operator's name → how often it occurs.
        largest_rank: largest rank of all tensors.
        dynamic: names of operators and tensors whose shapes are not known before they run.
        multiply_adds: those of the convolutions of `enhance`, for each pixel of the photo.
        halves: whether it holds values of 16 bits.
    """

    operators: dict
    largest_rank: int
    dynamic: list
    multiply_adds: int
    halves: bool


def read_graph(content: bytes) -> Graph:
    """Reads the graph of a .tflite file from its bytes."""
    model = schema.ModelT.InitFromPackedBuf(content)
    names = {
        code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)
    }
    operators: collections.Counter[str] = collections.Counter()
    dynamic, rank, products, halves = [], 0, 0, False
    for index, graph in enumerate(model.subgraphs):
        for tensor in graph.tensors:
            rank = max(rank, 0 if tensor.shape is None else len(tensor.shape))
            halves |= tensor.type == schema.TensorType.FLOAT16
            if tensor.shapeSignature is not None and -1 in tensor.shapeSignature:
                dynamic.append(tensor.name.decode())
        for operator in graph.operators:
            code = model.operatorCodes[operator.opcodeIndex]
            name = names[max(code.builtinCode, code.deprecatedBuiltinCode)]
            operators[name] += 1
            if name in DYNAMIC_OPERATORS:
                dynamic.append(name)
            if name == "CONV_2D" and index == 0:
                products += int(np.prod(graph.tensors[operator.inputs[1]].shape))
    return Graph(dict(sorted(operators.items())), rank, dynamic, products, halves)


def measure(path: str | Path, height: int, width: int) -> dict:
    """Measures what it takes to enhance one photo with a file, in a process of its own.

    Args:
        path: path of the .tflite file.
        height: height of the photo.
        width: width of the photo.

    Returns:
        Dictionary of `seconds`; `bytes`: peak memory, None if the system does not tell;
        `delegated`: whether XNNPACK takes all operators.

    Raises:
        UserError: if the file cannot be run at this size.
    """
    try:
        return json.loads(run_alone(PROBE, path, height, width, os.cpu_count()))
    except ChildFailed as error:
        raise UserError(
            f"{path}: cannot be run at {size_text((height, width))} ({error})"
        ) from error
