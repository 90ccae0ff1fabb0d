"""Whole photos in, enhanced photos out: the command `test_model.py` / `wespe-test`."""

import collections
import dataclasses
import glob
import inspect
import json
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import keras
import numpy as np
import tensorflow as tf
from PIL import Image
from tqdm import tqdm

from . import litert, metrics
from .config import TestConfig, help_text, load
from .data.folders import find_pairs, find_pictures, natural_order
from .errors import UserError, first_line, run_command
from .images import SUFFIXES, limit_megapixels, read_picture, write_picture
from .memory import COPIES, Budget, limit_of_photo, room_of_photos
from .models.generator import Generator, kernel_bytes
from .photos import FORMATS, Photo, pixel_bytes, read_photo, to_8_bits, write_photo
from .reference import is_checkpoint, load_checkpoint
from .report import pictures_of, write_report
from .runtimes import Runtime, choose_runtime
from .tiles import Enhancer, Plan
from .untrusted import ChildFailed, read_arrays

USAGE = """\
usage: python test_model.py input=PHOTO_FOLDER_OR_PATTERN [model=MODEL] [output=FOLDER] [target=…]
       python test_model.py model=iphone_orig [dped_dir=dped/] [test_subset=…] [resolution=…]

Writes <photo>_enhanced.png and <photo>_before_after.png for every photo, with its EXIF, XMP,
transparency and 16 bits; with target= prints PSNR and SSIM of each. Without input= it enhances
DPED's full-size test photos, as the authors' command of this name does."""

# Height and width of DPED's photos, and of the centre crops that `resolution` names.
NATIVE_SIZES = {"iphone": (1536, 2048), "blackberry": (1560, 2080), "sony": (1944, 2592)}
CROP_SIZES = {
    "high": (1260, 1680),
    "medium": (1024, 1366),
    "small": (768, 1024),
    "tiny": (600, 800),
}

# The trained model that comes with the project, models/README.md; used where none is named.
SHIPPED_MODEL = Path(__file__).resolve().parent.parent / "models" / "phone_bench.keras"

# How the results' names end, before their suffix.
ENHANCED, BEFORE_AFTER = "_enhanced", "_before_after"
# What runtimes raise where they cannot run a network, for want of memory above all.
RUNTIME_ERRORS = (RuntimeError, MemoryError, tf.errors.OpError)


def main(arguments):
    """Runs `test_model.py` with the given `key=value` arguments."""
    if {"-h", "--help", "help"} & set(arguments):
        print(help_text(TestConfig, USAGE))
        return
    config = load(TestConfig, arguments)
    if not config.use_gpu:
        tf.config.set_visible_devices([], "GPU")
    if config.input is None:
        enhance_test_photos(config)
    else:
        enhance_files(config)


def command():
    """The console script `wespe-test`."""
    run_command(main)


@dataclasses.dataclass
class Task:
    """One photo to enhance.

    Attributes:
        path: of the photo.
        target: of the picture to score against, or None.
        name: of its results below the output folder, without suffix.
    """

    path: str
    target: str | None
    name: str


def enhance_files(config):
    """Enhances the photos that the settings name and writes the results.

    A result that is there already is kept unless `overwrite` says otherwise. Of several photos a
    bad one does not end the work: it is named at the end, with exit status 1.

    Args:
        config: `TestConfig`.

    Raises:
        UserError: if the model or the only photo cannot be read, or its result cannot be written.
    """
    enhancer = make_enhancer(config)
    limit_megapixels(config.max_megapixels)
    tasks = find_tasks(config.input, config.target, config.output)
    _check_formats(tasks, config)
    output = Path(config.output)
    make_folder(output)
    new = [t for t in tasks if config.overwrite or not os.path.isfile(_result_path(t, config))]
    if len(new) < len(tasks):
        print(f"{len(tasks) - len(new)} of {len(tasks)} are in {output} already; overwrite=true")

    batch = _Batch(config, enhancer, len(tasks) > 1)
    batch.run(new)
    scores = [record.score for record in batch.records if record.score is not None]
    if scores:
        print("mean of {}: PSNR {:.2f} dB   SSIM {:.4f}".format(len(scores), *np.mean(scores, 0)))
    if config.report:
        enhancer.release()
        _report(tasks, batch.records, config)
    print(f"results are in {output}")
    if batch.failures:
        for error in batch.failures:
            print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


