"""A trained model as TFLite files, each verified before any is written."""

import dataclasses
import hashlib
import importlib.metadata
import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from ..errors import UserError
from ..files import make_folder, write_atomically, write_json
from ..models.staged import Staged, reach
from ..weights.generator import find_model, load_generator
from .conversion import FORMATS, INPUT, OUTPUT, SIGNATURE, convert
from .photos import find_photos, fitted
from .portable import frozen_affines, portable
from .verification import markdown, reference_psnr, verify

# Where the shapes are free, files are verified at these sizes: one even, one odd.
SIZES = ((384, 512), (251, 334))

# Norms that look at one pixel at a time, so that tiles of a photo agree with the whole.
LOCAL_NORMS = ("batch", "none")


def export(config):
    """Writes the files that the settings name, after verifying each.

    Args:
        config: `ExportConfig`.

    Raises:
        UserError: if the model is no generator, there are no photos, a file is there already, the
            graph cannot take the shape, or a file fails its verification; nothing is written
            then.
    """
    formats, shape = _formats(config.formats), _shape(config)
    path = find_model(config.model, config.models_orig_dir)
    name, output = _name(path), Path(config.output)
    table = output / f"{name}_export.md"
    files = {form: output / f"{name}_{form}.tflite" for form in formats}
    _check_free([table, *files.values()], config.overwrite)
    generator = load_generator(path)
    _check_size(shape, generator)
    calibration, pairs = find_photos(config, "int8" in formats)
    make_folder(output)

    affines = None
    if config.export_norm == "frozen":
        affines = frozen_affines(generator, calibration)
    sizes = SIZES if shape is None else (shape,)
    photos = [[(fitted(p, size), fitted(t, size)) for p, t in pairs] for size in sizes]
    photos = [pair for at_one_size in photos for pair in at_one_size]
    network = _runner(generator, affines)
    expected = [(photo, network(photo[None])[0]) for photo, _ in photos]
    report = {"model": name, "norm": config.export_norm, "io": config.io, "shape": shape}
    if affines is not None:
        report["frozen_norm"] = _cost(_runner(generator), photos, expected)

    graph, results, contents = portable(generator, affines), [], {}
    with tempfile.TemporaryDirectory() as folder:
        for form in formats:
            print(f"{form}: converting and verifying …", flush=True)
            made = convert(graph, form, shape, config.io, calibration)
            twin = made
            if config.io == "uint8":
                twin = convert(graph, form, shape, "float32", calibration)
            contents[form] = made
            results.append(verify(folder, form, made, twin, expected, shape is not None))
    report["files"] = [dataclasses.asdict(result) for result in results]
    lines = markdown(report, results)
    print("\n".join(lines))

    failures = [f"{r.format}: {reason}" for r in results for reason in r.failures]
    if failures and not config.force:
        raise UserError(
            f"{'; '.join(failures)}; nothing is written, force=true writes all the same"
        )
    local = affines is not None or generator.norm in LOCAL_NORMS
    margin = reach(generator)
    for form, target in files.items():
        described = _described(config, name, form, shape, contents[form], local, margin)
        write_json(target.with_suffix(".json"), described)
        write_atomically(target, contents[form])
    write_json(table.with_suffix(".json"), report)
    write_atomically(table, "\n".join([*lines, ""]).encode())
    print(f"results are in {output}")


def _formats(text):
    formats = list(dict.fromkeys(part.strip() for part in text.split(",")))
    if not set(formats) <= set(FORMATS):
        raise UserError(f"formats={text}: expected some of {','.join(FORMATS)}")
    return formats


def _shape(config):
    height, width = config.height, config.width
    if bool(height) != bool(width):
        raise UserError(f"height={height} width={width}: expected both, or neither for any size")
    return (height, width) if height else None


def _check_size(shape, generator):
    """LiteRT counts the values of a tensor in 32 bits."""
    largest = (2**31 - 1) // generator.width
    if shape is not None and shape[0] * shape[1] > largest:
        raise UserError(
            f"height={shape[0]} width={shape[1]}: the graph's tensors cannot take more than "
            f"{largest} pixels; enhance such photos in tiles"
        )


def _name(path):
    """What a model's files are called after: its run, or its own file."""
    if path.name == "generator.keras":
        return path.resolve().parent.name
    return path.name.removesuffix(".keras").removesuffix(".ckpt")


def _check_free(targets, overwrite):
    for target in (t for path in targets for t in (path, path.with_suffix(".json"))):
        if target.exists() and not overwrite:
            raise UserError(f"{target}: is there already and kept; overwrite=true replaces it")


def _runner(generator, affines=None):
    """Function of (1, H, W, 3) arrays: the Keras model, with frozen norms where affines are given.

    Nothing of what is exported takes part, so that it can be compared with.
    """
    if affines is None:
        run = tf.function(generator, reduce_retracing=True, autograph=False)
        return lambda photo: run(photo).numpy()
    staged = Staged(generator)
    return lambda photo: keras.ops.convert_to_numpy(
        staged([photo, affines[None], np.ones((*photo.shape[:3], 1), np.float32)])
    )


def _cost(live, photos, frozen):
    """What frozen norms change: PSNR to the live norm's results and, with targets, to these."""
    before = [live(photo[None])[0] for photo, _ in photos]
    after = [enhanced for _, enhanced in frozen]
    cost = {"psnr_to_live": reference_psnr(after, before)}
    targets = [target for _, target in photos]
    if None not in [None if target is None else True for target in targets]:
        cost["psnr_live"] = reference_psnr(before, targets)
        cost["psnr_frozen"] = reference_psnr(after, targets)
        cost["cost"] = cost["psnr_live"] - cost["psnr_frozen"]
    return cost


def _described(config, name, form, shape, content, local, margin):
    """What the JSON file beside a model says."""
    values = "0 to 255" if config.io == "uint8" else "0 to 1"
    picture = {
        "dtype": config.io,
        "shape": [1, *(shape or (None, None)), 3],
        "layout": "batch, height, width, RGB",
        "values": values,
    }
    enhanced = {} if config.io == "uint8" else {"note": "not clipped: clip before showing"}
    return {
        "model": name,
        "format": form,
        "sha256": hashlib.sha256(content).hexdigest(),
        "signature": SIGNATURE,
        "input": {"name": INPUT, **picture},
        "output": {"name": OUTPUT, **picture, **enhanced},
        "norm": config.export_norm,
        "tiles_exact": local,
        "margin": margin,
        "versions": {
            package: importlib.metadata.version(package)
            for package in ("tensorflow", "keras", "ai-edge-litert", "ai-edge-quantizer")
        },
    }
