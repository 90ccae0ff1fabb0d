"""Batches from two independent, endless streams of uint8 patches, decoded before they are needed.

Every patch has a number. Photo and place of the patch depend only on this number and the seed. So
a stream can start anywhere, and gives the same patches on any machine.
"""

import contextlib
import functools
import re
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from ..errors import UserError
from ..guide.color_transfer import PIXELS, ColorTransfer, luminance_histogram
from ..guide.guide import Guide
from ..images.picture import to_uint8
from .patches import PatchStream


class GuidedStream:
    """A stream's patches, each with the guide, a guess of its enhanced version.

    Args:
        stream: `PatchStream` of the source domain.
        guide: `Guide` to the target domain, or its `ColorTransfer` alone.
    """

    def __init__(self, stream: PatchStream, guide: Guide | ColorTransfer) -> None:
        self.stream = stream
        self.guide = guide

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Patch `number` of the stream and its guide.

        Returns:
            Two (patch_size, patch_size, 3) uint8 arrays.
        """
        patch, path = self.stream.cut(number)
        return patch, to_uint8(self.guide(patch, self._curve(path)))

    @functools.lru_cache(maxsize=4096)  # noqa: B019 (a stream lives as long as the run)
    def _curve(self, path: str) -> np.ndarray:
        pixels = self.stream.cache.get(path).reshape(-1, 3)
        # For a large photo, the histogram of some pixels is enough, and takes less memory.
        stride = max(1, len(pixels) // PIXELS) | 1
        return self.guide.curve(luminance_histogram(pixels[::stride]))


def training_data(
    source: PatchStream,
    target: PatchStream,
    batch_size: int,
    guide: Guide | ColorTransfer | None = None,
    start: int = 0,
    strategy: tf.distribute.Strategy | None = None,
) -> tf.data.Dataset:
    """Batches of source and target patches, decoded in parallel before they are needed.

    Under a strategy, every device gets its part of each batch, and every worker decodes only the
    parts of its devices. Together, these are the same batches as on one device.

    Args:
        source: `PatchStream`.
        target: `PatchStream`.
        batch_size: source patches, and target patches, in a batch of all devices.
        guide: makes the guide of every source patch; None for batches without guide.
        start: number of the first batch.
        strategy: a `tf.distribute` strategy, or None.

    Returns:
        Endless dataset of (source, target) or (source, target, guide), uint8 tensors (N, P, P, 3).
        N is batch_size divided by the number of devices.
    """

    def share(context: tf.distribute.InputContext) -> tf.data.Dataset:
        return _share_of_data(source, target, batch_size, guide, start, context)

    if strategy is None:
        return share(tf.distribute.InputContext())
    return strategy.distribute_datasets_from_function(share)


def _share_of_data(
    source: PatchStream,
    target: PatchStream,
    batch_size: int,
    guide: Guide | ColorTransfer | None,
    start: int,
    context: tf.distribute.InputContext,
) -> tf.data.Dataset:
    """`training_data` for the devices of one worker."""
    shape = (source.patch_size, source.patch_size, 3)
    share = batch_size // context.num_input_pipelines
    first = share * context.input_pipeline_id

    def batches(load: Callable, count: int) -> tf.data.Dataset:
        def tensors(number: tf.Tensor) -> tuple[tf.Tensor, ...]:
            patches = tf.numpy_function(load, [number], [tf.uint8] * count)
            return tuple(tf.ensure_shape(patch, shape) for patch in patches)

        numbers = tf.data.Dataset.range(start * share, np.iinfo(np.int64).max)
        numbers = numbers.map(lambda k: k // share * batch_size + first + k % share)
        patches = numbers.map(tensors, num_parallel_calls=tf.data.AUTOTUNE)
        return patches.batch(context.get_per_replica_batch_size(batch_size), drop_remainder=True)

    targets = batches(target.__getitem__, 1)
    if guide is None:
        pairs = tf.data.Dataset.zip((batches(source.__getitem__, 1), targets))
        return pairs.map(lambda x, y: (*x, *y)).prefetch(4)
    guided = batches(GuidedStream(source, guide).__getitem__, 2)
    triples = tf.data.Dataset.zip((guided, targets))
    return triples.map(lambda x, y: (x[0], *y, x[1])).prefetch(4)


@contextlib.contextmanager
def reading_errors() -> Iterator[None]:
    """Raises the `UserError` of a function that reads data, in place of TensorFlow's error.

    TensorFlow turns an exception within a dataset into an error of its own. The text of this error
    contains the exception's name and message.
    """
    try:
        yield
    except tf.errors.OpError as error:
        told = re.search(r"\b(?:UserError|UnreadablePicture): (.+)", error.message)
        if told is None:
            raise
        raise UserError(told[1]) from error
