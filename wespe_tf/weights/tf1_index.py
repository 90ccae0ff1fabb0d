"""Reads the index of a TensorFlow checkpoint. No content of it can end the process.

TensorFlow's own reader aborts if the checksums of an index are right, but its entries are wrong. It
could run in a child process. But the child would have to import TensorFlow, which takes 7 seconds
for every checkpoint. This reader takes milliseconds.
The index is a table in LevelDB's format, without compression: blocks of (key, value), sorted by
key. A key is stored without the beginning that it shares with the key before it. Keys are names of
variables, values are TensorFlow's `BundleEntryProto`.
"""

from collections.abc import Iterator
from typing import Any

from google.protobuf.message import DecodeError
from tensorflow.core.protobuf.tensor_bundle_pb2 import BundleEntryProto, BundleHeaderProto
from tensorflow.dtypes import as_dtype

MAGIC = bytes.fromhex("57fb808b247547db")
# Bytes of the footer: two handles (offset and size of a block), padding, and the magic number.
FOOTER = 48


def read_index(path: str) -> dict[str, tuple]:
    """The variables that a checkpoint lists.

    Args:
        path: path of the `.index` file.

    Returns:
        Dictionary from names to (dtype, shape).

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is not an index, or is damaged.
    """
    with open(path, "rb") as file:
        content = file.read()
    if len(content) < FOOTER or not content.endswith(MAGIC):
        raise ValueError("not the index of a checkpoint, or cut off")
    try:
        _, place = _handle(content, len(content) - FOOTER)
        index, _ = _handle(content, place)
        variables = {}
        for _, value in _entries(_block(content, *index)):
            handle, _ = _handle(value, 0)
            for key, entry in _entries(_block(content, *handle)):
                if key:
                    variables[key.decode()] = _described(BundleEntryProto.FromString(entry))
                else:
                    BundleHeaderProto.FromString(entry)
    except (IndexError, DecodeError, TypeError) as error:
        raise ValueError(f"a damaged index: {error}") from error
    return variables


def _described(entry: Any) -> tuple[Any, tuple[int, ...]]:
    shape = tuple(dimension.size for dimension in entry.shape.dim)
    if entry.shape.unknown_rank or any(size < 0 for size in shape):
        raise ValueError(f"a damaged index: a variable of shape {shape}")
    return as_dtype(entry.dtype), shape


def _block(content: bytes, offset: int, size: int) -> bytes:
    """A block without the type and the checksum after it."""
    block = content[offset : offset + size]
    if len(block) < size or content[offset + size] != 0:
        raise IndexError("a block is missing or compressed")
    return block


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(key, value) pairs of a block, up to its restart points."""
    end = len(block) - 4 - 4 * int.from_bytes(block[-4:], "little")
    key, place = b"", 0
    while place < end:
        shared, place = _number(block, place)
        own, place = _number(block, place)
        size, place = _number(block, place)
        if shared > len(key) or place + own + size > end:
            raise IndexError("an entry is longer than its block")
        key = key[:shared] + block[place : place + own]
        yield key, block[place + own : place + own + size]
        place += own + size


def _handle(content: bytes, place: int) -> tuple[tuple[int, int], int]:
    """((offset, size), place after them)."""
    offset, place = _number(content, place)
    size, place = _number(content, place)
    return (offset, size), place


def _number(content: bytes, place: int) -> tuple[int, int]:
    """(number with seven bits in each byte, the lowest first; place after it)."""
    number = 0
    for shift in range(0, 64, 7):
        byte = content[place]
        place += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, place
    raise IndexError("a number of more than 64 bits")
