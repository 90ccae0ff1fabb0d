"""Batches from two independent, endless streams of uint8 patches, decoded before they are needed.

Every patch has a number. Photo and place of the patch depend only on this number and the seed. So
a stream can start anywhere, and gives the same patches on any machine.
"""

import contextlib
import functools
import re
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from ..errors import UserError
from ..guide.color_transfer import ColorTransfer
from ..guide.detail_filter import YCBCR
from ..guide.guide import Guide
from ..guide.samples import luminance_histogram
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
        patch, guide, _ = self.cut(number)
        return patch, guide

    def cut(self, number: int, context: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Patch `number`, its guide, and `context` more patches of its photo."""
        patches, path = self.stream.cut(number, context)
        return patches[0], to_uint8(self.guide(patches[0], self._curve(path))), patches[1:]

    @functools.lru_cache(maxsize=4096)  # noqa: B019 (a stream lives as long as the run)
    def _curve(self, path: str) -> np.ndarray:
        return self.guide.curve(luminance_histogram(self.stream.cache.get(path)))


class Choice:
    """A stream's patches by what they resemble, so that a discriminator compares like with like.

    Two folders of unpaired photos hold different scenes. A discriminator sees this before it sees
    how the photos were taken: a sky beside foliage says nothing about a camera. So it gets the
    target patch whose brightness and coarse contrast come closest to those of the source patch. The
    fine detail that it judges plays no part in this choice. Richter and others (Enhancing
    Photorealism Enhancement, section 3.3) match patches by features of VGG for the same reason.

    Args:
        stream: `PatchStream` of the target domain.
        count: candidates for each source patch; with 1 there is no choice.
    """

    def __init__(self, stream: PatchStream, count: int) -> None:
        self.stream = stream
        self.count = count

    def nearest(self, number: int, picture: np.ndarray) -> np.ndarray:
        """Of the candidates of source patch `number`, the one that resembles `picture` most.

        Args:
            number: from 0; no patch of the stream is a candidate of two source patches.
            picture: (P, P, 3) uint8 array, the source patch in the look of the target domain.

        Returns:
            (P, P, 3) uint8 array.
        """
        first = int(number) * self.count
        if self.count == 1:
            return self.stream[first]
        candidates = [self.stream[first + k] for k in range(self.count)]
        wanted = look(picture)
        return min(candidates, key=lambda patch: np.sum((look(patch) - wanted) ** 2))


def look(patch: np.ndarray) -> np.ndarray:
    """Brightness and coarse contrast of a patch, as coordinates of which 1 is a clear difference.

    Args:
        patch: (H, W, 3) uint8 array of at least 8 pixels a side.

    Returns:
        (2,) array: the mean of luminance, divided by 40; the logarithm of the standard deviation of
        luminance between squares of 8×8 pixels, divided by 0.4. Fine detail shows in neither.
    """
    rows, columns = (side // 8 for side in patch.shape[:2])
    luminance = patch[: 8 * rows, : 8 * columns] @ YCBCR[0]
    squares = luminance.reshape(rows, 8, columns, 8).mean(axis=(1, 3))
    # Below 2 of 255, contrast is hardly more than noise.
    return np.array([squares.mean() / 40, np.log(squares.std() + 2) / 0.4])


def training_data(
    source: PatchStream,
    target: PatchStream,
    batch_size: int,
    guide: Guide | ColorTransfer | None = None,
    start: int = 0,
    strategy: tf.distribute.Strategy | None = None,
    candidates: int = 1,
    context: int = 0,
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
        candidates: of so many target patches, each source patch gets the one that resembles its
            guide most, or the source patch itself if there is no guide. 1: the next one.
        context: how many more patches of each source patch's photo a batch has. Without a guide it
            has none.

    Returns:
        Endless dataset of (source, target), (source, target, guide) or (source, target, guide,
        context), uint8 tensors (N, P, P, 3), and (N, context, P, P, 3) for the last one. N is
        batch_size divided by the number of devices.
    """
    square = (source.patch_size, source.patch_size, 3)
    shapes: list[tuple[int, ...]] = [square, square]
    if guide is not None:
        shapes += [square, (context, *square)] if context else [square]
    choice = Choice(target, candidates)
    guided = None if guide is None else GuidedStream(source, guide)

    def load(number: int) -> tuple[np.ndarray, ...]:
        if guided is None:
            patch = source[number]
            return patch, choice.nearest(number, patch)
        patch, guess, around = guided.cut(number, context)
        batch = patch, choice.nearest(number, guess), guess
        return (*batch, around) if context else batch

    def tensors(number: tf.Tensor) -> tuple[tf.Tensor, ...]:
        patches = tf.numpy_function(load, [number], [tf.uint8] * len(shapes))
        return tuple(tf.ensure_shape(*each) for each in zip(patches, shapes))

    def of_worker(worker: tf.distribute.InputContext) -> tf.data.Dataset:
        share = batch_size // worker.num_input_pipelines
        first = share * worker.input_pipeline_id
        numbers = tf.data.Dataset.range(start * share, np.iinfo(np.int64).max)
        numbers = numbers.map(lambda k: k // share * batch_size + first + k % share)
        patches = numbers.map(tensors, num_parallel_calls=tf.data.AUTOTUNE)
        size = worker.get_per_replica_batch_size(batch_size)
        return patches.batch(size, drop_remainder=True).prefetch(4)

    if strategy is None:
        return of_worker(tf.distribute.InputContext())
    return strategy.distribute_datasets_from_function(of_worker)


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
