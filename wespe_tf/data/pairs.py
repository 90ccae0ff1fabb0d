"""Paired patches of DPED, drawn in the authors' order."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tensorflow as tf

from ..errors import UserError
from ..images.picture import read_picture
from .dped import dped_folders
from .folders import find_pairs

SHOWN = 5
# The phone's file and the DSLR's.
Pair = tuple[str, str]


class PairedPatches:
    """DPED's training and test patches. They are read when they are needed.

    Args:
        dped_dir: folder of the data set.
        phone: `"iphone"`, `"blackberry"` or `"sony"`.
        patch_size: side of the patches, pixels.

    Attributes:
        train: list of (phone file, DSLR file).
        test: the same for the test patches.

    Raises:
        UserError: if a folder is missing or empty, or a file has no partner of the same name.
    """

    def __init__(self, dped_dir: str | Path, phone: str, patch_size: int) -> None:
        folders = dped_folders(dped_dir, phone)
        if folders.val_source is None or folders.val_target is None:
            raise UserError(f"dped_dir={dped_dir}: no folder {phone}/test_data/patches")
        self.patch_size = patch_size
        self.train = find_pairs(folders.source, folders.target, "dped_dir", "dped_dir")
        self.test = find_pairs(folders.val_source, folders.val_target, "dped_dir", "dped_dir")

    def load(self, pairs: Sequence[Pair]) -> tuple[np.ndarray, np.ndarray]:
        """Reads pairs, in parallel.

        Args:
            pairs: list of (phone file, DSLR file).

        Returns:
            Two (N, P, P, 3) uint8 arrays.

        Raises:
            UserError: if a file is not a picture of the patch size.
        """
        with ThreadPoolExecutor(8) as pool:
            patches = list(pool.map(self._read, (path for pair in pairs for path in pair)))
        return np.stack(patches[0::2]), np.stack(patches[1::2])

    def _read(self, path: str) -> np.ndarray:
        patch = read_picture(path)
        if patch.shape != (self.patch_size, self.patch_size, 3):
            raise UserError(
                f"{path}: {patch.shape[1]}×{patch.shape[0]} pixels, expected "
                f"{self.patch_size}×{self.patch_size}"
            )
        return patch


class Sampler:
    """The authors' random draws, in their order, from NumPy's legacy generator.

    A pool of `train_size` training pairs is drawn without replacement, and again after every
    evaluation. Batches are drawn from the pool with replacement. With the same seed (theirs is 0)
    and the same number of files, batches and swaps are those of their code. A swap is 1 if the
    discriminator sees the DSLR's patch of a pair, and 0 if it sees the enhanced one.

    Args:
        train_count: number of training pairs.
        test_count: number of test pairs.
        train_size: pairs in the pool; -1 for all.
        batch_size: pairs in a batch.
        eval_step: iterations between evaluations.
        seed: seed of the draws.

    Attributes:
        crops: indices of the five test pairs that are shown.
        test_swaps: swaps of the evaluations: a (batches, N, 1) array for each iteration.

    Raises:
        UserError: if there are too few pairs for `train_size` or `batch_size`.
    """

    def __init__(
        self,
        train_count: int,
        test_count: int,
        train_size: int,
        batch_size: int,
        eval_step: int,
        seed: int,
    ) -> None:
        if train_size > train_count:
            raise UserError(
                f"train_size={train_size}: only {train_count} training pairs; expected at most "
                "that, or -1 for all"
            )
        if test_count < batch_size:
            raise UserError(
                f"batch_size={batch_size}: only {test_count} test pairs, not one whole batch"
            )
        self.train_count = train_count
        self.train_size = train_size if train_size > 0 else train_count
        self.draws_pool = train_size > 0
        self.batch_size = batch_size
        self.eval_step = eval_step
        self.test_batches = test_count // batch_size
        self.random = np.random.RandomState(seed)
        self.pool = self._draw_pool()
        self.crops = self.random.randint(0, test_count, SHOWN)
        self.test_swaps: dict[int, np.ndarray] = {}

    def _draw_pool(self) -> np.ndarray:
        everything = np.arange(self.train_count)
        if not self.draws_pool:
            return everything
        return self.random.choice(everything, self.train_size, replace=False)

    def _draw_swaps(self) -> np.ndarray:
        return self.random.randint(0, 2, self.batch_size).reshape(-1, 1)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yields (generator's indices, discriminator's indices, swaps) without end."""
        iteration = 0
        while True:
            generator, discriminator = (
                self.pool[self.random.randint(0, self.train_size, self.batch_size)]
                for _ in range(2)
            )
            swaps = self._draw_swaps()
            # Drawn before the batch is given out, because its evaluation needs them.
            if iteration % self.eval_step == 0:
                tests = [self._draw_swaps() for _ in range(self.test_batches)]
                self.test_swaps[iteration] = np.stack(tests)
                self.pool = self._draw_pool()
            yield generator, discriminator, swaps
            iteration += 1


def training_batches(data: PairedPatches, sampler: Sampler) -> tf.data.Dataset:
    """The data for `DPED.train_step`, read before they are needed. A large pool takes no memory.

    Returns:
        Endless `tf.data.Dataset` of (x, y, x', y', swaps), four (N, P, P, 3) uint8 tensors and an
        (N, 1) int64 one.
    """

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for generator, discriminator, swaps in sampler:
            yield np.concatenate([generator, discriminator]), swaps

    def load(indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return data.load([data.train[index] for index in indices])

    def add_pictures(indices: tf.Tensor, swaps: tf.Tensor) -> tuple[tf.Tensor, ...]:
        phone, dslr = tf.numpy_function(load, [indices], (tf.uint8, tf.uint8))
        shape = (2 * sampler.batch_size, data.patch_size, data.patch_size, 3)
        phone, dslr = (tf.ensure_shape(side, shape) for side in (phone, dslr))
        (x, other_x), (y, other_y) = (tf.split(side, 2) for side in (phone, dslr))
        return x, y, other_x, other_y, swaps

    signature = (
        tf.TensorSpec((2 * sampler.batch_size,), tf.int64),
        tf.TensorSpec((sampler.batch_size, 1), tf.int64),
    )
    dataset = tf.data.Dataset.from_generator(batches, output_signature=signature)
    return dataset.map(add_pictures, num_parallel_calls=2).prefetch(4)
