"""Figures of a run: loss curves over rows of patches, and sample rows."""

import io

import numpy as np
from matplotlib.figure import Figure

DISCRIMINATOR_CURVES = {"color_disc": "D color", "texture_disc": "D texture"}
GENERATOR_CURVES = {
    "generator": "generator, weighted sum",
    "content": "content",
    "color": "color",
    "texture": "texture",
    "tv": "tv",
    "guide": "guide",
}


def row_of(pictures, gap=2):
    """Pictures side by side on white.

    Args:
        pictures: (N, H, W, 3) uint8 array.
        gap: pixels between them.

    Returns:
        (H, N·(W + gap) − gap, 3) uint8 array.
    """
    padded = np.pad(pictures, ((0, 0), (0, 0), (0, gap), (0, 0)), constant_values=255)
    return np.concatenate(list(padded), axis=1)[:, :-gap]


def to_png(figure):
    """A figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def loss_figure(history, target, enhanced, title):
    """The report's figure: discriminators' and generator's losses over two rows of patches.

    Args:
        history: dictionary of equally long sequences: `iteration` and the losses by the names
            under which `WESPE.train_step` returns them.
        target: (N, H, W, 3) uint8 target patches.
        enhanced: (N, H, W, 3) uint8 generated ones.
        title: of the figure.

    Returns:
        A `matplotlib.figure.Figure`.
    """
    figure = Figure(figsize=(10, 9), layout="constrained")
    figure.suptitle(title)
    grid = figure.add_gridspec(4, 1, height_ratios=[3, 3, 1.3, 1.3])
    iteration = np.asarray(history["iteration"])

    axes = figure.add_subplot(grid[0])
    curves = {label: np.asarray(history[name]) for name, label in DISCRIMINATOR_CURVES.items()}
    for label, values in curves.items():
        axes.plot(iteration, values, lw=0.8, label=label)
    axes.plot(iteration, np.mean(list(curves.values()), axis=0), "k", lw=1, label="mean")
    axes.axhline(2 * np.log(2), color="gray", ls=":", lw=1, label="random guess, 2·ln 2")
    axes.set_ylabel("discriminators' losses")
    axes.set_ylim(bottom=0)
    _legend_above(axes)

    axes = figure.add_subplot(grid[1], sharex=axes)
    for name, label in GENERATOR_CURVES.items():
        values = np.asarray(history[name], float)
        if not values.any():
            continue
        axes.plot(iteration, values, lw=1.2 if name == "generator" else 0.8, label=label)
    axes.set_yscale("log")
    axes.set_xlabel("iteration")
    axes.set_ylabel("generator's losses, unweighted")
    _legend_above(axes)

    for place, name, pictures in ((2, "target", target), (3, "enhanced", enhanced)):
        _show_row(figure.add_subplot(grid[place]), name, pictures)
    return figure


def sample_figure(rows, title):
    """Rows of patches, each with its name.

    Args:
        rows: dictionary of (N, H, W, 3) uint8 arrays.
        title: of the figure.

    Returns:
        A `matplotlib.figure.Figure`.
    """
    figure = Figure(figsize=(12, 1.6 * len(rows) + 0.4), layout="constrained")
    figure.suptitle(title)
    places = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
    for axes, (name, pictures) in zip(places, rows.items()):
        _show_row(axes, name, pictures)
    return figure


def _legend_above(axes):
    """The legend in one row over the axes, where it hides no curve."""
    count = len(axes.get_legend_handles_labels()[0])
    axes.legend(
        loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=count, fontsize=8, frameon=False
    )


def _show_row(axes, name, pictures):
    axes.imshow(row_of(pictures))
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_ylabel(name)
    for spine in axes.spines.values():
        spine.set_visible(False)
