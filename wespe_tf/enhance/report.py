"""The page that shows enhanced photos: before and after under a slider, with zoom and scores.

It is one HTML file with everything in it, so that it works from disk and without a network.
"""

import html
import importlib.resources
import io
import os
import string
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ..config.schema import TestConfig
from ..data.pages import as_source, count, jpeg
from ..files import write_parts
from ..images.decoding import opened, to_8_bits
from ..images.opening import limit_megapixels
from .batch import Record
from .tasks import Task, before_after_path


def write_page(tasks: Sequence[Task], records: Iterable[Record], config: TestConfig) -> None:
    """Writes the page of all photos that have results, also from earlier runs."""
    shown = [task for task in tasks if os.path.isfile(before_after_path(task, config))]
    if not shown:
        return
    numbers = {record.task.name: record.numbers() for record in records}
    limit_megapixels(2 * config.max_megapixels)  # Before and after are one picture.
    path = Path(config.output) / "report.html"
    write_report(path, _entries(shown, numbers, config), len(shown))
    print(f"{path} shows them")


def _entries(
    tasks: Sequence[Task], numbers: dict[str, str], config: TestConfig
) -> Iterator[tuple[str, str, bytes, bytes]]:
    """Entries for `write_report`, read from the files: all pictures together would fill memory."""
    for task in tasks:
        both = _before_and_after(before_after_path(task, config))
        earlier = f"{both.shape[1] // 2}×{both.shape[0]}   from an earlier run"
        yield task.path, numbers.get(task.name, earlier), *pictures_of(both)


def _before_and_after(path: Path) -> np.ndarray:
    """The pixels of a PNG file with two pictures side by side, (H, 2W, 3) uint8 or uint16.

    libpng takes half of the memory that Pillow would take, so about as much as for a photo.
    """
    with opened(path) as source:
        source.by_libpng = True
        return source.decoded()[0][..., :3]


# Longer side of the pictures in the page, in pixels.
LONGEST_SIDE = 1600

CARD = """\
<figure class="card">
<div class="view" tabindex="0" role="slider" aria-label="before and after of $name"
 aria-valuemin="0" aria-valuemax="100" aria-valuenow="50" style="aspect-ratio: $width / $height">
<div class="pair"><img class="after" alt="after" draggable="false" src="$after">
<img class="before" alt="before" draggable="false" src="$before"></div>
<span class="tag left">before</span><span class="tag right">after</span>
<div class="line"><span></span></div>
</div>
<figcaption><b>$name</b><span>$numbers</span></figcaption>
</figure>
"""


def pictures_of(both: np.ndarray) -> tuple[bytes, bytes]:
    """The two pictures of a photo for the page.

    Args:
        both: (H, 2W, 3) uint8 or uint16 array, a photo and its enhanced version beside it.

    Returns:
        Two JPEG files as bytes, of at most `LONGEST_SIDE` pixels.
    """
    height, width = both.shape[0], both.shape[1] // 2
    # Only every n-th pixel of a very large photo: a whole copy might not fit into memory.
    step = max(1, max(height, width) // (2 * LONGEST_SIDE))
    halves = both[::step, :width:step], both[::step, width::step]
    before, after = (jpeg(to_8_bits(half), LONGEST_SIDE) for half in halves)
    return before, after


def write_report(
    path: str | Path, entries: Iterable[tuple[str, str, bytes, bytes]], number: int
) -> None:
    """Writes the page, one photo after another.

    Args:
        path: path of the HTML file.
        entries: iterable of (name, numbers, before, after): two texts and the two JPEG files.
        number: number of entries.

    Raises:
        UserError: if the file cannot be written.
    """
    write_parts(path, _parts(entries, count(number, "photo")))


def _parts(entries: Iterable[tuple[str, str, bytes, bytes]], photos: str) -> Iterator[bytes]:
    page = importlib.resources.files(__package__).joinpath("report.html").read_text("utf-8")
    head, tail = (string.Template(part) for part in page.split("$cards"))
    yield head.substitute(count=photos).encode()
    for entry in entries:
        # A file name may have bytes that are not text.
        yield _card(*entry).encode(errors="backslashreplace")
    yield tail.substitute().encode()


def _card(name: str, numbers: str, before: bytes, after: bytes) -> str:
    with Image.open(io.BytesIO(before)) as picture:
        width, height = picture.size
    return string.Template(CARD).substitute(
        name=html.escape(name),
        numbers=html.escape(numbers),
        width=width,
        height=height,
        before=as_source(before),
        after=as_source(after),
    )
