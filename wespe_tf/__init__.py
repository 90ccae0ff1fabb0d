"""WESPE, the weakly supervised photo enhancer, for TensorFlow 2 and Keras 3."""

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from .models.discriminator import Discriminator  # noqa: E402
from .models.generator import Generator  # noqa: E402

__version__ = "0.1.0"
__all__ = ["Discriminator", "Generator"]
