"""What a TFLite file holds, and what running it costs."""

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

# Runs one file by itself, without this package in memory.
PROBE = Path(__file__).with_name("litert_probe.py")
# Operators whose results have shapes that are known only when they run.
DYNAMIC_OPERATORS = {
    *("BROADCAST_ARGS", "CUSTOM", "FILL", "IF", "NON_MAX_SUPPRESSION_V4", "RANGE", "RANK"),
    *("SHAPE", "UNIQUE", "WHERE", "WHILE"),
}


@dataclasses.dataclass
class Graph:
    """What a .tflite file says of its graph.

    Attributes:
        operators: operator's name → how often it is there.
        largest_rank: of all its tensors.
        dynamic: what is known only when it runs: operators, and tensors of a free shape.
        multiply_adds: of the convolutions of `enhance`, for each pixel of the photo.
        halves: whether it holds values of 16 bits.
    """

    operators: dict
    largest_rank: int
    dynamic: list
    multiply_adds: int
    halves: bool


def read_graph(content: bytes) -> Graph:
    """Reads what `Graph` holds from the bytes of a .tflite file."""
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
    """What enhancing one photo with a file takes, in a process of its own.

    Args:
        path: of the .tflite file.
        height: of the photo.
        width: of the photo.

    Returns:
        `seconds`; `bytes`, peak memory, None where the system does not tell; `delegated`, whether
        XNNPACK takes all its operators.

    Raises:
        UserError: if the file cannot be run at this size.
    """
    try:
        return json.loads(run_alone(PROBE, path, height, width, os.cpu_count()))
    except ChildFailed as error:
        raise UserError(
            f"{path}: cannot be run at {size_text((height, width))} ({error})"
        ) from error
