"""Trained generators of the authors' code: its TensorFlow 1 checkpoints, in and out."""

import os
import re
import tempfile

import tensorflow as tf

from .errors import UserError
from .models.generator import Generator

# What DPED code's network is; a generator with anything else would not mean the same there.
AUTHORS_GENERATOR = {
    "width": 64,
    "blocks": 4,
    "norm": "instance",
    "norm_epsilon": 1e-3,
    "tanh_scale": 0.58,
}
_INDEX, _DATA = ".index", ".data-00000-of-00001"


def is_checkpoint(path):
    """Whether `path` is the prefix of a TensorFlow checkpoint: `path.index` exists."""
    return os.path.isfile(f"{path}{_INDEX}")


def load_checkpoint(prefix):
    """A generator that the authors' code trained.

    Args:
        prefix: path of the checkpoint without `.index` and `.data-00000-of-00001`, such as
            `models_orig/iphone_orig` or `models/iphone_iteration_1000.ckpt`.

    Returns:
        A built `Generator`; width and number of blocks are those of the checkpoint.

    Raises:
        UserError: if there is no such checkpoint, if it is damaged, lacks a variable or has one
            of another shape or dtype.
    """
    if not is_checkpoint(prefix):
        raise UserError(f"{prefix}: no such checkpoint: no file {prefix}{_INDEX}")
    try:
        reader = tf.train.load_checkpoint(os.fspath(prefix))
        shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    except Exception as error:  # TensorFlow maps its own failures to many types.
        raise UserError(
            f"{prefix}{_INDEX}: not a readable checkpoint ({_reason(error)})"
        ) from error

    first = shapes.get("generator/W1")
    if first is None:
        names = ", ".join(sorted(shapes)[:3]) or "nothing"
        raise UserError(f"{prefix}: no variable generator/W1: it holds {names}, …")
    if len(first) != 4 or 0 in first:
        raise UserError(f"{prefix}: generator/W1 has shape {tuple(first)}, expected (9, 9, 3, 64)")
    generator = Generator(width=first[-1], blocks=_count_blocks(shapes))
    generator.build((None, None, None, 3))

    values = []
    for name, variable in checkpoint_variables(generator):
        if name not in shapes:
            raise UserError(f"{prefix}: no variable {name}, expected shape {variable.shape}")
        shape = tuple(shapes[name])
        if shape != tuple(variable.shape):
            raise UserError(f"{prefix}: {name} has shape {shape}, expected {variable.shape}")
        if dtypes[name] != tf.float32:
            raise UserError(f"{prefix}: {name} is {dtypes[name].name}, expected float32")
        try:
            values.append(reader.get_tensor(name))
        except Exception as error:
            raise UserError(
                f"{prefix}: {name} of shape {shape} cannot be read: missing or damaged data "
                f"({_reason(error)})"
            ) from error
    for (_, variable), value in zip(checkpoint_variables(generator), values):
        variable.assign(value)
    return generator


def save_checkpoint(generator, prefix):
    """Writes a generator as a checkpoint that the authors' code restores.

    Writes `prefix.index` and `prefix.data-00000-of-00001`, first under temporary names. A crash
    between the two renamings is found when reading: every variable has a checksum in the index.

    Args:
        generator: a built `Generator` of the size and options of DPED code.
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
        raise UserError(f"{prefix}: the checkpoint cannot be written ({_reason(error)})") from error


def check_saveable(generator):
    """Raises a `UserError` unless `generator` is the network that the authors' code builds."""
    for option, expected in AUTHORS_GENERATOR.items():
        found = getattr(generator, option)
        if found != expected:
            raise UserError(
                f"a generator with {option}={found} is no checkpoint of the authors' code, which "
                f"builds {option}={expected}; save it as .keras"
            )


def checkpoint_variables(generator):
    """The variables of a generator with the names they have in the authors' checkpoints.

    Convolution k (from 1) is `W<k>` and `b<k>`; norm k (from 0) is `Variable_<2k>`, its shift,
    and `Variable_<2k + 1>`, its scale, where `Variable_0` is `Variable`.

    Args:
        generator: a built `Generator` with instance norm.

    Returns:
        List of (name, variable).
    """
    convs, norms = [generator.head], []
    for conv1, norm1, conv2, norm2 in generator.residuals:
        convs += [conv1, conv2]
        norms += [norm1, norm2]
    convs += [*generator.tail, generator.to_rgb]

    named = []
    for k, conv in enumerate(convs, 1):
        named += [(f"W{k}", conv.kernel), (f"b{k}", conv.bias)]
    for k, variable in enumerate(v for norm in norms for v in (norm.shift, norm.scale)):
        named.append((f"Variable_{k}" if k else "Variable", variable))
    return [(f"generator/{name}", variable) for name, variable in named]


def _count_blocks(names):
    """Residual blocks of the generator in a checkpoint.

    Judged by the highest number of a convolution, so that a missing one is reported as missing.
    """
    numbers = [re.fullmatch(r"generator/[Wb](\d+)", name) for name in names]
    convs = max(int(match[1]) for match in numbers if match)
    return max(0, -(-(convs - 4) // 2))


def _reason(error):
    """The first line of an error, short."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
