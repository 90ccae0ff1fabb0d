"""Checks and makes training data: `python -m wespe_tf.data check` and `… align`."""

from ..errors import UserError, optional, run_command

USAGE = """\
usage: python -m wespe_tf.data check FOLDER [FOLDER …] [key=value …]
       python -m wespe_tf.data align phone_dir=FOLDER camera_dir=FOLDER output=FOLDER [key=value …]

check shows what is in folders of photos, before you train on them. align makes aligned patches from
photos of the same scenes by two cameras. `check --help` and `align --help` list their settings."""


def main(arguments: list[str]) -> None:
    """Runs the command that the first argument names, with the other arguments."""
    name, *others = arguments or ["--help"]
    if name in ("-h", "--help", "help"):
        print(USAGE)
        return
    if name not in ("check", "align"):
        raise UserError(f"{name}: expected check or align; --help says what they do")
    with optional("align", name):
        if name == "check":
            from .check import main as command
        else:
            from .align import main as command
    command(others)


if __name__ == "__main__":
    run_command(main)
