"""Reads and writes trained generators as TensorFlow 1 checkpoints of the authors' code."""

import glob
import math
import os
import re
import tempfile
from collections.abc import Iterable, Iterator

import tensorflow as tf

from ..errors import UserError, first_line
from ..models.generator import Generator
from .tf1_index import read_index

# The options of the network in DPED's code. There, other weights would compute something else.
AUTHORS_GENERATOR = {
    "width": 64,
    "blocks": 4,
    "norm": "instance",
    "norm_epsilon": 1e-3,
    "tanh_scale": 0.58,
    "ending": "dped",
}
_INDEX, _DATA = ".index", ".data-00000-of-00001"


def is_checkpoint(path: str | os.PathLike) -> bool:
    """Whether `path` is the prefix of a TensorFlow checkpoint: `path.index` exists."""
    return os.path.isfile(f"{path}{_INDEX}")


def load_checkpoint(prefix: str | os.PathLike) -> Generator:
    """A generator that the authors' code trained.

    Args:
        prefix: path of the checkpoint without `.index` and `.data-00000-of-00001`, such as
            `models_orig/iphone_orig` or `models/iphone_iteration_1000.ckpt`.

    Returns:
        A built `Generator` with the width and the number of blocks of the checkpoint.

    Raises:
        UserError: if there is no such checkpoint, if it is damaged, lacks a variable or has one
            of another shape or dtype.
    """
    if not is_checkpoint(prefix):
        raise UserError(f"{prefix}: no such checkpoint: no file {prefix}{_INDEX}")
    try:
        variables = read_index(f"{prefix}{_INDEX}")
        reader = tf.train.load_checkpoint(os.fspath(prefix))
    except Exception as error:  # TensorFlow maps its own failures to many types.
        raise UserError(
            f"{prefix}{_INDEX}: not a readable checkpoint ({first_line(error)})"
        ) from error

    _, first = variables.get("generator/W1", (None, None))
    if first is None:
        # A damaged name may contain line ends.
        names = ", ".join(repr(name)[1:-1] for name in sorted(variables)[:3])[:100] or "nothing"
        raise UserError(f"{prefix}: no variable generator/W1: it holds {names}, …")
    if len(first) != 4 or 0 in first[:3] or first[3] < 4:
        raise UserError(f"{prefix}: generator/W1 has shape {first}, expected (9, 9, 3, 64)")
    # This comes before any array is made: an index may claim sizes larger than any memory.
    width, blocks, needed = first[3], _count_blocks(variables), 0
    for name, expected in _named_shapes(width, blocks):
        if name not in variables:
            raise UserError(f"{prefix}: no variable {name}, expected shape {expected}")
        dtype, shape = variables[name]
        if shape != expected:
            raise UserError(f"{prefix}: {name} has shape {shape}, expected {expected}")
        if dtype != tf.float32:
            raise UserError(f"{prefix}: {name} is {dtype.name}, expected float32")
        needed += 4 * math.prod(shape)
    parts = glob.glob(f"{glob.escape(os.fspath(prefix))}.data-*")
    found = sum(os.path.getsize(part) for part in parts)
    if found < needed:
        raise UserError(
            f"{prefix}: cannot be read: missing or damaged data ({found} bytes, expected {needed})"
        )
    generator = Generator(width=width, blocks=blocks)
    generator.build((None, None, None, 3))
    named = checkpoint_variables(generator)
    try:
        values = [reader.get_tensor(name) for name, _ in named]
    except Exception as error:
        raise UserError(
            f"{prefix}: cannot be read: missing or damaged data ({first_line(error)})"
        ) from error
    for (_, variable), value in zip(named, values):
        variable.assign(value)
    return generator


def save_checkpoint(generator: Generator, prefix: str | os.PathLike) -> None:
    """Writes a generator as a checkpoint that the authors' code restores.

    Writes `prefix.index` and `prefix.data-00000-of-00001`, first under temporary names. If a crash
    comes between the two renamings, the reader notices it: the index has a checksum for every
    variable.

    Args:
        generator: a built `Generator` with the size and options of DPED's code.
        prefix: path without `.index` and `.data-00000-of-00001`; its folder exists.

    Raises:
        UserError: if the generator is another network than the authors', or the files cannot be
            written.
    """
    check_saveable(generator)
    named = checkpoint_variables(generator)
    folder, name = os.path.split(os.fspath(prefix))
    try:
        with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=folder or ".") as temporary:
            written = os.path.join(temporary, "checkpoint")
            tf.raw_ops.SaveV2(
                prefix=written,
                tensor_names=[name for name, _ in named],
                shape_and_slices=[""] * len(named),
                tensors=[tf.cast(variable.value, tf.float32) for _, variable in named],
            )
            for ending in (_DATA, _INDEX):
                os.replace(written + ending, f"{prefix}{ending}")
    except (OSError, tf.errors.OpError) as error:
        raise UserError(
            f"{prefix}: the checkpoint cannot be written ({first_line(error)})"
        ) from error


def check_saveable(generator: Generator) -> None:
    """Raises a `UserError` if `generator` is not the network that the authors' code builds."""
    for option, expected in AUTHORS_GENERATOR.items():
        found = getattr(generator, option)
        if found != expected:
            raise UserError(
                f"a generator with {option}={found} cannot be a checkpoint of the authors' code, "
                f"which builds {option}={expected}; save it as .keras"
            )


def checkpoint_variables(generator: Generator) -> list[tuple]:
    """The variables of a generator, with their names in the authors' checkpoints.

    Convolution k (from 1) is `W<k>` and `b<k>`; norm k (from 0) is `Variable_<2k>`, its shift,
    and `Variable_<2k + 1>`, its scale, where `Variable_0` is `Variable`.

    Args:
        generator: a built `Generator` with instance norm.

    Returns:
        List of (name, variable).
    """
    steps = generator.steps
    norms = [step.norm for step in steps if step.norm is not None]
    variables = [variable for step in steps for variable in (step.conv.kernel, step.conv.bias)]
    variables += [variable for norm in norms for variable in (norm.shift, norm.scale)]
    names = [name for name, _ in _named_shapes(generator.width, generator.blocks)]
    return list(zip(names, variables, strict=True))


def _named_shapes(width: int, blocks: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the authors' variables, one after another."""
    last = 2 * blocks + 4
    for k in range(1, last + 1):
        kernel = {1: (9, 9, 3, width), last: (9, 9, width, 3)}.get(k, (3, 3, width, width))
        yield f"generator/W{k}", kernel
        yield f"generator/b{k}", kernel[3:]
    for k in range(4 * blocks):
        yield f"generator/Variable_{k}" if k else "generator/Variable", (width,)


def _count_blocks(names: Iterable[str]) -> int:
    """Number of residual blocks of the generator in a checkpoint.

    It follows from the highest number of a convolution. So a missing one is reported as missing.
    """
    numbers = [re.fullmatch(r"generator/[Wb](\d+)", name) for name in names]
    convs = max(int(match[1]) for match in numbers if match)
    return max(0, -(-(convs - 4) // 2))
