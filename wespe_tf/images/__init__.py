"""Picture files: pixels, color profiles, EXIF."""

from .picture import read_picture, write_picture

__all__ = ["read_picture", "write_picture"]
