"""`preset=dped`: the authors' supervised training with their draws, files and log lines."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from .config import to_yaml
from .data.dped import dped_folders
from .data.folders import find_pictures
from .data.pipeline import reading_errors
from .errors import UserError
from .files import write_atomically
from .images import read_picture, to_uint8, write_picture
from .metrics import ms_ssim
from .models.build import make_discriminator, make_generator
from .models.dped import DPED, authors_adam
from .models.vgg import load_vgg
from .reference import save_checkpoint

SHOWN = 5


def train_dped(config):
    """Trains DPED on pairs, as the authors' train_model.py does.

    Writes `models/<phone>.txt`, `models/<phone>_iteration_<i>.ckpt` and
    `results/<phone>_<k>_iteration_<i>.jpg` every `eval_step` iterations, from iteration 0 on, and
    the settings to `models/<phone>_config.yaml`. Files of an earlier run are replaced, as theirs
    are.

    Args:
        config: `TrainConfig` with `method="dped"`.

    Raises:
        UserError: if data or VGG weights cannot be had.
    """
    if config.model is None:
        raise UserError("model=: missing; expected iphone, blackberry or sony")
    data = PairedPatches(config.dped_dir, config.model, config.patch_size)
    sampler = Sampler(
        len(data.train),
        len(data.test),
        config.train_size,
        config.batch_size,
        config.eval_step,
        config.seed,
    )
    model = build_dped(config)
    for folder in ("models", "results"):
        Path(folder).mkdir(exist_ok=True)
    write_atomically(Path("models") / f"{config.model}_config.yaml", to_yaml(config).encode())
    print(f"{config.model}: {len(data.train)} training pairs, {len(data.test)} test pairs")
    with reading_errors():
        model.fit(
            training_batches(data, sampler),
            steps_per_epoch=config.num_train_iters,
            callbacks=[AuthorsLog(config, data, sampler)],
            shuffle=False,
        )


def build_dped(config):
    """A compiled and built `DPED` with the authors' optimizers."""
    model = DPED(
        make_generator(config, "generator"),
        make_discriminator(config, "discriminator", config.texture_norm),
        load_vgg(config.content_layer, config.vgg_weights),
        w_content=config.w_content,
        w_color=config.w_color,
        w_texture=config.w_texture,
        w_tv=config.w_tv,
    )
    model.compile(
        authors_adam(config.learning_rate), authors_adam(config.discriminator_learning_rate)
    )
    model.build((config.batch_size, config.patch_size, config.patch_size, 3))
    return model


class PairedPatches:
    """DPED's training and test patches, read when they are asked for.

    Args:
        dped_dir: folder of the data set.
        phone: `"iphone"`, `"blackberry"` or `"sony"`.
        patch_size: side of the patches, pixels.

    Attributes:
        train: list of (phone file, DSLR file).
        test: the same for the test patches.

    Raises:
        UserError: if a folder is missing or empty, or the two sides differ in number.
    """

    def __init__(self, dped_dir, phone, patch_size):
        folders = dped_folders(dped_dir, phone)
        if folders.val_source is None:
            raise UserError(f"dped_dir={dped_dir}: no folder {phone}/test_data/patches")
        self.patch_size = patch_size
        self.train = self._pairs(folders.source, folders.target)
        self.test = self._pairs(folders.val_source, folders.val_target)

    def _pairs(self, phone_folder, dslr_folder):
        sides = [find_pictures(folder, "dped_dir") for folder in (phone_folder, dslr_folder)]
        if len(sides[0]) != len(sides[1]):
            raise UserError(
                f"dped_dir: {len(sides[0])} patches in {phone_folder}, but {len(sides[1])} in "
                f"{dslr_folder}; they are pairs"
            )
        return list(zip(*sides))

    def load(self, pairs):
        """Reads pairs, in parallel.

        Args:
            pairs: list of (phone file, DSLR file).

        Returns:
            Two (N, P, P, 3) uint8 arrays.

        Raises:
            UserError: naming a file that is not a picture of the patch size.
        """
        with ThreadPoolExecutor(8) as pool:
            patches = list(pool.map(self._read, (path for pair in pairs for path in pair)))
        return np.stack(patches[0::2]), np.stack(patches[1::2])

    def _read(self, path):
        patch = read_picture(path)
        if patch.shape != (self.patch_size, self.patch_size, 3):
            raise UserError(
                f"{path}: {patch.shape[1]}×{patch.shape[0]} pixels, expected "
                f"{self.patch_size}×{self.patch_size}"
            )
        return patch


