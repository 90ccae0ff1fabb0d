"""Errors that a user can cause, and how a command ends after them."""

import contextlib
import gc
import io
import os
import re
import sys
from collections.abc import Callable, Iterator


class UserError(Exception):
    """A mistake in settings or files. The message is one line that says what was expected."""


def first_line(error: BaseException) -> str:
    """The first line of a library's error, or the name of its type if it has no message.

    TensorFlow puts the name of an operation first, in double braces. It is removed.
    """
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return re.sub(r"^\{\{.*?\}\} ", "", line)[:240]


@contextlib.contextmanager
def optional(extra: str, purpose: str) -> Iterator[None]:
    """A context for the import of a package that a plain installation does not have.

    Args:
        extra: the extra in setup.cfg that installs it.
        purpose: what needs the package; the beginning of the message.

    Raises:
        UserError: if the package is missing. The message has the command that installs it.
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

    It ends without a line and with status 1 if the reader of its output has ended.

    Args:
        main: function of the list of command-line arguments.
    """
    for stream in (sys.stdout, sys.stderr):
        # If file names or signs such as × cannot be printed, this must not end the work.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if os.name != "posix":
        print("error: wespe_tf runs on Linux and macOS; on Windows, in WSL 2", file=sys.stderr)
        sys.exit(2)
    try:
        main(sys.argv[1:])
        sys.stdout.flush()
        return
    except BrokenPipeError:
        # The program that reads our output has ended, such as `head`. The rest goes nowhere.
        # Otherwise Python would complain at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except UserError as error:
        message, status = f"error: {error}", 2
    except KeyboardInterrupt:
        message, status = "interrupted", 130
    # The error kept the frames of `main`, and with them datasets whose threads still read. Python
    # cannot end while these threads of TensorFlow wait to call it.
    gc.collect()
    print(message, file=sys.stderr)
    sys.exit(status)