def _check_formats(tasks, config):
    """Refuses before anything is computed what could not be written in the end."""
    for task in tasks if config.format == "same" else []:
        if Path(task.path).suffix.lower() not in FORMATS:
            expected = ", ".join(FORMATS)
            raise UserError(f"format=same: {task.path}: expected one of the formats {expected}")


def _report(tasks, records, config):
    """Writes the page of all photos whose results are there, whenever they were made."""
    shown = [task for task in tasks if os.path.isfile(_before_after_path(task, config))]
    if not shown:
        return
    numbers = {record.task.name: record.numbers() for record in records}
    limit_megapixels(2 * config.max_megapixels)  # Before and after are one picture.
    path = Path(config.output) / "report.html"
    write_report(path, _entries(shown, numbers, config), len(shown))
    print(f"{path} shows them")


def _entries(tasks, numbers, config):
    """What `write_report` takes, from the files: pictures of many photos would fill the memory."""
    for task in tasks:
        both = read_photo(_before_after_path(task, config)).pixels
        earlier = f"{both.shape[1] // 2}×{both.shape[0]}   from an earlier run"
        yield task.path, numbers.get(task.name, earlier), *pictures_of(both)


@dataclasses.dataclass
class Record:
    """What is known of an enhanced photo.

    Attributes:
        task: `Task`.
        size: (width, height), pixels.
        plan: `Plan` by which it was enhanced.
        runtime: `Runtime` that did it.
        seconds: that it took, without reading and writing.
        score: (PSNR in dB, SSIM) against the target, or None.
    """

    task: Task
    size: tuple
    plan: Plan
    runtime: Runtime
    seconds: float
    score: tuple | None

    def numbers(self):
        """Size, plan, runtime, seconds and scores as one line."""
        parts = [f"{self.size[0]}×{self.size[1]}", str(self.plan), str(self.runtime)]
        parts.append(f"{self.seconds:.1f} s")
        if self.score is not None:
            parts.append("PSNR {:.2f} dB   SSIM {:.4f}".format(*self.score))
        return "   ".join(parts)


class _Batch:
    """Photos enhanced one after another; the next is read and the last written meanwhile.

    Attributes:
        records: a `Record` of every photo that is done.
        failures: what went wrong with every other one.
    """

    def __init__(self, config, enhancer, several):
        self.config, self.enhancer, self.several = config, enhancer, several
        self.budget = Budget(room_of_photos(config.memory_limit))
        self.records, self.failures = [], []

    def run(self, tasks):
        """Enhances photos; a failure ends it only where there is one photo altogether."""
        writing = None
        with (
            ThreadPoolExecutor(1) as reader,
            ThreadPoolExecutor(1) as writer,
            tqdm(total=len(tasks), unit="photo", disable=len(tasks) < 2) as bar,
            self.budget,
        ):
            for reading in _one_ahead(reader, self._read, tasks):
                done = self._guarded(self._enhance, reading)
                # Here and in `_one_ahead` nothing keeps a photo alive that has been given back.
                del reading
                self._guarded(_settle, writing)
                writing = writer.submit(self._write, *done) if done else None
                if done:
                    bar.write(f"{done[0].task.path}: {done[0].numbers()}")
                del done
                bar.update()
            self._guarded(_settle, writing)

    def _guarded(self, function, *arguments):
        """What a function returns, or None where it fails by a `UserError`, which is kept."""
        try:
            return function(*arguments)
        except UserError as error:
            if not self.several:
                raise
            self.failures.append(str(error))  # The error itself would keep its photo.

    def _read(self, task):
        """A photo with its result's place beside it."""
        size, limit = pixel_bytes(task.path), self.config.memory_limit
        needed = limit_of_photo(size)
        if needed > limit and self.config.mode != "whole":
            raise UserError(
                f"{task.path}: memory_limit={limit:g} is too little, expected at least "
                f"{np.ceil(100 * needed) / 100:g}"
            )
        share = COPIES * size
        self.budget.take(share)
        try:
            photo = read_photo(task.path)
            height, width = photo.pixels.shape[:2]
            both = np.empty((height, 2 * width, 3), photo.pixels.dtype)
            both[:, :width] = photo.pixels
            return task, dataclasses.replace(photo, pixels=both[:, :width]), both, share
        except BaseException:
            self.budget.give_back(share)
            raise

    def _enhance(self, reading):
        """A `Record`, and the photo with its result beside it."""
        task, photo, both, share = reading.result()
        try:
            height, width = photo.pixels.shape[:2]
            plan = self.enhancer.plan(photo.pixels, self.config.mode, self.config.memory_limit)
            start = time.monotonic()
            enhanced = both[:, width:]
            self.enhancer(photo.pixels, plan, self.config.strength, enhanced)
            seconds = time.monotonic() - start
            if share > self.budget.size:
                self.enhancer.release()  # Writing so large a photo takes the networks' room.
            score = _score(task, enhanced)
        except RUNTIME_ERRORS as error:
            self.budget.give_back(share)
            reason = first_line(error)
            raise UserError(f"{task.path}: cannot be enhanced ({reason})") from error
        except BaseException:
            self.budget.give_back(share)
            raise
        record = Record(task, (width, height), plan, self.enhancer.runtime, seconds, score)
        return record, photo, both, share

    def _write(self, record, photo, both, share):
        """Writes the results, and keeps the record of a photo of which they are there."""
        try:
            path = _result_path(record.task, self.config)
            beside = _before_after_path(record.task, self.config)
            make_folder(path.parent)
            if self.config.overwrite or not os.path.isfile(beside):
                write_photo(beside, Photo(both))
            enhanced = both[:, record.size[0] :]
            # Last: a photo of which it is there is done.
            write_photo(path, dataclasses.replace(photo, pixels=enhanced), self.config.quality)
            self.records.append(record)
        finally:
            self.budget.give_back(share)


