"""Files that are written whole or not at all, and digests of files."""

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .errors import UserError


def make_folder(path: Path, setting: str = "output") -> None:
    """Makes a folder, with its parents.

    Args:
        path: the folder.
        setting: the setting that names it, for the message; or "" if none does.

    Raises:
        UserError: if it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        named = f"{setting}={path}" if setting else path
        raise UserError(f"{named}: cannot be made ({error.strerror})") from error


def digest(*paths: str | os.PathLike) -> str:
    """SHA-256 of the content of files, one after another, in hexadecimal digits."""
    found = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            hashlib.file_digest(file, lambda: found)  # It adds the file to `found`.
    return found.hexdigest()


def write_atomically(path: str | os.PathLike, *content: bytes | memoryview) -> None:
    """Writes bytes under a temporary name, and then renames the file.

    Args:
        path: path of the file to make or replace.
        *content: bytes, one after another.

    Raises:
        UserError: if the file cannot be written.
    """
    write_parts(path, content)


def write_parts(path: str | os.PathLike, parts: Iterable[bytes | memoryview]) -> None:
    """Like `write_atomically`, with parts that are made one by one and need not fit into memory.

    Args:
        path: path of the file to make or replace.
        parts: iterable of bytes.

    Raises:
        UserError: if the file cannot be written.
    """
    path = Path(path)
    try:
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            try:
                file.writelines(parts)
                file.flush()
                os.fchmod(file.fileno(), 0o666 & ~_umask())
                os.fsync(file.fileno())  # So a power cut cannot leave the name without content.
                os.replace(file.name, path)
            except BaseException:
                os.unlink(file.name)
                raise
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error


def write_json(path: str | os.PathLike, values: Any) -> None:
    """Writes JSON. NaN and infinity, which JSON does not have, become null.

    Args:
        path: path of the file to make or replace.
        values: values that JSON can hold.

    Raises:
        UserError: if the file cannot be written.
    """
    text = json.dumps(_finite(values), indent=2, ensure_ascii=False, allow_nan=False)
    # A file name may have bytes that are not text.
    write_atomically(path, f"{text}\n".encode(errors="backslashreplace"))


def _finite(value: Any) -> Any:
    """`value` with None in place of NaN and infinity."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
