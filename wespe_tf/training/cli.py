"""The command `train.py` / `wespe-train`."""

from pathlib import Path

from ..config.loading import help_text, load
from ..config.schema import TrainConfig
from ..errors import UserError, run_command
from .dped import train_dped
from .run_folder import check_name
from .train import set_seed_and_precision, train

USAGE = """\
usage: python train.py [preset=NAME] [key=value …]

Trains WESPE on two folders of photos that are not pairs (source_dir= target_dir=), on DPED
(model= dped_dir=), or, with neither, on the embedded sample. Writes models/RUN."""


def main(arguments):
    """Runs `train.py` with the given `key=value` arguments."""
    if {"-h", "--help", "help"} & set(arguments):
        print(help_text(TrainConfig, USAGE))
        return
    config = load(TrainConfig, arguments)
    if config.resume:
        config = settings_of_run(arguments)
    if config.method == "dped":
        set_seed_and_precision(config)
        train_dped(config)
    else:
        train(config)


def command():
    """The console script `wespe-train`."""
    run_command(main)


def settings_of_run(arguments):
    """The settings of the run that `resume=true run=NAME` names.

    Raises:
        UserError: if there is no such run, or other settings are given than those that may change.
    """
    given = dict(argument.lstrip("-").split("=", 1) for argument in arguments)
    others = sorted(set(given) - {"resume", "run", "distribute"})
    if "run" not in given or others:
        found = f"; {others[0]} is the run's own" if others else ""
        raise UserError(f"resume=true: expected run=NAME, and at most distribute={found}")
    check_name(given["run"])
    path = Path("models") / given["run"] / "config.yaml"
    if not path.is_file():
        raise UserError(f"run={given['run']}: no run to resume; {path} is missing")
    return load(TrainConfig, [f"config={path}", *(f"{k}={v}" for k, v in given.items())])