def _one_ahead(pool, function, arguments):
    """Futures of `function` of each argument, the next one begun while one is worked on."""
    futures = collections.deque()
    for argument in arguments:
        futures.append(pool.submit(function, argument))
        if len(futures) == 2:
            yield futures.popleft()
    while futures:
        yield futures.popleft()


def _settle(future):
    if future is not None:
        future.result()


def _score(task, enhanced):
    """PSNR in dB and SSIM against the target, in 8 bits; None without one."""
    if task.target is None:
        return None
    target = read_picture(task.target)
    if target.shape != enhanced.shape:
        raise UserError(
            f"{task.target}: {target.shape[1]}×{target.shape[0]} pixels, but {task.path} has "
            f"{enhanced.shape[1]}×{enhanced.shape[0]}"
        )
    eight = to_8_bits(enhanced)
    return metrics.psnr(eight, target), metrics.ssim(eight, target)


def _result_path(task, config):
    suffix = Path(task.path).suffix if config.format == "same" else ".png"
    return Path(config.output) / f"{task.name}{ENHANCED}{suffix}"


def _before_after_path(task, config):
    return Path(config.output) / f"{task.name}{BEFORE_AFTER}.png"


def enhance_test_photos(config):
    """Enhances DPED's full-size test photos with the authors' keys, crops and file names.

    Unlike theirs, pixels are not rounded through float16, results are clipped where they leave
    [0, 1], and `iteration=all` means every checkpoint that is there. Where the settings leave it
    open a photo is enhanced as theirs does it: whole, in float32.

    Args:
        config: `TestConfig` without `input`.

    Raises:
        UserError: if the model, its checkpoints or the photos are not there.
    """
    phone = config.model.removesuffix("_orig")
    if phone not in NATIVE_SIZES:
        raise UserError(
            f"model={config.model}: give input=PHOTO_OR_FOLDER to enhance own photos, or a model "
            f"of DPED's test photos: {', '.join(NATIVE_SIZES)}, or these with _orig"
        )
    folder = Path(config.dped_dir) / phone / "test_data" / "full_size_test_images"
    photos = find_pictures(folder, "dped_dir")
    if config.test_subset == "small":
        photos = photos[:5]

    if config.model.endswith("_orig"):
        found = {"": find_model(config.model, config.models_orig_dir)}
    else:
        found = _iterations(phone, config.iteration)
    output = Path(config.output)
    make_folder(output)
    theirs = {"runtime": "keras", "precision": "float32", "mode": "whole"}
    chosen = {key: getattr(config, key) for key in theirs}
    asked = {key: theirs[key] if value == "auto" else value for key, value in chosen.items()}
    for label, checkpoint in found.items():
        runtime = choose_runtime(asked["runtime"], asked["precision"])
        enhancer = Enhancer(load_checkpoint(checkpoint), runtime, reflect=False)
        for path in photos:
            stage = label.replace("_", " ").strip()
            what = f"{stage}, " if stage else f"Testing original {phone} model, "
            print(f"{what}processing image {Path(path).name}")
            photo = _centre_crop(path, phone, config.resolution)
            enhanced = enhancer(photo, enhancer.plan(photo, asked["mode"], config.memory_limit))
            name = f"{config.model}_{Path(path).stem}{label}"
            write_picture(output / f"{name}{ENHANCED}.png", enhanced)
            write_picture(output / f"{name}{BEFORE_AFTER}.png", np.hstack([photo, enhanced]))


