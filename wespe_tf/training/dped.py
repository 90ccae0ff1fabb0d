"""`preset=dped`: the authors' supervised training, with their random draws, files and log."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ..config.loading import load, to_yaml
from ..config.schema import TrainConfig
from ..data.batches import reading_errors
from ..data.pairs import PairedPatches, Sampler, training_batches
from ..errors import UserError
from ..files import make_folder, write_atomically
from ..images.picture import to_uint8, write_picture
from ..metrics.ms_ssim import ms_ssim
from ..models.dped import DPED, authors_adam
from ..progress import progress, say
from ..weights.tf1_checkpoint import save_checkpoint
from ..weights.vgg import load_vgg
from .build import make_discriminator, make_generator, options_of
from .loop import Progress

# The settings that can be changed. The others are as in preset=dped, as the authors' code has no
# such choice, or cannot read the checkpoints.
FREE = {
    *("preset", "deterministic", "seed", "model", "dped_dir", "patch_size", "batch_size"),
    *("train_size", "generator_init", "discriminator_width", "discriminator_init"),
    *("discriminator_order", "texture_norm", "content_layer", "vgg_weights"),
    *("w_content", "w_color", "w_texture", "w_tv", "num_train_iters", "learning_rate"),
    *("discriminator_learning_rate", "precision", "eval_step", "verbose"),
}


def train_dped(config: TrainConfig) -> None:
    """Trains DPED on pairs, as the authors' train_model.py does.

    Writes `models/<phone>.txt`, `models/<phone>_iteration_<i>.ckpt` and
    `results/<phone>_<k>_iteration_<i>.jpg` every `eval_step` iterations, from iteration 0 on.
    Writes the settings to `models/<phone>_config.yaml`. Like the authors' code, it replaces the
    files of an earlier run.

    Args:
        config: `TrainConfig` with `method="dped"`.

    Raises:
        UserError: if a setting cannot be changed here, if `model` is missing, if data or VGG
            weights cannot be read, or if the folders cannot be made.
    """
    check_settings(config)
    data, sampler = open_pairs(config)
    model = build_dped(config)
    for folder in ("models", "results"):
        make_folder(Path(folder), setting="")
    write_atomically(Path("models") / f"{config.model}_config.yaml", to_yaml(config).encode())
    print(f"{config.model}: {len(data.train)} training pairs, {len(data.test)} test pairs")
    with reading_errors(), progress(total=config.num_train_iters, desc="training") as bar:
        model.fit(
            training_batches(data, sampler),
            steps_per_epoch=config.num_train_iters,
            callbacks=[AuthorsLog(config, data, sampler), Progress(bar)],
            shuffle=False,
            verbose=0,
        )


def check_settings(config: TrainConfig) -> None:
    """Raises a `UserError` if a setting is given that this training does not have."""
    for key, expected in vars(load(TrainConfig, ["preset=dped"])).items():
        given = getattr(config, key)
        if key not in FREE and given != expected:
            raise UserError(
                f"{key}={given}: cannot be changed with method=dped; expected "
                f"{'no value' if expected is None else expected}"
            )
    if config.precision == "float16":
        raise UserError("precision=float16: expected float32, bfloat16 or auto with method=dped")


def open_pairs(config: TrainConfig) -> tuple[PairedPatches, Sampler]:
    """The pairs that the settings name, and the authors' draws from them.

    Raises:
        UserError: if `model` is missing, the pairs cannot be found, or there are too few.
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
    return data, sampler


def build_dped(config: TrainConfig) -> DPED:
    """A compiled and built `DPED` with the authors' optimizers."""
    model = DPED(
        make_generator(config, "generator"),
        make_discriminator(config, "discriminator", config.texture_norm, config.texture_layers),
        load_vgg(config.content_layer, config.vgg_weights),
        **options_of(config, DPED),
    )
    model.compile(
        authors_adam(config.learning_rate), authors_adam(config.discriminator_learning_rate)
    )
    model.build((config.batch_size, config.patch_size, config.patch_size, 3))
    return model


class AuthorsLog(keras.callbacks.Callback):
    """Evaluates every `eval_step` iterations, from 0 on, and writes the authors' log and files."""

    def __init__(self, config: TrainConfig, data: PairedPatches, sampler: Sampler) -> None:
        super().__init__()
        self.phone = config.model
        self.eval_step = config.eval_step
        self.data = data
        self.sampler = sampler
        self.lines: list[str] = []
        self.losses, self.accuracies = 0.0, 0.0

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        assert logs is not None
        self.losses += float(logs["generator"]) / self.eval_step
        self.accuracies += float(logs["accuracy"]) / self.eval_step
        if batch % self.eval_step == 0:
            self._evaluate(batch)
            self.losses, self.accuracies = 0.0, 0.0

    def _evaluate(self, iteration: int) -> None:
        swaps = self.sampler.test_swaps.pop(iteration)
        similarities = []

        def batches() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
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
        self._write_log(iteration, {**values, "ms_ssim": float(np.mean(similarities))})
        self._write_crops(iteration)
        prefix = Path("models") / f"{self.phone}_iteration_{iteration}.ckpt"
        save_checkpoint(self.model.generator, prefix)

    def _enhance(self, phone: np.ndarray) -> np.ndarray:
        pictures = phone.astype(np.float32) / 255
        return keras.ops.convert_to_numpy(self.model.generator(pictures, training=False))

    def _write_log(self, iteration: int, test: dict[str, float]) -> None:
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
        say(f"\n{discriminator}\n{generator}")
        self.lines += [discriminator, generator]
        content = "".join(f"{line}\n" for line in self.lines)
        write_atomically(Path("models") / f"{self.phone}.txt", content.encode())

    def _write_crops(self, iteration: int) -> None:
        phone, _ = self.data.load([self.data.test[index] for index in self.sampler.crops])
        for k, (before, after) in enumerate(zip(phone, to_uint8(self._enhance(phone)))):
            path = Path("results") / f"{self.phone}_{k}_iteration_{iteration}.jpg"
            write_picture(path, np.hstack([before, after]))
