"""From settings to a trained generator: data, model, `fit`, run folder."""

import json
import math
import os
import platform
import re
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from . import __version__, metrics
from .callbacks import Recorder, StopOnSignal
from .config import TrainConfig, help_text, load, to_yaml
from .data.dped import dped_folders
from .data.folders import DataFolders
from .data.pipeline import GuidedStream, PatchStream, reading_errors, training_data
from .data.sample import build_sample
from .errors import UserError, run_command
from .evaluation import Validation
from .guide import Guide
from .images import write_atomically
from .models.build import make_discriminator, make_generator
from .models.generator import Generator
from .models.vgg import load_vgg
from .models.warm_start import WarmStart, filter_last_layer, fit_last_layer
from .models.wespe import WESPE
from .schedule import make_schedule
from .supervised import train_dped

FITTED_PATCHES = 64
USAGE = """\
usage: python train.py [preset=NAME] [key=value …]

Trains WESPE on two folders of photos that are not pairs (source_dir= target_dir=), on DPED
(model= dped_dir=), or, with neither, on the embedded sample. Writes models/RUN."""


def main(arguments):
    """Runs `train.py` with the given `key=value` arguments."""
    if {"-h", "--help", "help"} & set(arguments):
        print(help_text(TrainConfig, USAGE))
        return
    config = load(TrainConfig, arguments)
    if config.method == "dped":
        set_seed_and_precision(config)
        train_dped(config)
    else:
        train(config)


def command():
    """The console script `wespe-train`."""
    run_command(main)


