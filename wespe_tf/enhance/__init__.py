"""Photos in, enhanced photos out."""

from ..weights.generator import load_generator
from .tiles import enhance

__all__ = ["enhance", "load_generator"]
