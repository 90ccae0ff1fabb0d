"""What pages share: templates, their style, and pictures inside them."""

import base64
import html
import importlib.resources
import io
import string

import numpy as np
from PIL import Image


def page(template: str, title: str, **parts: str) -> bytes:
    """The content of a page.

    Args:
        template: file name in this package. The file contains `$title`, `$style` and the names of
            `parts`.
        title: plain text.
        **parts: HTML.
    """
    folder = importlib.resources.files(__package__)
    text = string.Template(folder.joinpath(template).read_text("utf-8"))
    style = folder.joinpath("page.css").read_text("utf-8")
    return text.substitute(title=html.escape(title), style=style, **parts).encode()


def jpeg(pixels: np.ndarray, side: int) -> bytes:
    """A JPEG file of a (H, W, 3) uint8 picture, shrunk to at most `side` pixels."""
    picture = Image.fromarray(pixels)
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=85)
    return file.getvalue()


def as_source(content: bytes) -> str:
    """A JPEG file as the `src` of an `img`."""
    return f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"


def count(number: int, thing: str) -> str:
    """A number and its noun, "1 photo" or "2 photos"."""
    return f"{number} {thing}{'' if number == 1 else 's'}"
