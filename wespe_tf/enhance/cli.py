"""The command `test_model.py` / `wespe-test`: enhances whole photos."""

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

from ..config.command import as_command
from ..config.schema import TestConfig
from ..errors import UserError
from ..files import make_folder
from ..images.opening import limit_megapixels
from ..weights.generator import find_model, load_generator
from ..weights.tf1_checkpoint import is_checkpoint
from . import litert
from .batch import Batch
from .dped_photos import enhance_test_photos
from .origins import ANOTHER_PHOTO, CHANGED, NEW, SAME, UNKNOWN, Origins
from .report import write_page
from .runtimes import choose_runtime
from .tasks import Task, find_tasks, result_path, told_formats
from .tiles import Enhancer

USAGE = """\
usage: python test_model.py input=PHOTO_FOLDER_OR_PATTERN [model=MODEL] [output=FOLDER] [target=…]
       python test_model.py model=iphone_orig [dped_dir=dped/] [test_subset=…] [resolution=…]

Writes <photo>_enhanced.png and <photo>_before_after.png for every photo. Keeps its EXIF, XMP,
transparency and 16 bits. With target= it prints PSNR and SSIM of each photo. Without input= it
enhances DPED's full-size test photos, like the authors' command of the same name."""


@as_command(USAGE, TestConfig)
def main(config: TestConfig) -> None:
    """Runs `test_model.py`."""
    if not config.use_gpu:
        tf.config.set_visible_devices([], "GPU")
    if config.input is None:
        enhance_test_photos(config)
    else:
        enhance_files(config)


command = main.run  # The console script `wespe-test`.


def enhance_files(config: TestConfig) -> None:
    """Enhances the photos that the settings name and writes the results.

    A result that exists already is kept, unless `overwrite` is set, or its photo or the settings
    have changed. Among several photos, a bad one does not end the work. It is named at the end, and
    the exit status is 1. The same holds for a photo whose result would replace another photo's.

    Args:
        config: `TestConfig`.

    Raises:
        UserError: if the model or the only photo cannot be read, or its result cannot be written.
    """
    assert config.input is not None  # `main` enhances DPED's test photos without it.
    enhancer = make_enhancer(config)
    limit_megapixels(config.max_megapixels)
    tasks = find_tasks(config.input, config.target, config.output)
    for line in told_formats(tasks, config):
        print(line)
    output = Path(config.output)
    make_folder(output)
    origins = Origins(config, find_model(config.model, config.models_orig_dir))
    new, kept, failures = sort_out(tasks, origins, config)

    batch = Batch(config, enhancer, origins, len(tasks) > 1)
    batch.run(new)
    failures += batch.failures
    scores = [record.score for record in batch.records if record.score is not None]
    if scores:
        print("mean of {}: PSNR {:.2f} dB   SSIM {:.4f}".format(len(scores), *np.mean(scores, 0)))
    if config.report:
        enhancer.release()
        write_page([*kept, *new], batch.records, config)
    print(f"results are in {output}")
    if failures:
        for error in failures:
            print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


def sort_out(
    tasks: list[Task], origins: Origins, config: TestConfig
) -> tuple[list[Task], list[Task], list[str]]:
    """Finds the photos to enhance, and those that have results already. Prints how many.

    Args:
        tasks: tasks of all photos.
        origins: origins of the existing results.
        config: `TestConfig`.

    Returns:
        Photos to enhance; photos whose results are kept; and an error message for each photo whose
        result would replace that of another photo.
    """
    if config.overwrite:
        return tasks, [], []
    states = [origins.state(task) for task in tasks]
    by_state = {state: [t for t, s in zip(tasks, states) if s == state] for state in set(states)}
    unknown, same, changed = (by_state.get(state, []) for state in (UNKNOWN, SAME, CHANGED))
    count = len(unknown) + len(same)
    if count:
        print(
            f"{count} of {len(tasks)} are in {config.output} already; "
            "overwrite=true makes them again"
        )
    if unknown:
        print(f"{len(unknown)} of them: their photo and settings are not known")
    if changed:
        print(f"{len(changed)} of {len(tasks)} are made again: the photo or the settings changed")
    failures = [
        f"{task.path}: {result_path(task, config)} is of another photo, {origins.photo_of(task)}; "
        "choose another output=, or overwrite=true"
        for task in by_state.get(ANOTHER_PHOTO, [])
    ]
    new = [task for task, state in zip(tasks, states) if state in (NEW, CHANGED)]
    return new, [task for task, state in zip(tasks, states) if state in (UNKNOWN, SAME)], failures


def make_enhancer(config: TestConfig) -> Enhancer | litert.LiteRTEnhancer:
    """The enhancer with the model and the runtime that the settings name.

    Returns:
        An `Enhancer`, or for a .tflite file a `LiteRTEnhancer`.

    Raises:
        UserError: if the model cannot be read, or cannot run as the settings demand.
    """
    path = find_model(config.model, config.models_orig_dir)
    if path.suffix == litert.SUFFIX:
        for key in ("runtime", "precision", "mode"):
            if getattr(config, key) not in ("auto", litert.LiteRTEnhancer.runtime):
                raise UserError(f"{key}={getattr(config, key)}: {path} runs as it was exported")
        return litert.LiteRTEnhancer(path)
    runtime = choose_runtime(config.runtime, config.precision)
    # With checkpoints, results must equal those of the authors, whose code pads with zeros only.
    return Enhancer(load_generator(path), runtime, reflect=not is_checkpoint(path))