def _iterations(phone, iteration):
    """File name part and checkpoint of the iterations of an own model, in order."""
    found = {}
    for path in sorted(Path("models").glob(f"{phone}_iteration_*.ckpt.index"), key=natural_order):
        number = path.name.removeprefix(f"{phone}_iteration_").removesuffix(".ckpt.index")
        if number.isdigit() and iteration in ("all", number):
            found[f"_iteration_{number}"] = path.with_suffix("")
    if not found:
        wanted = "" if iteration == "all" else f" of iteration {iteration}"
        raise UserError(
            f"model={phone}: no checkpoint{wanted} models/{phone}_iteration_<i>.ckpt; "
            f"train it with train.py preset=dped model={phone}"
        )
    return found


def _centre_crop(path, phone, resolution):
    """A photo at its phone's native size, cut to `resolution`: (H, W, 3) uint8."""
    height, width = NATIVE_SIZES[phone]
    photo = read_picture(path)
    if photo.shape[:2] != (height, width):
        photo = np.asarray(Image.fromarray(photo).resize((width, height)))
    if resolution == "orig":
        return photo
    crop_height, crop_width = CROP_SIZES[resolution]
    top, left = (height - crop_height) // 2, (width - crop_width) // 2
    return photo[top : top + crop_height, left : left + crop_width]


def enhance(model, photo):
    """Enhances a photo: in one pass, or in tiles where that would take more than 1.5 GB.

    Args:
        model: a built `Generator`, run by Keras in float32, or an `Enhancer`, which is quicker for
            several photos.
        photo: (H, W, 3) uint8 or uint16 array.

    Returns:
        Array of the same shape and dtype.

    Raises:
        UserError: for a photo so large that not even small tiles fit beside it.
    """
    enhancer = model if isinstance(model, Enhancer) else Enhancer(model, choose_runtime("keras"))
    return enhancer(photo, enhancer.plan(photo))


def find_model(model, models_orig_dir="models_orig"):
    """The file that `model=` names.

    Args:
        model: path of a run folder, of a `.keras` or `.tflite` file or of a checkpoint (without
            `.index`), the name of a run in `models/`, or of one of the authors' models in
            `models_orig_dir`; empty for the model that comes with the project.
        models_orig_dir: folder of the authors' trained models.

    Returns:
        Path of the file, or of the checkpoint.

    Raises:
        UserError: if there is none.
    """
    if not model:
        if not SHIPPED_MODEL.is_file():
            raise UserError(f"model=: missing, and {SHIPPED_MODEL} is not there either")
        return SHIPPED_MODEL
    run = Path(model) / "generator.keras"
    for path in (Path(model), run, "models" / run):
        if path.is_file():
            return path
    for path in (Path(model), Path(models_orig_dir) / model):
        if is_checkpoint(path):
            return path
    raise UserError(
        f"model={model}: no such run folder, .keras file or checkpoint, here, in models/ or in "
        f"{models_orig_dir}/"
    )


def load_generator(model):
    """A trained `Generator` in float32.

    Args:
        model: see `find_model`.

    Returns:
        The generator.

    Raises:
        UserError: if there is no such file or it is not a generator of this project.
    """
    path = find_model(model) if isinstance(model, str) else model
    if is_checkpoint(path):
        return load_checkpoint(path)
    try:
        arrays = read_arrays(path, "keras")
        described = json.loads(str(arrays.pop("config.json")))
        name, options = described["registered_name"], described["config"]
    except (ChildFailed, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f"model={path}: not a readable .keras file ({first_line(error)})"
        ) from error
    if name != keras.saving.get_registered_name(Generator):
        raise UserError(f"model={path}: holds {str(name)[:60]!r}, expected a wespe_tf Generator")
    try:
        return _generator(options, arrays)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"model={path}: not a readable .keras file ({first_line(error)})"
        ) from error


