"""Errors that a user can cause, and how a command ends on them."""

import sys


class UserError(Exception):
    """A mistake in the settings or the files, told in one line that says what was expected."""


def run_command(main):
    """Runs a command and exits: 0 when it returns, 2 with one line on a `UserError`.

    Args:
        main: function of the list of command-line arguments.
    """
    try:
        main(sys.argv[1:])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