class Sampler:
    """The authors' random draws, in their order, from NumPy's legacy generator.

    A pool of `train_size` training pairs is drawn without replacement and drawn anew after every
    evaluation; batches are drawn from the pool with replacement. With the same seed (theirs is 0)
    and the same number of files, batches and swaps are those of their code.

    Args:
        train_count: training pairs there are.
        test_count: test pairs there are.
        train_size: pairs in the pool; -1 for all.
        batch_size: pairs in a batch.
        eval_step: iterations between evaluations.
        seed: of the draws.

    Attributes:
        crops: indices of the five test pairs that are shown.
        test_swaps: (batches, N, 1) arrays by iteration: the swaps of the evaluations.

    Raises:
        UserError: if there are fewer pairs than asked for.
    """

    def __init__(self, train_count, test_count, train_size, batch_size, eval_step, seed):
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
        self.test_swaps = {}

    def _draw_pool(self):
        everything = np.arange(self.train_count)
        if not self.draws_pool:
            return everything
        return self.random.choice(everything, self.train_size, replace=False)

    def _draw_swaps(self):
        return self.random.randint(0, 2, self.batch_size).reshape(-1, 1)

    def __iter__(self):
        """Yields (generator's indices, discriminator's indices, swaps) without end."""
        iteration = 0
        while True:
            generator, discriminator = (
                self.pool[self.random.randint(0, self.train_size, self.batch_size)]
                for _ in range(2)
            )
            swaps = self._draw_swaps()
            # Before the batch is handed out: its evaluation must find its swaps.
            if iteration % self.eval_step == 0:
                tests = [self._draw_swaps() for _ in range(self.test_batches)]
                self.test_swaps[iteration] = np.stack(tests)
                self.pool = self._draw_pool()
            yield generator, discriminator, swaps
            iteration += 1


def training_batches(data, sampler):
    """What `DPED.train_step` takes, read ahead; memory does not grow with the pool.

    Args:
        data: `PairedPatches`.
        sampler: `Sampler`.

    Returns:
        Endless `tf.data.Dataset` of (x, y, x', y', swaps), four (N, P, P, 3) uint8 tensors and an
        (N, 1) int64 one.
    """

    def batches():
        for generator, discriminator, swaps in sampler:
            yield np.concatenate([generator, discriminator]), swaps

    def load(indices):
        return data.load([data.train[index] for index in indices])

    def add_pictures(indices, swaps):
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


class AuthorsLog(keras.callbacks.Callback):
    """Evaluates every `eval_step` iterations, from 0 on, and writes what the authors' code does.

    Args:
        config: `TrainConfig`.
        data: `PairedPatches`.
        sampler: `Sampler`.
    """

    def __init__(self, config, data, sampler):
        super().__init__()
        self.phone = config.model
        self.eval_step = config.eval_step
        self.data = data
        self.sampler = sampler
        self.lines = []
        self.losses, self.accuracies = 0.0, 0.0

    def on_train_batch_end(self, batch, logs=None):
        self.losses += float(logs["generator"]) / self.eval_step
        self.accuracies += float(logs["accuracy"]) / self.eval_step
        if batch % self.eval_step == 0:
            self._evaluate(batch)
            self.losses, self.accuracies = 0.0, 0.0

    def _evaluate(self, iteration):
        swaps = self.sampler.test_swaps.pop(iteration)
        similarities = []

        def batches():
            for k, batch_swaps in enumerate(swaps):
                count = len(batch_swaps)
                phone, dslr = self.data.load(self.data.test[k * count : (k + 1) * count])
                enhanced = self._enhance(phone) * 255.0
                similarities.append(ms_ssim(dslr.astype(np.float64), enhanced))
                yield phone, dslr, batch_swaps

        size = self.data.patch_size
        pictures = tf.TensorSpec((None, size, size, 3), tf.uint8)
        signature = (pictures, pictures, tf.TensorSpec((None, 1), tf.int64))
        dataset = tf.data.Dataset.from_generator(batches, output_signature=signature)
        values = self.model.evaluate(dataset, steps=len(swaps), return_dict=True, verbose=0)
        self._write_log(iteration, {**values, "ms_ssim": np.mean(similarities)})
        self._write_crops(iteration)
        prefix = Path("models") / f"{self.phone}_iteration_{iteration}.ckpt"
        save_checkpoint(self.model.generator, prefix)

    def _enhance(self, phone):
        pictures = phone.astype(np.float32) / 255
        return keras.ops.convert_to_numpy(self.model.generator(pictures, training=False))

    def _write_log(self, iteration, test):
        discriminator = (
            f"step {iteration:d}, {self.phone} | discriminator accuracy | "
            f"train: {self.accuracies:.4g}, test: {test['accuracy']:.4g}"
        )
        generator = (
            f"generator losses | train: {self.losses:.4g}, test: {test['generator']:.4g} | "
            f"content: {test['content']:.4g}, color: {test['color']:.4g}, "
            f"texture: {test['texture']:.4g}, tv: {test['tv']:.4g} | "
            f"psnr: {test['psnr']:.4g}, ms-ssim: {test['ms_ssim']:.4g}\n"
        )
        print(f"\n{discriminator}\n{generator}")
        self.lines += [discriminator, generator]
        content = "".join(f"{line}\n" for line in self.lines)
        write_atomically(Path("models") / f"{self.phone}.txt", content.encode())

    def _write_crops(self, iteration):
        phone, _ = self.data.load([self.data.test[index] for index in self.sampler.crops])
        for k, (before, after) in enumerate(zip(phone, to_uint8(self._enhance(phone)))):
            path = Path("results") / f"{self.phone}_{k}_iteration_{iteration}.jpg"
            write_picture(path, np.hstack([before, after]))
