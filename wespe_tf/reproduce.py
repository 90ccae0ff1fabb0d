"""Runs the report's experiments: presets × seeds → a CSV file, figures, REPRODUCTION.md."""

import io
import itertools
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from .config.command import as_command
from .config.loading import PHOTOS, load
from .config.schema import TrainConfig
from .errors import UserError
from .files import make_folder, write_atomically
from .models.wespe import WESPE
from .progress import progress, say
from .tables import append_row, read_rows, replace_tables
from .training.figures import curve_label, to_png

USAGE = """\
usage: python -m wespe_tf.reproduce
       [experiments=report,repairs,exposure,tv,heads,report_sweep,paper] [seeds=0]
       [output=FOLDER] [csv=FILE] [document=FILE] [setting=value …]

experiments= takes the lists above, or names of single experiments. Every other key is a setting of
train.py and holds for all runs: the photos (by default the embedded sample), vgg_weights, scale.
If the CSV file has a row of an experiment, the experiment does not run again, even with other
settings. If a run fails, the others go on. `overview.png` in the output folder shows all runs."""
Rows = list[dict[str, str]]

SAMPLE = "sample"
REPORT = {
    "report_fig2": ["preset=report_fig2"],
    "report_fig3": ["preset=report_fig3"],
    "report_fig4": ["preset=report_fig4"],
    "report_all_losses": ["preset=report_all_losses"],
    "report_fig5": ["preset=report_fig5"],
    "report_fig6": ["preset=report_fig6"],
    "report_fig7": ["preset=report_fig7"],
    "report_fig7_2to1": ["preset=report_fig7_2to1"],
    "report_unfrozen": ["preset=report_unfrozen"],
    "report_fig8": ["preset=report_fig8"],
}
FINAL = REPORT["report_fig8"]
# Without norms, a discriminator sees how bright a picture is. A blur with the sum 56 would make
# brightness too large.
SEES_BRIGHTNESS = ["color_layers=dped", "color_norm=spectral", "blur=paper"]
REPAIR = {
    "content pair": ["content_pair=source"],
    "content weight": ["content_extra_division=false", "content_normalise=true"],
    "VGG input": ["vgg_preprocessing=weights"],
    "blur": ["blur=paper"],
    "first norm": ["color_layers=report_later_norms", "texture_layers=report_later_norms"],
    "norm of D color": SEES_BRIGHTNESS,
    "identity start": ["generator_init=identity"],
    # The balance's thresholds are for another scale of the losses. So only generators would train.
    "balance": ["schedule=simultaneous"],
}
ALL = FINAL + sum(REPAIR.values(), [])
# Small steps keep the repaired code steady. To improve pictures, it also needs the guide. See
# presets/recommended.
SMALL_STEPS = ["learning_rate=5e-5", "texture_layers=dped", "texture_norm=spectral"]
GUIDE = ["w_guide=20", "warm_start_iters=60", "warm_start_learning_rate=2e-4"]
REPAIRS = {
    "final code": FINAL,
    **{f"repaired {name}": FINAL + change for name, change in REPAIR.items()},
    "repaired content pair and weight": FINAL + REPAIR["content pair"] + REPAIR["content weight"],
    "repaired all": ALL,
    "repaired all with small steps": ALL + SMALL_STEPS,
    "repaired all with small steps and guide": ALL + SMALL_STEPS + GUIDE,
}
# Does any part check the exposure? The first run has report-code's networks with all that makes
# them collapse repaired. The second one also replaces D color. VGG's batch norm hides brightness
# from the content loss as well.
MENDED = [
    *FINAL,
    *REPAIR["content pair"],
    *REPAIR["content weight"],
    *REPAIR["identity start"],
    *REPAIR["balance"],
]
EXPOSURE = {
    "D color blind to brightness": MENDED,
    "D color sees brightness": MENDED + SEES_BRIGHTNESS,
}
# Does total variation make pictures uniform? Its weight is 10, that of color and texture 0.005.
WITHOUT_TV = {
    "figure 5 without tv": [*REPORT["report_fig5"], "w_tv=0"],
    "identity start without tv": [*FINAL, *REPAIR["identity start"], "w_tv=0"],
}
HEADS = {
    # One class and a sigmoid.
    "repaired all with small steps": ALL + SMALL_STEPS,
    "two_class_sigmoid": [*ALL, *SMALL_STEPS, "discriminator_head=two_class_sigmoid"],
    "two_class_softmax": [*ALL, *SMALL_STEPS, "discriminator_head=two_class_softmax"],
}
SWEEP = {
    **{f"report_fig5 ratio {ratio}": [f"ratio={ratio}"] for ratio in ("3:1", "1:3")},
    **{
        f"report_fig5 step {step}": [
            f"learning_rate={step}",
            f"discriminator_learning_rate={step}",
        ]
        for step in ("1e-4", "2e-4", "5e-4")
    },
    **{f"report_fig5 batch {size}": [f"batch_size={size}"] for size in (2, 8, 44)},
}
SWEEP = {name: REPORT["report_fig5"] + change for name, change in SWEEP.items()}
# The paper's recipe, and parts of presets/recommended that are added one after another.
ADDED = {
    "as in the paper": ["preset=wespe"],
    "and normalized content": ["content_normalise=true"],
    "and identity start": ["generator_init=identity"],
    "and detail view": ["texture_view=detail"],
    "and guide": ["w_guide=20"],
}
PAPER = dict(zip(ADDED, itertools.accumulate(ADDED.values())))
LISTS = {
    "report": REPORT,
    "repairs": REPAIRS,
    "exposure": EXPOSURE,
    "tv": WITHOUT_TV,
    "heads": HEADS,
    "report_sweep": SWEEP,
    "paper": PAPER,
}
# Titles of the lists' tables.
TITLES = {
    "report": "The report's experiments",
    "repairs": "The final code, repaired",
    "exposure": "Whether anything looks at exposure",
    "tv": "Without total variation",
    "heads": "Heads of the discriminators",
    "report_sweep": "Figure 5 with other settings",
    "paper": "The paper's recipe, and what this project adds to it",
}
# The generators' weighted sum, and the discriminators' losses.
SUMS = tuple(n for n in WESPE.loss_names() if n == "generator" or n.endswith("_disc"))
# Columns of the tables.
MEASURED = (
    *("runs", "iterations", "collapsed", "uniform since", "contrast kept", "mean color"),
    *("G", *(curve_label(name) for name in SUMS[1:])),
    *("PSNR in, dB", "out", "best", "correlation"),
)
# The report's experiments: what was set, and what the report saw.
SETTING_AND_SAW = {
    "report_fig2": (
        "color and texture only; batch norm",
        "uniform gray, its loss still falling",
    ),
    "report_fig3": ("the same, 30 iterations", "recognizable pictures"),
    "report_fig4": ("the same, larger and longer", "uniform red"),
    "report_all_losses": ("tv and content added", "no visible change from figure 4"),
    "report_fig5": (
        "all losses; instance norm, He's start",
        "discriminators without loss, uniform pictures",
    ),
    "report_fig6": ("two generator steps to one", "discriminators at 2·ln 2"),
    "report_fig7": ("twice as wide", "uniform yellow"),
    "report_fig7_2to1": ("the same, two to one", "uniform yellow"),
    "report_unfrozen": (
        "discriminators' gradients kept, one step to three",
        "good start, uniform by iteration 1000",
    ),
    "report_fig8": ("wide, dynamic balance", "dark pictures like negatives"),
}
COLORS = ("red", "green", "blue")
COLUMNS = (
    "data",
    "scale",
    "experiment",
    "seed",
    "precision",
    "iterations",
    "collapsed",
    "uniform_since",
    "least_score",
    "collapse_score",
    *COLORS,
    *SUMS,
    "psnr_input",
    "psnr_enhanced",
    "psnr_best",
    "correlation",
    "seconds",
)


