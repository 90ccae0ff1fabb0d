"""Figures of a run: loss curves over rows of patches, and sample rows.

python -m wespe_tf.plots dataset [output=dataset.png] [source_dir=… target_dir=… | model=…]

draws a data set as the report's figure 1: a row of the phone's patches over a row of the good
camera's, pairs where there are validation pairs.
"""

from pathlib import Path

from .training.figures import sample_figure, to_png


def main(arguments):
    """Runs `python -m wespe_tf.plots`."""
    # Only here: those modules draw with this one.
    from .config.loading import load
    from .config.schema import TrainConfig
    from .data.crops import fixed_crops
    from .data.folders import find_pairs, find_pictures
    from .data.sources import data_folders
    from .errors import UserError
    from .files import write_atomically

    if arguments[:1] != ["dataset"]:
        raise UserError("expected: python -m wespe_tf.plots dataset [output=FILE] [key=value …]")
    given = dict(a.split("=", 1) for a in arguments[1:] if a.startswith("output="))
    settings = [a for a in arguments[1:] if not a.startswith("output=")]
    folders = data_folders(load(TrainConfig, settings))
    if folders.val_source is not None:
        shown = folders.val_source, folders.val_target
        rows = dict(zip(("phone", "camera"), fixed_crops(find_pairs(*shown), 10, 100)))
    else:
        shown = folders.source, folders.target
        rows = {
            name: fixed_crops([(path,) for path in find_pictures(folder, name)], 10, 100)[0]
            for name, folder in zip(("phone", "camera, other photos"), shown)
        }
    output = Path(given.get("output", "dataset.png"))
    write_atomically(output, to_png(sample_figure(rows, " and ".join(map(str, shown)))))
    print(output)


if __name__ == "__main__":
    from .errors import run_command

    run_command(main)
