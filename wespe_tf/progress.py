"""Progress bars for long work, and lines above them."""

import shutil
import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

WIDEST = 100
FORM = "{desc} {percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt}, {remaining} left{postfix}"


def progress(items: Iterable | None = None, **options: Any) -> tqdm:
    """A progress bar on stderr, with the time left.

    It appears only on a terminal, so that no control characters reach a file or a pipe.

    Args:
        items: what is iterated over; None if the caller updates the bar.
        **options: options of `tqdm`, such as `total` and `desc`.

    Returns:
        A `tqdm` bar, at most `WIDEST` columns wide.
    """
    # With disable=None, tqdm asks whether stderr is a terminal.
    options = {"disable": None, "bar_format": FORM, **options}
    return tqdm(items, ncols=min(WIDEST, shutil.get_terminal_size().columns), **options)


def say(text: str) -> None:
    """Prints a line above the bars, at once."""
    tqdm.write(text)
    sys.stdout.flush()