def settings_of_runs(arguments: list[str]) -> tuple[dict[str, str], list[str]]:
    """This command's own options, and the settings that hold for all runs.

    Raises:
        UserError: if a setting is given that the experiments set.
    """
    options = {
        "experiments": "report",
        "seeds": "0",
        "output": "reproduction",
        "csv": "reproduction.csv",
        "document": "",
    }
    settings = []
    for argument in arguments:
        argument = argument.lstrip("-")  # train.py takes --key=value, too.
        key, equals, value = argument.partition("=")
        if key in options and equals:
            options[key] = value
        elif key in ("preset", "run", "seed"):
            raise UserError(f"{argument}: set by the experiments; give experiments= or seeds=")
        else:
            settings.append(argument)
    return options, settings


@as_command(USAGE, read=settings_of_runs)
def main(given: tuple[dict[str, str], list[str]]) -> None:
    """Runs the experiments, then writes tables and the overview."""
    options, settings = given
    experiments = _experiments(options["experiments"])
    seeds = _seeds(options["seeds"])
    for changes in experiments.values():
        load(TrainConfig, [*settings, *changes])  # A wrong setting ends the list before it begins.
    output, table = Path(options["output"]), Path(options["csv"])
    make_folder(output)
    make_folder(table.parent, "csv")
    runs = [(name, changes, seed) for seed in seeds for name, changes in experiments.items()]
    for name, changes, seed in progress(runs, desc="experiments"):
        run_experiment(name, changes, seed, settings, output, table)
    overview = draw_overview(output / "models", seeds[0])
    if overview is not None:
        write_atomically(output / "overview.png", to_png(overview))
    if options["document"]:
        document = Path(options["document"])
        replace_tables(document, tables(read_rows(table)))
        if _data_name(load(TrainConfig, settings)) == SAMPLE:
            figures = document.parent / "docs" / "figures"
            copy_figures(output / "models", experiments, seeds[0], figures)


