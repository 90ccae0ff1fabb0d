"""WESPE, the weakly supervised photo enhancer, for TensorFlow 2 and Keras 3."""

import os

# Whatever other projects have set: the training step is TensorFlow's, layers are Keras 3's.
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TF_USE_LEGACY_KERAS"] = "0"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras  # noqa: E402

if keras.config.backend() != "tensorflow":
    raise ImportError(
        f"wespe_tf needs Keras's backend tensorflow, but Keras was imported with "
        f"{keras.config.backend()} before; import wespe_tf first"
    )
# A file keras.json may say otherwise.
keras.config.set_image_data_format("channels_last")
keras.config.set_floatx("float32")
keras.config.set_epsilon(1e-7)

from .models.discriminator import Discriminator  # noqa: E402
from .models.generator import Generator  # noqa: E402

__version__ = "0.1.0"
__all__ = ["Discriminator", "Generator"]
