"""From settings to a trained generator: data, model, `fit`, run folder."""

import dataclasses
import json
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from . import __version__, hardware, metrics
from .callbacks import COLUMNS, Recorder, StopOnSignal
from .config import TrainConfig, help_text, load
from .data.dped import dped_folders
from .data.folders import DataFolders
from .data.pipeline import GuidedStream, PatchStream, training_data
from .data.sample import build_sample
from .distribution import agree, gone_workers, is_chief, make_strategy
from .errors import UserError, run_command
from .evaluation import Validation
from .files import write_json
from .guide import Guide
from .loop import fit
from .models.build import make_discriminator, make_generator
from .models.vgg import load_vgg
from .models.warm_start import WarmStart, filter_last_layer, fit_last_layer
from .models.wespe import WESPE
from .runs import Checkpoints, Log, RunFolder, check_name
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
    if config.resume:
        config = settings_of_run(arguments)
    if config.method == "dped":
        set_seed_and_precision(config)
        train_dped(config)
    else:
        train(config)


def command():
    """The console script `wespe-train`."""
    run_command(main)


def settings_of_run(arguments):
    """The settings of the run that `resume=true run=NAME` names.

    Raises:
        UserError: if there is no such run, or other settings are given than those that may change.
    """
    given = dict(argument.lstrip("-").split("=", 1) for argument in arguments)
    others = sorted(set(given) - {"resume", "run", "distribute"})
    if "run" not in given or others:
        found = f"; {others[0]} is the run's own" if others else ""
        raise UserError(f"resume=true: expected run=NAME, and at most distribute={found}")
    check_name(given["run"])
    path = Path("models") / given["run"] / "config.yaml"
    if not path.is_file():
        raise UserError(f"run={given['run']}: no run to resume; {path} is missing")
    return load(TrainConfig, [f"config={path}", *(f"{k}={v}" for k, v in given.items())])


def train(config):
    """Trains a generator and writes a run folder.

    A run that is resumed goes on from its newest checkpoint that is whole.

    Args:
        config: `TrainConfig`.

    Returns:
        `Path` of the run folder.

    Raises:
        UserError: if data, weights or the run folder cannot be had; nothing is written then. If
            another worker has gone.
    """
    with gone_workers():
        strategy = make_strategy(config.distribute)
        check_distribution(config, strategy.num_replicas_in_sync)
        set_seed_and_precision(config)
        photos = Photos.of(config)
        with strategy.scope():
            model = build_model(config)
        with RunFolder.open(config, writes=is_chief(strategy)) as run:
            ended_by = train_in(run, config, strategy, photos, model)
    if ended_by is not None:
        sys.exit(128 + ended_by)
    return run.path


def check_distribution(config, devices):
    """Raises a `UserError` unless a `TrainConfig` can be trained on so many devices."""
    if config.batch_size % devices:
        raise UserError(
            f"batch_size={config.batch_size}: expected a multiple of the {devices} devices"
        )
    # Each device would judge by its own gradients whether a step overflows, and leave it out alone.
    if config.precision == "float16" and devices > 1:
        raise UserError(
            f"precision=float16: expected bfloat16 or float32 on {devices} devices, which cannot "
            "share a loss scale"
        )
    if config.distribute == "multi_worker" and config.run is None:
        raise UserError("distribute=multi_worker: expected run=NAME, the same for all workers")


@dataclasses.dataclass
class Photos:
    """What a run learns from and is judged by.

    Attributes:
        source: `PatchStream` of the photos to enhance.
        target: `PatchStream` of the good photos.
        validation: `Validation`.
        guide: `Guide` between them, or None where no loss needs it.
    """

    source: PatchStream
    target: PatchStream
    validation: Validation
    guide: Guide | None

    @classmethod
    def of(cls, config):
        """Those that the settings name.

        Raises:
            UserError: if they cannot be had.
        """
        folders = data_folders(config)
        source, target = (
            PatchStream(folder, config.patch_size, seed, key, config.view_share)
            for folder, seed, key in (
                (folders.source, config.seed, "source_dir"),
                (folders.target, config.seed + 1, "target_dir"),
            )
        )
        validation = Validation(source, target, folders.val_source, folders.val_target)
        guide = None
        if config.warm_start_iters or config.w_guide:
            guide = Guide.fit(source.readable, target.readable, config.noise_filter)
        return cls(source, target, validation, guide)