def _generator(options, arrays):
    """A `Generator` of the options and weights of a file.

    Nothing else in the file counts: Keras's own loading would look up what it names.
    """
    if not isinstance(options, dict):
        raise ValueError("its options are none")
    options = {k: v for k, v in options.items() if k not in ("name", "trainable", "dtype")}
    unknown = set(options) - set(inspect.signature(Generator).parameters)
    if unknown:
        raise ValueError(f"unknown option {min(unknown)!r}")
    size = {key: options[key] for key in ("width", "blocks")}
    if kernel_bytes(**size) > sum(array.nbytes for array in arrays.values()):
        raise ValueError("it holds less than its options need")
    generator = Generator(**options, dtype="float32")
    generator.build((None, None, None, 3))
    with tempfile.TemporaryDirectory(prefix="wespe_tf-") as folder:
        weights = os.path.join(folder, "model.weights.h5")
        with h5py.File(weights, "w") as file:
            for name, array in arrays.items():
                file[name] = array
        generator.load_weights(weights)
    return generator


def make_enhancer(config):
    """What enhances photos with the model and the runtime that the settings name.

    Args:
        config: `TestConfig`.

    Returns:
        An `Enhancer`, or for a .tflite file a `LiteRTEnhancer`.

    Raises:
        UserError: if the model cannot be had, or not run as the settings ask.
    """
    path = find_model(config.model, config.models_orig_dir)
    if path.suffix == litert.SUFFIX:
        for key in ("runtime", "precision", "mode"):
            if getattr(config, key) not in ("auto", litert.LiteRTEnhancer.runtime):
                raise UserError(f"{key}={getattr(config, key)}: {path} runs as it was exported")
        return litert.LiteRTEnhancer(path)
    runtime = choose_runtime(config.runtime, config.precision)
    # Checkpoints give the authors' numbers, which have zero padding at the edges.
    return Enhancer(load_generator(path), runtime, reflect=not is_checkpoint(path))


def find_tasks(source, target, output):
    """What `input` and `target` name, less results of this command that lie among them.

    Args:
        source: a photo, a folder (with its sub-folders) or a pattern such as `day*/*.jpg`.
        target: for a photo a picture, for a folder one of equal names, to score against; or None.
        output: folder for the results.

    Returns:
        List of `Task`, not empty.

    Raises:
        UserError: if there is no such photo, or results of two would have one name.
    """
    folder = Path(output).resolve()

    def is_result(path):
        mine = Path(path).stem.endswith((ENHANCED, BEFORE_AFTER))
        return mine and folder in Path(path).resolve().parents

    if os.path.isdir(source):
        if target is None:
            pairs = [(path, None) for path in find_pictures(source, "input", is_result)]
        else:
            pairs = find_pairs(source, target, "input", "target", is_result)
        base = source
    elif os.path.exists(source):
        if target is not None and not os.path.isfile(target):
            raise UserError(f"target={target}: expected a photo, as input is one")
        pairs, base = [(source, target)], os.path.dirname(source)
    elif glob.has_magic(source):
        if target is not None:
            raise UserError("target: goes with a photo or a folder, not with a pattern")
        paths = [p for p in glob.glob(source, recursive=True) if p.lower().endswith(SUFFIXES)]
        paths = [path for path in paths if not is_result(path)]
        if not paths:
            raise UserError(f"input={source}: no picture fits")
        pairs = [(path, None) for path in sorted(paths, key=natural_order)]
        base = os.path.commonpath([os.path.dirname(path) or "." for path in paths])
    else:
        raise UserError(f"input={source}: no such file or folder")
    found = {}
    for path, partner in pairs:
        name = os.path.splitext(os.path.relpath(path, base or "."))[0]
        if name in found:
            raise UserError(f"input: {found[name].path} and {path} would give results of one name")
        found[name] = Task(path, partner, name)
    return list(found.values())


def make_folder(path):
    """Makes the folder of the setting `output`, with those above it.

    Raises:
        UserError: naming it, if it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"output={path}: cannot be made ({error.strerror})") from error