def run_experiment(
    name: str, changes: list[str], seed: int, settings: list[str], output: Path, table: Path
) -> None:
    """Trains one experiment with `train.py`'s command and appends its row to the CSV file.

    Args:
        name: name of the experiment.
        changes: its settings, with `preset=`.
        seed: seed of the run.
        settings: settings of all runs.
        output: folder in which the run folder `models/<name>-<seed>` is made.
        table: path of the CSV file.
    """
    config = load(TrainConfig, [*settings, *changes])
    data = _data_name(config)
    key = {"data": data, "scale": config.scale, "experiment": name, "seed": str(seed)}
    found = [row for row in read_rows(table) if key.items() <= row.items()]
    if found:
        kept = f"{found[-1]['iterations']} iterations, {found[-1]['precision']}"
        say(f"{name}, seed {seed}: not run again, {table} has its row ({kept})")
        return
    run = f"{_file_name(name)}-{seed}"
    code = "from wespe_tf.training.cli import command; command()"
    # The runs have their own working folder, so relative paths in the settings become absolute.
    absolute = [_absolute(setting) for setting in settings]
    command = [sys.executable, "-c", code, *absolute, *changes, f"seed={seed}", f"run={run}"]
    folder = output / "models" / run
    number = 1
    while folder.exists():
        # An interrupted command left this folder. It stays, so that one can look at it.
        number += 1
        folder = output / "models" / f"{run}.{number}"
        command[-1] = f"run={folder.name}"
    say(f"{name}, seed {seed}")
    log = output / f"{folder.name}.log"
    with open(log, "w", encoding="utf-8") as file:
        done = subprocess.run(command, cwd=output, stdout=file, stderr=subprocess.STDOUT)
    if done.returncode:
        last = (log.read_text(encoding="utf-8").strip().splitlines() or ["no message"])[-1]
        say(f"{name}, seed {seed}: failed, see {log} ({last})")
        return
    row = {**key, "precision": config.precision, **_result(folder)}
    append_row(table, COLUMNS, row)
    say(", ".join(f"{k} {v}" for k, v in row.items()))