def train_in(run, config, strategy, photos, model):
    """Trains in a run folder, from its newest checkpoint on where there is one.

    Args:
        run: `RunFolder`.
        config: `TrainConfig`.
        strategy: of `tf.distribute`.
        photos: `Photos`.
        model: a compiled and built `WESPE`, made in the strategy's scope.

    Returns:
        Number of the signal that ended the run, SIGTERM where another worker had it, or None.

    Raises:
        UserError: if another worker has other checkpoints.
    """
    source, target = photos.source, photos.target
    print(f"{source.folder}: {len(source.paths)} pictures → {target.folder}: {len(target.paths)}")
    print(f"run folder: {run.path}")
    start = time.monotonic()
    stop = StopOnSignal()
    schedule = make_schedule(config)
    log = Log(run.path / "log.csv", COLUMNS)
    checkpoints = Checkpoints(run.path, model, schedule, log, config.keep_checkpoints)
    done = restore(checkpoints, run, strategy) if config.resume else None
    if run.writes:
        check_data(run, photos)

    def batches(first):
        return training_data(source, target, config.batch_size, photos.guide, first, strategy)

    stopped = False
    if done is None and config.warm_start_iters:
        print(f"warm start: {config.warm_start_iters} iterations on the guide")
        fit_guide(model, photos.guide, source)
        stopped = warm_start(model, batches(0), strategy, config, stop)
    iterations = config.num_train_iters
    if stopped:
        print("the warm start was stopped; resume=true begins it anew")
        iterations, checkpoints = 0, None
    title = f"{run.path.name} (seed {config.seed})"
    recorder = Recorder(run, log, checkpoints, photos.validation, schedule, title, done)
    stopped |= fit(
        model,
        batches(config.warm_start_iters + (done or 0)),
        iterations,
        config.eval_step,
        [stop, recorder] if run.writes else [stop],
        schedule,
        first=done or 0,
        verbose=int(run.writes),
    )
    if run.writes:
        seconds = time.monotonic() - start
        summary = summarise(config, recorder, photos, seconds, check_data(run, photos))
        write_json(run.path / "summary.json", summary)
        print_summary(summary, run)
    return signal.SIGTERM if stopped and stop.received is None else stop.received


def restore(checkpoints, run, strategy):
    """Restores a run's newest checkpoint in every worker.

    Args:
        checkpoints: the run's `Checkpoints`.
        run: `RunFolder`.
        strategy: of `tf.distribute`.

    Returns:
        Its iteration; None where there is none.

    Raises:
        UserError: if another worker has found another one, or if there is none although there were.
    """
    done = checkpoints.restore()
    if not agree(strategy, -1 if done is None else done):
        raise UserError(
            f"run={run.path.name}: the workers found different checkpoints in {run.path}; "
            "expected a folder that all of them share"
        )
    if done is None:
        if checkpoints.log.iterations_on_disk():
            raise UserError(
                f"{checkpoints.folder}: no checkpoint, but {checkpoints.log.path} tells of "
                "iterations; a new run takes another name"
            )
        print(f"{run.path}: no checkpoint yet; the run begins anew")
    return done


def set_seed_and_precision(config):
    """Sets Keras's seeds, TensorFlow's determinism and the dtype policy of networks made later."""
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
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


def build_model(config):
    """A compiled and built `WESPE`.

    Args:
        config: `TrainConfig`.

    Raises:
        UserError: if the VGG weights cannot be had or the border leaves no patch.
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


def fit_guide(model, guide, source):
    """Solves the last layers of G and F of a `WESPE` for the guide of source patches, and back."""
    colors = GuidedStream(source, guide.transfer)
    patches, transferred = map(np.stack, zip(*(colors[n] for n in range(FITTED_PATCHES))))
    patches, transferred = patches / np.float32(255), transferred / np.float32(255)
    fit_last_layer(model.generator, patches, transferred)
    if guide.noise_filter is not None:
        filter_last_layer(model.generator, guide.noise_filter)
    fit_last_layer(model.inverse_generator, transferred, patches)


def warm_start(model, data, strategy, config, stop):
    """Trains G and F of a `WESPE` on the guide of the source patches, and back.

    Returns:
        Whether it was stopped before its end.
    """
    with strategy.scope():
        warm = WarmStart(model.generator, model.inverse_generator, config.border)
        learning_rate = rising_cosine(config.warm_start_learning_rate, config.warm_start_iters)
        optimizer = keras.optimizers.Adam(learning_rate, epsilon=1e-8)
        warm.compile(optimizer, jit_compile=False)
        optimizer.build(warm.trainable_variables)
    writes = int(is_chief(strategy))
    iterations = config.warm_start_iters
    return fit(warm, data, iterations, iterations, [stop], verbose=writes)


def check_data(run, photos):
    """Digests of the photos; those a run begins with are kept in its `data.json`.

    Says so where they are others by now.

    Args:
        run: `RunFolder`.
        photos: `Photos`.

    Returns:
        Dictionary from `source` and `target` to a stream's `digest()`.

    Raises:
        UserError: if `data.json` cannot be read or written.
    """
    path = run.path / "data.json"
    streams = {"source": photos.source, "target": photos.target}
    found = {side: stream.digest() for side, stream in streams.items()}
    if not path.exists():
        write_json(path, found)
        return found
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        changed = [stream for side, stream in streams.items() if before[side] != found[side]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: expected the digests of source and target") from error
    for stream in changed:
        print(
            f"warning: {stream.key}={stream.folder}: its photos are not those with which the run "
            "began"
        )
    return found


def summarise(config, recorder, photos, seconds, data):
    """What `summary.json` holds; its keys are part of the interface.

    Args:
        config: `TrainConfig`.
        recorder: the run's `Recorder`.
        photos: the run's `Photos`.
        seconds: wall time of the training, of this process.
        data: digests of the photos, see `check_data`.

    Returns:
        Dictionary that JSON can hold; `validation` is null without pairs.
    """
    evaluations, validation = recorder.evaluations, photos.validation
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
            "code": code_state(),
        },
        "hardware": {
            "processor": hardware.processor(),
            "cores": os.cpu_count(),
            "gpus": hardware.gpus(),
        },
        "data": data,
    }


def code_state():
    """The commit of this code, with `-dirty` where files differ from it; None without Git."""
    # An installed copy may lie within somebody else's repository.
    if not (Path(__file__).resolve().parents[1] / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
        )
    except OSError:
        return None
    return done.stdout.strip() or None


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
