"""Figures of a run, as in the report (REPRODUCTION.md): loss curves above rows of patches."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Most points of a curve. The figure has fewer pixels, so more points would only take memory.
MOST_POINTS = 2000
GAP = 2  # Pixels between two pictures of a row.


def curve_label(loss: str) -> str:
    """The name in figures and tables of a loss from `WESPE.loss_names`."""
    if loss.endswith("_disc"):
        return f"D {loss.removesuffix('_disc')}"
    return "generator, weighted sum" if loss == "generator" else loss


def row_of(pictures: np.ndarray) -> np.ndarray:
    """Puts pictures side by side, with white gaps.

    Args:
        pictures: (N, H, W, 3) uint8 array.

    Returns:
        (H, N·(W + GAP) − GAP, 3) uint8 array.
    """
    padded = np.pad(pictures, ((0, 0), (0, 0), (0, GAP), (0, 0)), constant_values=255)
    return np.concatenate(list(padded), axis=1)[:, :-GAP]


def to_png(figure: Figure) -> bytes:
    """A figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def loss_figure(
    history: Mapping[str, Sequence],
    target: np.ndarray,
    enhanced: np.ndarray,
    title: str,
    collapse: int | None = None,
) -> Figure:
    """The report's figure: losses of discriminators and generator, above two rows of patches.

    Args:
        history: dictionary of equally long sequences: `iteration`; the losses, under the names
            from `WESPE.train_step`, with NaN where a loss was not computed; and `balance`, the
            schedule's state. The figure marks where this state changes.
        target: (N, H, W, 3) uint8 target patches.
        enhanced: (N, H, W, 3) uint8 patches that G made.
        title: title of the figure.
        collapse: iteration from which the enhanced pictures are uniform, or None.
    """
    figure = Figure(figsize=(10, 9), layout="constrained")
    figure.suptitle(title)
    grid = figure.add_gridspec(4, 1, height_ratios=[3, 3, 1.3, 1.3])
    iteration = np.asarray(history["iteration"])
    top, bottom = (figure.add_subplot(grid[k]) for k in (0, 1))
    bottom.sharex(top)

    losses = [name for name in history if name not in ("iteration", "balance")]
    discriminators = [name for name in losses if name.endswith("_disc")]
    # The losses of discriminators without weight are 0 throughout.
    curves = {
        curve_label(name): np.asarray(history[name])
        for name in discriminators
        if np.nansum(history[name]) > 0
    }
    if len(curves) > 1:
        curves["mean"] = np.mean(list(curves.values()), axis=0)
    for label, values in curves.items():
        _draw_curve(top, iteration, values, label, color="black" if label == "mean" else None)
    top.axhline(2 * np.log(2), color="gray", ls=":", lw=1, label="random guess, 2·ln 2")
    top.set_ylabel("discriminators' losses")
    top.set_ylim(bottom=0)

    for name in (name for name in losses if name not in discriminators):
        values = np.asarray(history[name], float)
        if np.nansum(np.abs(values)) > 0:
            _draw_curve(bottom, iteration, values, curve_label(name))
    bottom.set_yscale("log")
    bottom.set_xlabel("iteration")
    bottom.set_ylabel("generator's losses, unweighted")

    states = history["balance"]
    changes = [k for k in range(1, len(states)) if states[k] != states[k - 1]]
    for axes in (top, bottom):
        for number, k in enumerate(changes):
            mark = "balance changes" if number == 0 else None
            axes.axvline(iteration[k], color="tab:cyan", lw=0.5, alpha=0.5, label=mark)
        if collapse is not None:
            axes.axvline(collapse, color="red", ls="--", lw=1.2, label="uniform from here on")
        _legend_above(axes)

    for place, name, pictures in ((2, "target", target), (3, "enhanced", enhanced)):
        _show_row(figure.add_subplot(grid[place]), name, pictures)
    return figure


def sample_figure(rows: Mapping[str, np.ndarray], title: str) -> Figure:
    """Rows of patches, each row with its name.

    Args:
        rows: dictionary from name to (N, H, W, 3) uint8 array.
        title: title of the figure.
    """
    figure = Figure(figsize=(12, 1.6 * len(rows) + 0.4), layout="constrained")
    figure.suptitle(title)
    places = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
    for axes, (name, pictures) in zip(places, rows.items()):
        _show_row(axes, name, pictures)
    return figure


def _draw_curve(
    axes: Axes, iteration: np.ndarray, values: np.ndarray, label: str, color: str | None = None
) -> None:
    """Draws a loss where it was computed. In a long run, each point is a mean of neighbors."""
    known = np.isfinite(values)
    count = int(np.count_nonzero(known))
    neighbors = np.arange(count) // max(1, -(-count // MOST_POINTS))
    x, y = (
        np.bincount(neighbors, of[known]) / np.bincount(neighbors) for of in (iteration, values)
    )
    axes.plot(x, y, lw=0.8, label=label, color=color)


def _legend_above(axes: Axes) -> None:
    """Puts the legend in one row above the axes, where it hides no curve."""
    count = len(axes.get_legend_handles_labels()[0])
    axes.legend(
        loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=count, fontsize=8, frameon=False
    )


def _show_row(axes: Axes, name: str, pictures: np.ndarray) -> None:
    axes.imshow(row_of(pictures))
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_ylabel(name)
    for spine in axes.spines.values():
        spine.set_visible(False)
