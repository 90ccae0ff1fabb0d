"""Whole photos in, enhanced photos out: the command `test_model.py` / `wespe-test`."""

import json
import os
import zipfile
from pathlib import Path

import keras
import numpy as np
from keras import ops

from . import metrics
from .config import TestConfig, help_text, load
from .data.folders import find_pairs, find_pictures
from .errors import UserError, run_command
from .images import read_picture, to_uint8, write_picture
from .models.generator import Generator

USAGE = """\
usage: python test_model.py model=MODEL input=PHOTO_OR_FOLDER [output=FOLDER] [target=…]

Writes <photo>_enhanced.png and <photo>_before_after.png for every photo; with target= prints
PSNR and SSIM of each."""

# Half the generator's receptive field: how far the photo's edge, zero padding, is felt.
REACH = 18


def main(arguments):
    """Runs `test_model.py` with the given `key=value` arguments."""
    if {"-h", "--help", "help"} & set(arguments):
        print(help_text(TestConfig, USAGE))
        return
    enhance_files(load(TestConfig, arguments))


def command():
    """The console script `wespe-test`."""
    run_command(main)


def enhance_files(config):
    """Enhances the photos that the settings name and writes the results.

    Args:
        config: `TestConfig`.

    Raises:
        UserError: if the model or a photo cannot be read, or a result cannot be written.
    """
    for key in ("model", "input"):
        if not getattr(config, key):
            raise UserError(f"{key}=: missing; {USAGE.splitlines()[0]}")
    generator = load_generator(config.model)
    photos = _photos(config.input, config.target)
    output = Path(config.output)
    _make_folder(output)

    scores = []
    for path, target_path in photos:
        photo = read_picture(path)
        enhanced = enhance(generator, photo)
        name = _result_name(path, config.input)
        _make_folder((output / name).parent)
        write_picture(output / f"{name}_enhanced.png", enhanced)
        write_picture(output / f"{name}_before_after.png", np.hstack([photo, enhanced]))
        line = f"{path}: {photo.shape[1]}×{photo.shape[0]}"
        if target_path is not None:
            target = read_picture(target_path)
            if target.shape != photo.shape:
                raise UserError(
                    f"{target_path}: {target.shape[1]}×{target.shape[0]} pixels, but {path} has "
                    f"{photo.shape[1]}×{photo.shape[0]}"
                )
            scores.append((metrics.psnr(enhanced, target), metrics.ssim(enhanced, target)))
            line += "   PSNR {:.2f} dB   SSIM {:.4f}".format(*scores[-1])
        print(line)
    if scores:
        print("mean of {}: PSNR {:.2f} dB   SSIM {:.4f}".format(len(scores), *np.mean(scores, 0)))
    print(f"results are in {output}")


def enhance(generator, pictures):
    """Enhances pictures of any one size in a single pass.

    The pictures are continued by reflection beyond their edges while the network runs, so that
    the zero padding of its convolutions leaves no frame.

    Args:
        generator: a `Generator`, or another model from (N, H, W, 3) in [0, 1] to the same.
        pictures: (H, W, 3) or (N, H, W, 3) uint8 array.

    Returns:
        uint8 array of the same shape.
    """
    batch = pictures.reshape(-1, *pictures.shape[-3:])
    height, width = pictures.shape[-3:-1]
    frame = ((0, 0), (REACH, REACH), (REACH, REACH), (0, 0))
    inputs = np.pad(batch, frame, mode="symmetric").astype(np.float32) / 255
    outputs = ops.convert_to_numpy(generator(inputs, training=False))
    inner = outputs[:, REACH : REACH + height, REACH : REACH + width]
    return to_uint8(inner).reshape(pictures.shape)


def load_generator(model):
    """A trained `Generator` in float32.

    Args:
        model: path of a run folder or of a `.keras` file, or the name of a run in `models/`.

    Returns:
        The generator.

    Raises:
        UserError: if there is no such file or it is not a generator of this project.
    """
    candidates = [Path(model), Path(model) / "generator.keras"]
    candidates.append(Path("models") / model / "generator.keras")
    path = next((path for path in candidates if path.is_file()), None)
    if path is None:
        raise UserError(f"model={model}: no such run folder or .keras file")
    try:
        with zipfile.ZipFile(path) as archive:
            name = json.loads(archive.read("config.json"))["registered_name"]
    except (OSError, zipfile.BadZipFile, KeyError, TypeError, ValueError) as error:
        raise UserError(f"model={path}: not a readable .keras file") from error
    if name != keras.saving.get_registered_name(Generator):
        raise UserError(f"model={path}: holds {name}, expected a wespe_tf Generator")
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except (OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"model={path}: a damaged .keras file ({reason})") from error


def _result_name(path, source):
    """What a photo's results are called below the output folder: sub-folders are kept."""
    if not os.path.isdir(source):
        return Path(path).stem
    return os.path.splitext(os.path.relpath(path, source))[0]


def _make_folder(path):
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"output={path}: cannot be made ({error.strerror})") from error


def _photos(source, target):
    """(photo path, target path or None) for everything that `input` and `target` name."""
    if os.path.isdir(source):
        if target is None:
            return [(path, None) for path in find_pictures(source, "input")]
        return find_pairs(source, target, "input", "target")
    if not os.path.exists(source):
        raise UserError(f"input={source}: no such file or folder")
    if target is not None and not os.path.isfile(target):
        raise UserError(f"target={target}: expected a photo, as input is one")
    return [(source, target)]
