"""Errors that a user can cause, and how a command ends on them."""

import contextlib
import gc
import io
import os
import re
import sys
from collections.abc import Callable, Iterator


class UserError(Exception):
    """A mistake in the settings or the files, told in one line that says what was expected."""


def first_line(error: BaseException) -> str:
    """What an error of a library says, in at most a line; its kind where it says nothing.

    TensorFlow puts the name of its operation first, in double braces; users have no use for it.
    """
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return re.sub(r"^\{\{.*?\}\} ", "", line)[:240]


@contextlib.contextmanager
def optional(extra: str, purpose: str) -> Iterator[None]:
    """Around an import of a package that a plain install does without.

    Args:
        extra: the extra of setup.cfg that brings it.
        purpose: what it is needed for, the beginning of the message.

    Raises:
        UserError: with the command that installs it, where it is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        raise UserError(
            f'{purpose} needs the package {package}: pip install "wespe_tf[{extra}]"'
        ) from error


def run_command(main: Callable[[list[str]], None]) -> None:
    """Runs a command. It ends with one line and status 2 on a `UserError`, 130 on Ctrl-C.

    Args:
        main: function of the list of command-line arguments.
    """
    for stream in (sys.stdout, sys.stderr):
        # Names of files and signs such as × must not end the work where they cannot be printed.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if os.name != "posix":
        print("error: wespe_tf runs on Linux and macOS; on Windows, in WSL 2", file=sys.stderr)
        sys.exit(2)
    try:
        main(sys.argv[1:])
        return
    except UserError as error:
        message, status = f"error: {error}", 2
    except KeyboardInterrupt:
        message, status = "interrupted", 130
    # The error held the frames of `main` and with them datasets that still read ahead; Python
    # cannot shut down while TensorFlow's threads wait to call it.
    gc.collect()
    print(message, file=sys.stderr)
    sys.exit(status)
