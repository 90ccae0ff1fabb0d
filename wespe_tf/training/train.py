"""From settings to a trained generator: data, model, `fit`, run folder."""

import dataclasses
import json
import signal
import sys
import time
from pathlib import Path

import keras
import tensorflow as tf

from ..config.schema import TrainConfig
from ..data.batches import training_data
from ..data.patches import CACHE_BYTES, CROPS_PER_VISIT, PatchStream, PhotoCache
from ..data.sources import data_folders
from ..errors import UserError
from ..files import write_json
from ..guide.guide import Guide
from ..models.wespe import WESPE
from ..progress import progress, say
from .build import build_model
from .checkpoints import Checkpoints, Log
from .distribution import agree, gone_workers, is_chief, make_strategy
from .loop import Progress, fit
from .recorder import Recorder, StopOnSignal, log_columns
from .run_folder import RunFolder
from .schedule import make_schedule
from .summary import has_bfloat16_units, print_summary, summarize
from .validation import Validation
from .warm_start import divide_detail, fit_guide, warm_start


def train(config: TrainConfig) -> Path:
    """Trains a generator and writes a run folder.

    A resumed run continues from its newest undamaged checkpoint.

    Returns:
        `Path` of the run folder.

    Raises:
        UserError: if data or weights cannot be read, or the run folder cannot be used (nothing is
            written then), or if another worker has stopped.
        SystemExit: if a signal ended the run. The exit code is 128 + the signal's number.
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


def check_distribution(config: TrainConfig, devices: int) -> None:
    """Raises a `UserError` if the settings do not work on this number of devices."""
    if config.batch_size % devices:
        raise UserError(
            f"batch_size={config.batch_size}: expected a multiple of the {devices} devices"
        )
    # Each device would look only at its own gradients for an overflow, and skip the step alone.
    if config.precision == "float16" and devices > 1:
        raise UserError(
            f"precision=float16: expected bfloat16 or float32 on {devices} devices, which cannot "
            "share a loss scale"
        )
    if config.distribute == "multi_worker" and config.run is None:
        raise UserError("distribute=multi_worker: expected run=NAME, the same for all workers")


@dataclasses.dataclass
class Photos:
    """The photos that a run learns from, and those that score it.

    Attributes:
        source: `PatchStream` of the photos to enhance.
        target: `PatchStream` of the good photos.
        validation: `Validation`.
        guide: `Guide` from source to target; None if neither a loss nor the warm start needs it.
    """

    source: PatchStream
    target: PatchStream
    validation: Validation
    guide: Guide | None

    @classmethod
    def of(cls, config: TrainConfig) -> "Photos":
        """Opens the photos that the settings name.

        Raises:
            UserError: if they cannot be read.
        """
        folders = data_folders(config)
        # One cache for both, so that the validation need not decode the photos again.
        cache = PhotoCache(2 * CACHE_BYTES)
        source, target = (
            PatchStream(
                *(folder, config.patch_size, seed, key, config.view_share),
                cache=cache,
                # So many more are cut, but photos are not decoded more often.
                crops_per_visit=candidates * CROPS_PER_VISIT,
            )
            for folder, seed, key, candidates in (
                (folders.source, config.seed, "source_dir", 1),
                (folders.target, config.seed + 1, "target_dir", config.target_candidates),
            )
        )
        guide = None
        if config.warm_start_iters or config.weights["guide"]:
            guide = Guide.fit(source.samples, target.samples, config.noise_filter)
        validation = Validation(
            *(source, target, folders.val_source, folders.val_target),
            # Without a guide, no batch has context.
            0 if guide is None else config.context_patches,
        )
        return cls(source, target, validation, guide)


def train_in(
    run: RunFolder,
    config: TrainConfig,
    strategy: tf.distribute.Strategy,
    photos: Photos,
    model: WESPE,
) -> int | None:
    """Trains in a run folder. A resumed run starts from its newest checkpoint.

    Args:
        run: `RunFolder`.
        config: `TrainConfig`.
        strategy: made by `make_strategy`.
        photos: `Photos`.
        model: a compiled and built `WESPE`, made in the strategy's scope.

    Returns:
        Number of the signal that ended the run (SIGTERM if another worker got it), or None.

    Raises:
        UserError: see `fit` and `restore`.
    """
    source, target = photos.source, photos.target
    print(f"{source.folder}: {len(source.paths)} pictures → {target.folder}: {len(target.paths)}")
    print(
        f"run folder: {run.path}; look at its figures/, which change every "
        f"{config.eval_step} iterations"
    )
    start = time.monotonic()
    stop = StopOnSignal()
    schedule = make_schedule(config)
    log = Log(run.path / "log.csv", log_columns(model.loss_names()))
    kept = Checkpoints(run.path, model, schedule, log, config.keep_checkpoints)
    done = restore(kept, run, strategy) if config.resume else None
    if run.writes:
        check_data(run, photos)

    def batches(first: int) -> tf.data.Dataset:
        return training_data(
            *(source, target, config.batch_size, photos.guide, first),
            strategy=strategy,
            candidates=config.target_candidates,
            context=config.context_patches,
        )

    stopped = False
    if photos.guide is not None:
        divide_detail(model, photos.guide)
        if done is None:
            fit_guide(model, photos.guide, source, config.context_patches)
    iterations, warm_iterations = config.num_train_iters, config.warm_start_iters
    first = 0 if done is None else warm_iterations + done
    with progress(
        total=warm_iterations + iterations, initial=first, disable=None if run.writes else True
    ) as bar:
        shown = Progress(bar)
        if done is None and warm_iterations:
            say(f"warm start: {warm_iterations} iterations on the guide")
            shown.begin("warm start")
            stopped = warm_start(model, batches(0), strategy, config, [stop, shown])
        if stopped:
            say("the warm start was stopped; resume=true starts it again")
            iterations = 0
        title = f"{run.path.name} (seed {config.seed})"
        checkpoints = None if stopped else kept
        recorder = Recorder(run, log, checkpoints, photos.validation, schedule, title, done)
        shown.begin("training")
        stopped |= fit(
            model,
            batches(warm_iterations + (done or 0)),
            iterations,
            config.eval_step,
            [stop, recorder, shown] if run.writes else [stop],
            schedule,
            first=done or 0,
        )
    if run.writes:
        seconds = time.monotonic() - start
        summary = summarize(config, recorder, photos, seconds, check_data(run, photos))
        write_json(run.path / "summary.json", summary)
        print_summary(summary, run)
    return signal.SIGTERM if stopped and stop.received is None else stop.received


def restore(
    checkpoints: Checkpoints, run: RunFolder, strategy: tf.distribute.Strategy
) -> int | None:
    """Restores a run's newest checkpoint in every worker.

    Returns:
        Its iteration; None if there is no checkpoint yet.

    Raises:
        UserError: if no checkpoint can be read, if the workers found different checkpoints, or if
            the log has iterations but no checkpoint is left.
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
                f"{checkpoints.folder}: no checkpoint, but {checkpoints.log.path} has "
                "iterations; give a new run another name"
            )
        print(f"{run.path}: no checkpoint yet; the run starts again")
    return done


def set_seed_and_precision(config: TrainConfig) -> None:
    """Sets Keras's seeds, TensorFlow's determinism and the dtype policy of networks made later."""
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(config.seed)
    precision = chosen_precision(config.precision)
    keras.config.set_dtype_policy(precision if precision == "float32" else f"mixed_{precision}")


def chosen_precision(precision: str) -> str:
    """The precision that `auto` stands for on this machine. Other values are returned as given."""
    if precision != "auto":
        return precision
    able = has_bfloat16_units()
    chosen = "bfloat16" if able else "float32"
    have = "has" if able else "has no"
    print(f"precision: {chosen}, because the processor {have} units for bfloat16")
    return chosen


def check_data(run: RunFolder, photos: Photos) -> dict[str, str]:
    """Compares the photos with the digests in the run's `data.json`, and warns if they changed.

    A new run writes this file.

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
        print(f"warning: {stream.key}={stream.folder}: the photos have changed since the run began")
    return found
