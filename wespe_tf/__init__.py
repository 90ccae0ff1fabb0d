"""WESPE, the weakly supervised photo enhancer, for TensorFlow 2 and Keras 3."""

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator

# Lines that TensorFlow's libraries write to stderr while they load. No option suppresses them.
START_UP = re.compile(rb"WARNING: All log messages before absl|I\d{4} |\s*$")


@contextlib.contextmanager
def _without_start_up_lines() -> Iterator[None]:
    """Drops these lines; `verbose=true` among a command's arguments keeps them."""
    if sys.stderr is None or "verbose=true" in sys.argv:
        yield
        return
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as written:
        os.dup2(written.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            written.seek(0)
            os.write(2, b"".join(line for line in written if not START_UP.match(line)))


# These replace the values of other projects: the code needs TensorFlow's training step and Keras 3.
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TF_USE_LEGACY_KERAS"] = "0"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "0" if "verbose=true" in sys.argv else "3")

with _without_start_up_lines():
    import keras

if keras.config.backend() != "tensorflow":
    raise ImportError(
        f"wespe_tf needs Keras's backend tensorflow, but Keras was imported with "
        f"{keras.config.backend()} before; import wespe_tf first"
    )
# A file keras.json may have set other values.
keras.config.set_image_data_format("channels_last")
keras.config.set_floatx("float32")
keras.config.set_epsilon(1e-7)

from .models.discriminator import Discriminator  # noqa: E402
from .models.generator import Generator  # noqa: E402

__version__ = "0.1.0"
__all__ = ["Discriminator", "Generator"]
