"""Errors that a user can cause, and how a command ends on them."""

import gc
import sys


class UserError(Exception):
    """A mistake in the settings or the files, told in one line that says what was expected."""


def first_line(error):
    """What an error of a library says, in at most a line; its kind where it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0][:160]


def run_command(main):
    """Runs a command; exits with status 2 and one line on a `UserError`.

    Args:
        main: function of the list of command-line arguments.
    """
    try:
        main(sys.argv[1:])
        return
    except UserError as error:
        message = str(error)
    # The error held the frames of `main` and with them datasets that still read ahead; Python
    # cannot shut down while TensorFlow's threads wait to call it.
    gc.collect()
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)
