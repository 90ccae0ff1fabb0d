"""The command `train.py` / `wespe-train`."""

import dataclasses
from pathlib import Path

from ..config.command import as_command
from ..config.loading import given_settings, load
from ..config.schema import TrainConfig
from ..errors import UserError
from .dped import train_dped
from .run_folder import check_name
from .train import set_seed_and_precision, train

USAGE = """\
usage: python train.py [preset=NAME] [key=value …]

Trains WESPE on two folders of photos that are not pairs (source_dir= target_dir=), on DPED
(model= dped_dir=), or, with neither, on the built-in sample. Writes the folder models/RUN. The
values below are the paper's. A preset replaces some of them."""


def settings(arguments: list[str]) -> TrainConfig:
    """Reads the settings from arguments. With `resume=true`, returns those of the resumed run.

    Raises:
        UserError: if an argument is wrong, if there is no run to resume, or if an argument differs
            from the settings of the resumed run.
    """
    config = load(TrainConfig, arguments)
    if not config.resume:
        return config
    if config.run is None:
        raise UserError("resume=true: expected run=NAME too")
    check_name(config.run)
    path = Path("models") / config.run / "config.yaml"
    if not path.is_file():
        raise UserError(f"run={config.run}: no run to resume; {path} is missing")
    kept = load(TrainConfig, [f"config={path}"])
    given = given_settings(TrainConfig, arguments)
    for key in vars(config) if "config" in given else given:
        mine, runs = getattr(config, key), getattr(kept, key)
        if mine != runs and key not in ("run", "resume", "distribute", "verbose"):
            raise UserError(
                f"resume=true: {key}={mine} is given, but run={config.run} has {key}={runs}, which "
                "cannot change"
            )
    distribute = config.distribute if "distribute" in given else kept.distribute
    return dataclasses.replace(kept, run=config.run, resume=True, distribute=distribute)


@as_command(USAGE, TrainConfig, settings)
def main(config: TrainConfig) -> None:
    """Runs `train.py`."""
    if config.method == "dped":
        set_seed_and_precision(config)
        train_dped(config)
    else:
        train(config)


command = main.run  # The console script `wespe-train`.
