"""The output of `check`: a table of folders side by side, and the page."""

import html
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ..images.opening import UnreadablePicture
from ..images.picture import read_picture
from .findings import Finding
from .inspection import Inspected
from .pages import as_source, count, jpeg, page

# How many files of a finding have a picture in the page, and the pictures' longer side in pixels.
SHOWN = 12
SIDE = 240

Table = list[tuple[str, list[str]]]


def table_of(folders: Mapping[str, Sequence[Inspected]]) -> Table:
    """The content of the folders, side by side.

    Args:
        folders: photos by folder.

    Returns:
        Rows: a name, and a text for every folder.
    """
    sides = [[photo for photo in photos if not photo.broken] for photos in folders.values()]
    rows = [
        ("photos", [count(len(side), "photo") for side in sides]),
        ("sizes", [_most(f"{one.size[1]}×{one.size[0]}" for one in side) for side in sides]),
        ("cameras", [_most(one.shot.camera or "not said" for one in side) for side in sides]),
        ("dates", [_dates(side) for side in sides]),
        ("color profiles", [_most(one.shot.profile or "none" for one in side) for side in sides]),
    ]
    for name, value in (
        ("brightness, of 255", lambda look: look.brightness),
        ("contrast, of 255", lambda look: look.contrast),
        ("saturation, %", lambda look: 100 * look.saturation),
        ("red / green", lambda look: look.red),
        ("blue / green", lambda look: look.blue),
        ("black, %", lambda look: 100 * look.dark),
        ("white, %", lambda look: 100 * look.bright),
    ):
        rows.append(
            (name, [_spread([value(one.look) for one in side if one.look]) for side in sides])
        )
    return rows


def as_text(folders: Sequence[str], table: Table) -> str:
    """The table for a terminal."""
    lines = [("", list(folders)), *table]
    widths = [max(len(cells[k]) for _, cells in lines) for k in range(len(folders))]
    names = max(len(name) for name, _ in lines)
    return "\n".join(
        f"{name:<{names}}  {'  '.join(f'{cell:<{w}}' for cell, w in zip(cells, widths))}".rstrip()
        for name, cells in lines
    )


def check_page(
    folders: Sequence[str], table: Table, findings: Sequence[Finding], verdict: str
) -> bytes:
    """The page: the table, and every finding with pictures of its files."""
    rows = [
        "<tr><th></th>" + "".join(f"<th>{html.escape(name)}</th>" for name in folders) + "</tr>"
    ]
    for name, cells in table:
        row = "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
        rows.append(f"<tr><td>{html.escape(name)}</td>{row}</tr>")
    return page(
        "check.html",
        "What is in these photos",
        verdict=html.escape(verdict),
        table="\n".join(rows),
        findings="\n".join(_section(finding) for finding in findings),
    )


def _section(finding: Finding) -> str:
    kind = '<span class="bad">to mend</span>' if finding.mend else "to know"
    parts = [f"<h2>{kind}: {html.escape(finding.what)}</h2>"]
    if finding.files:
        cards = "\n".join(_card(path, reason) for path, reason in finding.files[:SHOWN])
        parts.append(f'<div class="cards small">\n{cards}\n</div>')
    rest = finding.files[SHOWN:]
    if rest:
        parts.append("<p>and " + ", ".join(html.escape(path) for path, _ in rest) + "</p>")
    return "\n".join(parts)


def _card(path: str, reason: str) -> str:
    try:
        picture = f'<img alt="" src="{as_source(jpeg(read_picture(path), SIDE))}">'
    except UnreadablePicture:
        picture = ""
    caption = f"{html.escape(os.path.basename(path))}<span>{html.escape(reason)}</span>"
    return f'<figure class="card">{picture}<figcaption>{caption}</figcaption></figure>'


def _most(values: Iterable[str]) -> str:
    """The three most frequent values, and how often each occurs."""
    found = Counter(values).most_common()
    texts = [f"{value} ({number})" if len(found) > 1 else value for value, number in found[:3]]
    return ", ".join(texts) + (f", {len(found) - 3} more" if len(found) > 3 else "")


def _dates(photos: Sequence[Inspected]) -> str:
    taken = sorted(one.shot.taken for one in photos if one.shot.taken)
    if not taken:
        return "not said"
    first, last = (f"{time:%Y-%m-%d}" for time in (taken[0], taken[-1]))
    return first if first == last else f"{first} to {last}"


def _spread(values: list[float]) -> str:
    """The median, and in brackets the range from the 10th to the 90th percentile."""
    if not values:
        return "–"
    low, middle, high = np.percentile(values, [10, 50, 90])
    digits = 2 if middle < 5 else 0
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