def tables(rows: Rows) -> list[str]:
    """Lines of Markdown: one table for each of the lists.

    Args:
        rows: rows of the CSV file.
    """
    lines = []
    for (named, data, scale), experiments in _groups(rows).items():
        lines += ["", f"### {TITLES[named]}: {data}, {scale} scale", ""]
        of_report = named == "report"
        before = ["experiment", *(["setting", "the report saw"] if of_report else [])]
        after = ["figure"] if of_report and data == SAMPLE else []
        lines.append(f"| {' | '.join([*before, *MEASURED, *after])} |")
        lines.append("|---" * len(before) + "|---:" * len(MEASURED) + "|---" * len(after) + "|")
        for name, runs in experiments.items():
            told = SETTING_AND_SAW[name] if of_report else ()
            link = [f"[losses](docs/figures/{name}.png)" for _ in after]
            lines.append(f"| {' | '.join([name, *told, *_cells(runs), *link])} |")
        if named == "heads":
            lines += ["", *_differences(experiments)]
    return lines


def _differences(experiments: dict[str, Rows]) -> Iterator[str]:
    """Lines that say how other heads change PSNR, compared seed by seed."""
    (one, *others) = HEADS
    psnr = {
        name: {run["seed"]: float(run["psnr_enhanced"]) for run in runs if run["psnr_enhanced"]}
        for name, runs in experiments.items()
    }
    for name in others:
        seeds = sorted(psnr.get(one, {}).keys() & psnr.get(name, {}).keys())
        if len(seeds) > 1:
            changes = [psnr[name][seed] - psnr[one][seed] for seed in seeds]
            yield (
                f"PSNR of {name} minus that of one class, over {len(seeds)} seeds: "
                f"{np.mean(changes):+.2f} ± {np.std(changes, ddof=1):.2f} dB."
            )


def find_figure(runs: Path, experiment: str, seed: int) -> Path | None:
    """Path of the loss figure of an experiment's latest complete run, or None."""
    name = f"{_file_name(experiment)}-{seed}"
    done = [
        folder
        for folder in [runs / name, *runs.glob(f"{name}.*")]
        if (folder / "summary.json").exists() and (folder / "figures" / "losses.png").exists()
    ]
    latest = max(done, key=lambda folder: (folder / "summary.json").stat().st_mtime, default=None)
    return latest / "figures" / "losses.png" if latest else None


