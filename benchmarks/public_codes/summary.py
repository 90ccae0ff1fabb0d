"""The table of the comparison: a column for each public code."""

from dataclasses import dataclass

LOSSES = ("generator", "content", "color", "texture", "tv", "color_disc", "texture_disc")


@dataclass
class Column:
    """How far this project is from a public code, and what both cost.

    Attributes:
        name: of the code, and the precision of both.
        outputs: largest absolute difference of the first enhanced pictures, which are in [0, 1].
        losses: by name, relative difference in the loss's first iteration, and the largest of all.
        seconds: per iteration, theirs and ours.
        peak_memory: of the whole process in GB, theirs and ours.
        moved: the furthest that one of their weights has moved.
        weights: largest absolute difference of weights after all iterations.
    """

    name: str
    outputs: float
    losses: dict[str, tuple[float, float]]
    seconds: tuple[float, float]
    peak_memory: tuple[float, float]
    moved: float | None = None
    weights: float | None = None


def relative_differences(theirs, ours):
    """Relative differences of losses.

    Args:
        theirs: list of dictionaries by name, one for each iteration. A loss that an iteration does
            not compute is missing.
        ours: the same. Names that theirs lack are ignored.

    Returns:
        Dictionary from name to the difference in the loss's first iteration, and the largest one.
    """
    found = {}
    for one, other in zip(theirs, ours, strict=True):
        for name, value in one.items():
            apart = abs(other[name] - value) / max(abs(value), 1e-30)
            first, largest = found.get(name, (apart, apart))
            found[name] = first, max(largest, apart)
    return found


def summary_table(columns):
    """Markdown lines of `Column`s."""

    def cell(value):
        return "–" if value is None else f"{value:.1e}"

    def ratio(pair, digits):
        return " : ".join(f"{value:.{digits}f}" for value in pair)

    rows = [("", *(column.name for column in columns)), ("---", *["---:"] * len(columns))]
    rows.append(("first enhanced pictures: difference", *(cell(c.outputs) for c in columns)))
    for name in LOSSES:
        pairs = [column.losses.get(name) for column in columns]
        cells = [" ; ".join(map(cell, pair)) if pair else "–" for pair in pairs]
        rows.append((f"loss {name}: first ; largest", *cells))
    rows += [
        ("weights: how far they moved", *(cell(c.moved) for c in columns)),
        ("weights after it: difference", *(cell(c.weights) for c in columns)),
        ("seconds per iteration, theirs : ours", *(ratio(c.seconds, 2) for c in columns)),
        ("peak memory in GB, theirs : ours", *(ratio(c.peak_memory, 2) for c in columns)),
    ]
    return table(rows)


def table(rows):
    """Markdown lines of rows of cells."""
    return [f"| {' | '.join(map(str, row))} |" for row in rows]
