"""Figures of a data set, and of a photo before and after it is enhanced."""

import io
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from .config.command import as_command
from .config.loading import load
from .config.schema import Folders
from .config.setting import setting
from .data.crops import fixed_crops
from .data.folders import find_pairs, find_pictures
from .data.sources import data_folders
from .enhance import enhance, load_generator
from .errors import UserError
from .files import write_atomically
from .images.picture import read_picture
from .training.figures import sample_figure, to_png
from .weights.generator import find_model

USAGE = """\
usage: python -m wespe_tf.plots dataset [output=FILE] [source_dir=… target_dir=… | model=…]
       python -m wespe_tf.plots before_after run=RUN [photo=NAME] [output=FILE] [key=value …]

dataset draws the report's figure 1: a row of the phone's patches above a row of the good camera's
patches. If there are validation pairs, both rows show the same scenes. before_after draws a part of
a validation photo three times: from the phone, enhanced by a run, and from the good camera. Without
folders, both commands use the built-in sample."""

COMMANDS = ("dataset", "before_after")


@dataclass
class PlotConfig(Folders):
    """Settings of the figures."""

    output: str = setting(
        "",
        "the figure, a .png or .jpg file, by default dataset.png or before_after.png",
        first=True,
    )
    run: str = setting("", "before_after: run, run folder or .keras file", first=True)
    photo: str = setting("", "before_after: name of the photo, by default the first", first=True)
    side: int = setting(160, "before_after: side of the part in the middle", "pixels", at_least=16)


def settings(arguments: list[str]) -> tuple[str, PlotConfig]:
    """The figure that the arguments name, and its settings.

    Raises:
        UserError: if the first argument is not a figure, or if there is a mistake in the settings.
    """
    if not arguments or arguments[0] not in COMMANDS:
        raise UserError(
            "expected: python -m wespe_tf.plots dataset (or before_after) [key=value …]"
        )
    return arguments[0], load(PlotConfig, arguments[1:])


@as_command(USAGE, PlotConfig, settings)
def main(given: tuple[str, PlotConfig]) -> None:
    """Draws a figure."""
    name, config = given
    path = Path(config.output or f"{name}.png")
    if path.suffix.lower() not in (".png", ".jpg"):
        raise UserError(f"output={path}: expected a .png or .jpg file")
    figure = before_after(config) if name == "before_after" else dataset(config)
    if path.suffix.lower() == ".png":
        content = to_png(figure)
    else:
        file = io.BytesIO()
        figure.savefig(file, format="jpeg", dpi=110, pil_kwargs={"quality": 90})
        content = file.getvalue()
    write_atomically(path, content)
    print(path)


def dataset(config: PlotConfig) -> Figure:
    """A row of the phone's patches above a row of the good camera's."""
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
    return sample_figure(rows, " and ".join(map(str, shown)))


def before_after(config: PlotConfig) -> Figure:
    """The middle of a photo: from the phone, enhanced by a run, and from the good camera.

    Raises:
        UserError: if there are no validation pairs, no such photo, or no such run.
    """
    folders = data_folders(config)
    if folders.val_source is None or folders.val_target is None:
        raise UserError("before_after: expected pairs, val_source_dir= and val_target_dir=")
    shown = folders.val_source, folders.val_target
    pairs = {Path(one).stem: (one, other) for one, other in find_pairs(*shown)}
    name = config.photo or next(iter(pairs))
    if name not in pairs:
        raise UserError(f"photo={name}: expected one of {', '.join(pairs)}")
    photo, good = map(read_picture, pairs[name])
    enhanced = enhance(load_generator(find_model(config.run)), photo)
    figure = Figure(figsize=(12, 4.25), layout="constrained")
    titles = ("phone", "enhanced", "good camera")
    for axes, title, picture in zip(figure.subplots(1, 3), titles, (photo, enhanced, good)):
        side = min(config.side, *picture.shape[:2])
        top, left = ((length - side) // 2 for length in picture.shape[:2])
        axes.imshow(picture[top : top + side, left : left + side], interpolation="lanczos")
        axes.set_title(title)
        axes.axis("off")
    return figure


if __name__ == "__main__":
    main.run()