def train(config):
    """Trains a generator and writes a run folder.

    Args:
        config: `TrainConfig`.

    Returns:
        `Path` of the run folder.

    Raises:
        UserError: if data, weights or the run folder cannot be had; nothing is written then.
    """
    set_seed_and_precision(config)
    folders = data_folders(config)
    source = PatchStream(
        folders.source, config.patch_size, config.seed, "source_dir", config.view_share
    )
    target = PatchStream(
        folders.target, config.patch_size, config.seed + 1, "target_dir", config.view_share
    )
    validation = Validation(source, target, folders.val_source, folders.val_target)
    guide = None
    if config.warm_start_iters or config.w_guide:
        guide = Guide.fit(source.readable, target.readable, config.noise_filter)
    model = build_model(config, max(1, source.epoch_size // config.batch_size))
    run = RunFolder.create(config)
    print(f"{source.folder}: {len(source.paths)} pictures → {target.folder}: {len(target.paths)}")
    print(f"run folder: {run.path}")

    start = time.monotonic()
    stop = StopOnSignal()
    if config.warm_start_iters:
        warm_start(model, guide, source, target, config, stop)
    recorder = Recorder(
        run, validation, config.num_train_iters, f"{run.path.name} (seed {config.seed})"
    )
    data = training_data(source, target, config.batch_size, guide, start=config.warm_start_iters)
    with reading_errors():
        model.fit(
            data,
            steps_per_epoch=min(config.eval_step, config.num_train_iters),
            epochs=math.ceil(config.num_train_iters / config.eval_step),
            callbacks=[stop, recorder],
            shuffle=False,
        )
    summary = summarise(config, recorder, validation, time.monotonic() - start)
    text = json.dumps(_without_nan(summary), indent=2, allow_nan=False)
    write_atomically(run.path / "summary.json", text.encode())
    print_summary(summary, run)
    if stop.received is not None:
        sys.exit(128 + stop.received)
    return run.path


def set_seed_and_precision(config):
    """Sets Keras's seeds and the dtype policy of all networks made from now on."""
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(
        config.precision if config.precision == "float32" else f"mixed_{config.precision}"
    )


def data_folders(config):
    """The folders that the settings name; the sample's, built on first use, if they name none."""
    own = {key: getattr(config, key) for key in ("source_dir", "target_dir")}
    val = {key: getattr(config, key) for key in ("val_source_dir", "val_target_dir")}
    for pair in (own, val):
        missing = [key for key, value in pair.items() if value is None]
        if len(missing) == 1:
            (given,) = set(pair) - set(missing)
            raise UserError(f"{given} needs {missing[0]} beside it")
    if own["source_dir"] is not None:
        if config.model is not None:
            raise UserError("give either model= (DPED) or source_dir= and target_dir=, not both")
        found = DataFolders(Path(config.source_dir), Path(config.target_dir))
    elif config.model is not None:
        found = dped_folders(config.dped_dir, config.model)
    else:
        found = build_sample(Path("data") / "sample")
    if val["val_source_dir"] is None:
        return found
    return DataFolders(
        found.source, found.target, Path(config.val_source_dir), Path(config.val_target_dir)
    )


def build_model(config, epoch=None):
    """A compiled and built `WESPE`.

    Args:
        config: `TrainConfig`.
        epoch: see `make_schedule`.

    Raises:
        UserError: if the VGG weights cannot be had, the border leaves no patch, or a ratio is none.
    """
    # Of 16 pixels the discriminators' convolutions leave one, and instance norm nothing of that.
    if config.patch_size - 2 * config.border <= 16:
        raise UserError(
            f"border={config.border}: leaves less than 17 pixels of patch_size={config.patch_size}"
        )

    uses_vgg = config.content_features == "vgg19" and config.w_content > 0
    model = WESPE(
        make_generator(config, "generator"),
        make_generator(config, "inverse_generator"),
        make_discriminator(config, "color_discriminator", config.color_norm),
        make_discriminator(config, "texture_discriminator", config.texture_norm),
        load_vgg(config.content_layer, config.vgg_weights, config.vgg_preprocessing == "report")
        if uses_vgg
        else None,
        content_normalise=config.content_normalise,
        blur=config.blur,
        border=config.border,
        content_pair=config.content_pair,
        content_extra_division=config.content_extra_division,
        label_smoothing=config.label_smoothing,
        flip_labels=config.flip_labels,
        unfreeze_discriminators=config.unfreeze_discriminators,
        w_content=config.w_content,
        w_color=config.w_color,
        w_texture=config.w_texture,
        w_tv=config.w_tv,
        w_guide=config.w_guide,
    )
    model.compile(
        adam(config, config.learning_rate, config.generator_beta_1, config.ema),
        adam(config, config.discriminator_learning_rate, config.discriminator_beta_1),
        make_schedule(config, epoch),
    )
    model.build((config.batch_size, config.patch_size, config.patch_size, 3))
    return model


def adam(config, learning_rate, beta_1, ema=0.0):
    """Adam with the settings' decay, moving average and loss scaling."""
    if config.learning_rate_decay == "cosine":
        learning_rate = rising_cosine(learning_rate, config.num_train_iters)
    average = {"use_ema": True, "ema_momentum": ema} if ema else {}
    optimizer = keras.optimizers.Adam(learning_rate, beta_1=beta_1, epsilon=1e-8, **average)
    if config.precision == "float16":
        return keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer


def rising_cosine(peak, iterations):
    """A step size that rises to `peak` over a tenth of the iterations and falls along a cosine.

    Adam's first steps are as long as its later ones, but know a single batch only: at full size
    they would spoil details that take long to come back.
    """
    rising = iterations // 10
    return keras.optimizers.schedules.CosineDecay(
        0.0, iterations - rising, warmup_target=peak, warmup_steps=rising
    )


def warm_start(model, guide, source, target, config, stop):
    """Trains G and F of a `WESPE` on the guide of the source patches, and back."""
    print(f"warm start: {config.warm_start_iters} iterations on the guide")
    colors = GuidedStream(source, guide.transfer)
    patches, transferred = map(np.stack, zip(*(colors[n] for n in range(FITTED_PATCHES))))
    patches, transferred = patches / np.float32(255), transferred / np.float32(255)
    fit_last_layer(model.generator, patches, transferred)
    if guide.noise_filter is not None:
        filter_last_layer(model.generator, guide.noise_filter)
    fit_last_layer(model.inverse_generator, transferred, patches)

    warm = WarmStart(model.generator, model.inverse_generator, config.border)
    learning_rate = rising_cosine(config.warm_start_learning_rate, config.warm_start_iters)
    optimizer = keras.optimizers.Adam(learning_rate, epsilon=1e-8)
    warm.compile(optimizer, jit_compile=False)
    with reading_errors():
        warm.fit(
            training_data(source, target, config.batch_size, guide),
            steps_per_epoch=config.warm_start_iters,
            callbacks=[stop],
            shuffle=False,
        )


class RunFolder:
    """The folder of one run: where its files lie and how they are written.

    Args:
        path: of the folder.
    """

    def __init__(self, path):
        self.path = Path(path)
        self.checkpoints = None

    @classmethod
    def create(cls, config):
        """Makes `models/<run>` or the next free `models/<preset>-NNN`, with its `config.yaml`.

        Raises:
            UserError: if the run exists or the folder cannot be made.
        """
        if config.run is not None and not re.fullmatch(r"[\w.-]*\w[\w.-]*", config.run):
            raise UserError(f"run={config.run}: expected letters, digits, '.', '_' and '-'")
        try:
            path = _make_named(config.run) if config.run else _make_numbered(config.preset)
            (path / "figures").mkdir()
        except OSError as error:
            raise UserError(f"{error.filename}: cannot be made ({error.strerror})") from error
        write_atomically(path / "config.yaml", to_yaml(config).encode())
        run = cls(path)
        run.keep = config.keep_checkpoints
        return run

    def save_generator(self, generator):
        """Writes `generator.keras` in float32, whole or not at all."""
        plain = Generator.from_config({**generator.get_config(), "dtype": "float32"})
        plain.build((None, None, None, 3))
        plain.set_weights(generator.get_weights())
        path = self.path / "generator.keras"
        try:
            with tempfile.TemporaryDirectory(dir=self.path, prefix=".saving-") as folder:
                plain.save(os.path.join(folder, path.name))
                os.replace(os.path.join(folder, path.name), path)
        except OSError as error:
            raise UserError(f"{path}: cannot be written ({error})") from error

    def save_checkpoint(self, model, iteration):
        """Writes networks, optimizers and schedule to `checkpoints/`, keeping the newest few."""
        if self.checkpoints is None:
            parts = (
                "generator",
                "inverse_generator",
                "color_discriminator",
                "texture_discriminator",
                "generator_optimizer",
                "discriminator_optimizer",
            )
            checkpoint = tf.train.Checkpoint(
                **{part: getattr(model, part) for part in parts},
                schedule=ScheduleState(model.schedule),
            )
            self.checkpoints = tf.train.CheckpointManager(
                checkpoint, str(self.path / "checkpoints"), max_to_keep=self.keep
            )
        self.checkpoints.save(checkpoint_number=iteration)


class ScheduleState(tf.train.experimental.PythonState):
    """A schedule's `state()` as a part of a TensorFlow checkpoint."""

    def __init__(self, schedule):
        self.schedule = schedule

    def serialize(self):
        """The state as JSON text."""
        return json.dumps(self.schedule.state())

    def deserialize(self, text):
        """Restores what `serialize` gave."""
        self.schedule.restore(json.loads(text))


def _make_named(run):
    path = Path("models") / run
    path.parent.mkdir(exist_ok=True)
    try:
        path.mkdir()
    except FileExistsError as error:
        raise UserError(f"run={run}: {path} exists already and is left as it is") from error
    return path


def _make_numbered(preset):
    name = Path(preset).stem
    Path("models").mkdir(exist_ok=True)
    taken = [re.fullmatch(rf"{re.escape(name)}-(\d+)", p.name) for p in Path("models").iterdir()]
    number = max((int(match[1]) for match in taken if match), default=0)
    while True:
        number += 1
        path = Path("models") / f"{name}-{number:03d}"
        try:
            path.mkdir()
        except FileExistsError:
            continue
        return path


def summarise(config, recorder, validation, seconds):
    """What `summary.json` holds; its keys are part of the interface.

    Args:
        config: `TrainConfig`.
        recorder: the run's `Recorder`.
        validation: the run's `Validation`.
        seconds: wall time of the training.

    Returns:
        Dictionary that JSON can hold; `validation` is null without pairs.
    """
    evaluations = recorder.evaluations
    iterations = [e["iteration"] for e in evaluations]
    scores = [e["collapse_score"] for e in evaluations]
    last = evaluations[-1]
    scored = None
    if validation.paired:
        best = max(evaluations, key=lambda e: e["psnr"])
        scored = {
            **validation.baselines,
            "psnr_enhanced": last["psnr"],
            "ssim_enhanced": last["ssim"],
            "psnr_best": best["psnr"],
            "iteration_of_best": best["iteration"],
        }
    return {
        "preset": config.preset,
        "seed": config.seed,
        "iterations": recorder.iteration,
        "seconds": round(seconds, 1),
        "collapsed": metrics.has_collapsed(scores),
        "uniform_since": metrics.uniform_since(iterations, scores),
        "distance": last["distance"],
        "iteration_of_least_distance": min(evaluations, key=lambda e: e["distance"])["iteration"],
        "collapse_score": last["collapse_score"],
        "correlation": last["correlation"],
        "mean_color": [last["mean_red"], last["mean_green"], last["mean_blue"]],
        "validation": scored,
        "versions": {
            "wespe_tf": __version__,
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "python": platform.python_version(),
        },
    }


def _without_nan(value):
    """`value` with None for NaN and infinities, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_summary(summary, run):
    """The last lines of a run: verdict, numbers, where to look."""
    verdict = "COLLAPSED" if summary["collapsed"] else "not collapsed"
    print(f"\n{summary['iterations']} iterations in {summary['seconds']:.0f} s, {verdict}")
    scores = summary["validation"]
    if scores is not None:
        print(f"{'validation':<16} {'PSNR, dB':>9} {'SSIM':>7}")
        for name in ("input", "histogram_match", "enhanced"):
            psnr, ssim = scores[f"psnr_{name}"], scores[f"ssim_{name}"]
            print(f"{name.replace('_', ' '):<16} {psnr:>9.2f} {ssim:>7.4f}")
    print(f"look at {run.path / 'figures'}; the generator is {run.path / 'generator.keras'}")
