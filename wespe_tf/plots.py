"""The figure of a data set: `python -m wespe_tf.plots dataset`."""

from dataclasses import dataclass
from pathlib import Path

from .config.command import as_command
from .config.loading import load
from .config.schema import Folders
from .config.setting import setting
from .data.crops import fixed_crops
from .data.folders import find_pairs, find_pictures
from .data.sources import data_folders
from .errors import UserError
from .files import write_atomically
from .training.figures import sample_figure, to_png

USAGE = """\
usage: python -m wespe_tf.plots dataset [output=dataset.png] [source_dir=… target_dir=… | model=…]

Draws a data set as the report's figure 1: a row of the phone's patches over a row of the good
camera's; of the same scenes where there are validation pairs."""


@dataclass
class PlotConfig(Folders):
    """Settings of the figure."""

    output: str = setting("dataset.png", "the figure, a PNG file", first=True)


def settings(arguments: list[str]) -> PlotConfig:
    """The settings behind the word `dataset`.

    Raises:
        UserError: on another word, or a mistake in the settings.
    """
    if arguments[:1] != ["dataset"]:
        raise UserError("expected: python -m wespe_tf.plots dataset [output=FILE] [key=value …]")
    return load(PlotConfig, arguments[1:])


@as_command(USAGE, PlotConfig, settings)
def main(config: PlotConfig) -> None:
    """Draws the figure."""
    folders = data_folders(config)
    if folders.val_source is not None and folders.val_target is not None:
        shown = folders.val_source, folders.val_target
        rows = dict(zip(("phone", "camera"), fixed_crops(find_pairs(*shown), 10, 100)))
    else:
        shown = folders.source, folders.target
        rows = {
            name: fixed_crops([(path,) for path in find_pictures(folder, name)], 10, 100)[0]
            for name, folder in zip(("phone", "camera, other photos"), shown)
        }
    title = " and ".join(map(str, shown))
    write_atomically(Path(config.output), to_png(sample_figure(rows, title)))
    print(config.output)


if __name__ == "__main__":
    main.run()
