"""The page of `align`: which photos were matched, and which were refused and why."""

import html
import string

import numpy as np

from .cutting import Window
from .pages import as_source, jpeg

# Longest side of the photos in the page, pixels.
PAIR_SIDE = 720
REFUSED_SIDE = 240

PAIR = """\
<figure class="card">
<button class="view" aria-label="hold the phone's or the camera's photo">
<img alt="the phone's photo" src="$phone">
<img class="camera" alt="the camera's photo" src="$camera">
<svg class="windows" viewBox="0 0 $width $height" stroke-width="$stroke">$windows</svg>
</button>
<figcaption>$names<span>$numbers</span></figcaption>
</figure>"""

REFUSED = """\
<figure class="card"><img alt="" src="$photo">
<figcaption>$name<span>$reason</span></figcaption></figure>"""


def pair_card(
    phone: np.ndarray,
    camera: np.ndarray,
    windows: list[Window],
    size: int,
    names: str,
    numbers: str,
) -> str:
    """The card of a pair, as HTML.

    Args:
        phone: (H, W, 3) uint8, the phone's photo.
        camera: (h, w, 3) uint8, the camera's view of the same scene, of any size.
        windows: windows of the phone's photo, kept or refused.
        size: side of the windows, in pixels of the phone's photo.
        names: names of both photos, plain text.
        numbers: a line of results, plain text.
    """
    height, width = phone.shape[:2]
    squares = [
        f'<rect class="{"refused" if window.reason else "kept"}" x="{window.left}" '
        f'y="{window.top}" width="{size}" height="{size}"/>'
        for window in windows
    ]
    return string.Template(PAIR).substitute(
        phone=as_source(jpeg(phone, PAIR_SIDE)),
        camera=as_source(jpeg(camera, PAIR_SIDE)),
        width=width,
        height=height,
        stroke=max(width, height) / PAIR_SIDE,
        windows="".join(squares),
        names=html.escape(names),
        numbers=html.escape(numbers),
    )


def refused_card(thumbnail: bytes, name: str, reason: str) -> str:
    """The card of a photo without a partner, from its small JPEG file and two plain texts."""
    return string.Template(REFUSED).substitute(
        photo=as_source(thumbnail), name=html.escape(name), reason=html.escape(reason)
    )