def copy_figures(runs: Path, experiments: Iterable[str], seed: int, folder: Path) -> None:
    """Small copies of the loss figures that the document's table links to.

    Args:
        runs: folder of the run folders.
        experiments: names of experiments. Only those of the report have figures in the table.
        seed: seed of the runs that are shown.
        folder: folder for the copies, `<experiment>.png`.
    """
    for name in experiments:
        path = find_figure(runs, name, seed)
        if name in REPORT and path:
            folder.mkdir(parents=True, exist_ok=True)
            with Image.open(path) as figure:
                small = figure.convert("RGB").resize(
                    (figure.width * 2 // 3, figure.height * 2 // 3), Image.Resampling.LANCZOS
                )
            file = io.BytesIO()
            small.quantize(128).save(file, "PNG", optimize=True)
            write_atomically(folder / f"{name}.png", file.getvalue())


def draw_overview(runs: Path, seed: int) -> Figure | None:
    """One page with the loss figure of every experiment that has run with this seed.

    Args:
        runs: folder of the run folders.
        seed: seed of the runs that are shown.

    Returns:
        A `matplotlib.figure.Figure`, or None if no run has a figure.
    """
    names = dict.fromkeys(name for named in LISTS.values() for name in named)
    paths = [path for name in names if (path := find_figure(runs, name, seed))]
    if not paths:
        return None
    columns = min(4, len(paths))
    lines = math.ceil(len(paths) / columns)
    figure = Figure(figsize=(5 * columns, 4.5 * lines), layout="constrained")
    for axes in figure.subplots(lines, columns, squeeze=False).flat:
        axes.axis("off")
    for axes, path in zip(figure.axes, paths):
        axes.imshow(np.asarray(Image.open(path)))
    return figure


def _experiments(text: str) -> dict[str, list[str]]:
    known = {name: changes for named in LISTS.values() for name, changes in named.items()}
    found: dict[str, list[str]] = {}
    for name in text.split(","):
        if name in LISTS:
            found |= LISTS[name]
        elif name in known:
            found[name] = known[name]
        else:
            raise UserError(f"experiments={name}: expected one of {', '.join([*LISTS, *known])}")
    return found


def _seeds(text: str) -> list[int]:
    if not all(part.isdecimal() for part in text.split(",")):
        raise UserError(f"seeds={text}: expected numbers such as 0,1,2")
    return [int(part) for part in text.split(",")]


def _data_name(config: TrainConfig) -> str:
    """The name in the CSV file for the photos of a `TrainConfig`."""
    if config.model:
        return config.model
    return Path(config.source_dir).resolve().parent.name if config.source_dir else SAMPLE


def _file_name(experiment: str) -> str:
    return experiment.replace(":", "to").replace(" ", "_")


def _absolute(setting: str) -> str:
    key, _, value = setting.partition("=")
    is_path = key in (*(PHOTOS - {"model"}), "val_source_dir", "val_target_dir", "dped_dir")
    if is_path or (key in ("vgg_weights", "vgg_dir") and os.path.exists(value)):
        return f"{key}={os.path.abspath(value)}"
    return setting


def _result(folder: Path) -> dict[str, Any]:
    """A run's cells, from its `summary.json` and `log.csv`."""
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    log = read_rows(folder / "log.csv")
    scores = [float(row["collapse_score"]) for row in log if row["collapse_score"]]

    def last(name: str) -> str:
        values = [float(row[name]) for row in log if row[name]]
        return f"{np.mean(values[-5:]):.4g}"

    colors = (f"{value:.3f}" for value in summary["mean_color"])
    pairs = summary["validation"] or {}
    return {
        "iterations": summary["iterations"],
        "collapsed": summary["collapsed"],
        "uniform_since": "" if summary["uniform_since"] is None else summary["uniform_since"],
        "least_score": f"{min(scores[1:]):.3f}",
        "collapse_score": f"{summary['collapse_score']:.3f}",
        **dict(zip(COLORS, colors)),
        **{name: last(name) for name in SUMS},
        **{name: f"{pairs[name]:.2f}" for name in COLUMNS if name in pairs},
        "correlation": f"{summary['correlation']:.3f}",
        "seconds": f"{summary['seconds']:.0f}",
    }


def _groups(rows: Rows) -> dict[tuple[str, ...], dict[str, Rows]]:
    """Rows by (list, data, scale) and experiment, in the order of the lists."""
    where = ("data", "scale")
    places = sorted(dict.fromkeys(tuple(row[key] for key in where) for row in rows), reverse=True)
    groups = {}
    for named, experiments in LISTS.items():
        for place in places:
            here = [row for row in rows if tuple(row[key] for key in where) == place]
            found = {n: [row for row in here if row["experiment"] == n] for n in experiments}
            found = {name: runs for name, runs in found.items() if runs}
            if found:
                groups[named, *place] = found
    return groups


def _cells(runs: Rows) -> list[str]:
    """A table's cells for the runs of one experiment: means, with the spread of several runs."""

    def mean(name: str, digits: int = 2) -> str:
        values = [float(run[name]) for run in runs if run[name]]
        if not values:
            return ""
        spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
        return f"{np.mean(values):.{digits}f}{spread}"

    collapsed = [run for run in runs if run["collapsed"] == "True"]
    iterations = ", ".join(sorted({run["iterations"] for run in runs}, key=int))
    since = ", ".join(run["uniform_since"] for run in runs if run["uniform_since"])
    color = " ".join(f"{np.mean([float(run[c]) for run in runs]):.2f}" for c in COLORS)
    return [
        str(len(runs)),
        iterations,
        f"{len(collapsed)}",
        since,
        mean("collapse_score"),
        color,
        *(mean(name) for name in SUMS),
        mean("psnr_input"),
        mean("psnr_enhanced"),
        mean("psnr_best"),
        mean("correlation"),
    ]


if __name__ == "__main__":
    main.run()
