"""Exports a trained model as TFLite files. All are verified before any is written."""

import dataclasses
import hashlib
import importlib.metadata
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ..config.schema import ExportConfig
from ..errors import UserError
from ..files import make_folder, write_atomically, write_json
from ..images.places import spread
from ..models.generator import Generator
from ..models.staged import Staged, measures_pictures, norms, reach
from ..progress import progress, say
from ..weights.generator import find_model, load_generator
from .conversion import FORMATS, Converter
from .photos import find_photos, fitted, whole_photo
from .portable import (
    BATCH,
    BATCHES,
    ENHANCE,
    MEASURE,
    MOMENTS,
    PATCH,
    frozen_affines,
    moments,
    portable,
)
from .verification import Case, markdown, reference_psnr, verify

# Files for photos of any size are verified at these sizes: one even, one odd.
SIZES = ((384, 512), (251, 334))

# Default side of an adaptive file's tiles in pixels; such a tile takes 0.2 GB with XNNPACK.
TILE = 256
# How many whole photos an adaptive file is verified with.
MOST_WHOLE_PHOTOS = 3


def export(config: ExportConfig) -> None:
    """Writes the files that the settings name, after all are verified.

    Raises:
        UserError: if the model is not a generator, there are no photos, a file exists already, the
            graph cannot take the shape, or a file fails its verification. Then nothing is written.
    """
    formats, shape = _formats(config.formats), _shape(config)
    path = find_model(config.model, config.models_orig_dir)
    name, output = _name(path), Path(config.output)
    table = output / f"{name}_export.md"
    files = {form: output / f"{name}_{form}.tflite" for form in formats}
    _check_free([table, *files.values()], config.overwrite)
    generator = load_generator(path)
    norm = _norm(config.export_norm, generator, shape)
    adaptive = norm == "adaptive"
    if adaptive:
        shape = _tile(shape or (TILE, TILE), generator)
    _check_size(shape, generator)
    calibration, pairs = find_photos(config, "int8" in formats)
    make_folder(output)

    affines = frozen_affines(generator, calibration) if norm == "frozen" else None
    sizes = SIZES if shape is None else (shape,)
    photos = [(fitted(p, size), fitted(t, size)) for size in sizes for p, t in pairs]
    network = _runner(generator, affines)
    cases = [Case(photo, network(photo[None])[0]) for photo, _ in photos]
    whole = []
    if adaptive:
        for case in cases:
            case.moments = moments(generator, case.photo[None])
        shrunk = [whole_photo(photo) for photo, _ in pairs[:MOST_WHOLE_PHOTOS]]
        whole = [Case(photo, network(photo[None])[0]) for photo in shrunk]
    report: dict[str, Any] = {"model": name, "norm": norm, "io": config.io, "shape": shape}
    if affines is not None:
        report["frozen_norm"] = _cost(_runner(generator), photos, [c.enhanced for c in cases])

    convert = Converter(portable(generator, affines), shape, calibration, adaptive)
    results, contents, descriptions = [], {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for form in progress(formats, desc="exporting"):
            say(f"{form}: converting and verifying …")
            made = convert(form, config.io)
            twin = made if config.io == "float32" else convert(form, "float32")
            contents[form] = made
            descriptions[form] = describe(name, form, norm, config.io, shape, made, generator)
            results.append(
                verify(
                    folder, form, made, twin, descriptions[form], cases, whole, shape is not None
                )
            )
    report["files"] = [dataclasses.asdict(result) for result in results]
    lines = markdown(report, results)
    print("\n".join(lines))

    failures = [f"{r.format}: {reason}" for r in results for reason in r.failures]
    if failures and not config.force:
        raise UserError(
            f"{'; '.join(failures)}; nothing is written; force=true writes the files anyway"
        )
    for form, target in files.items():
        write_json(target.with_suffix(".json"), descriptions[form])
        write_atomically(target, contents[form])
    write_json(table.with_suffix(".json"), report)
    write_atomically(table, "\n".join([*lines, ""]).encode())


def _formats(text: str) -> list[str]:
    formats = list(dict.fromkeys(part.strip() for part in text.split(",")))
    if not set(formats) <= set(FORMATS):
        raise UserError(f"formats={text}: expected some of {','.join(FORMATS)}")
    return formats


def _shape(config: ExportConfig) -> tuple[int, int] | None:
    height, width = config.height, config.width
    if bool(height) != bool(width):
        raise UserError(f"height={height} width={width}: expected both, or neither for any size")
    return (height, width) if height else None


def _norm(asked: str, generator: Generator, shape: tuple[int, int] | None) -> str:
    """How norms are exported: by `export_norm`, or for `auto` in the way that suits the shape."""
    if asked == "auto":
        return "adaptive" if shape is not None and _looks(generator) else "live"
    if asked == "adaptive" and not _looks(generator):
        raise UserError(
            "export_norm=adaptive: this model's norms do not look at the photo; expected "
            "export_norm=live, which works in tiles"
        )
    return asked


def _looks(generator: Generator) -> bool:
    """Whether a norm measures the photo. If none does, tiles have the whole photo's result."""
    return any(measures_pictures(norm) for norm in norms(generator))


def _tile(shape: tuple[int, int], generator: Generator) -> tuple[int, int]:
    least = 2 * reach(generator) + 1
    if min(shape) < least:
        raise UserError(
            f"height={shape[0]} width={shape[1]}: expected tiles of at least {least} pixels, "
            "because their margins do not count"
        )
    return shape


def _check_size(shape: tuple[int, int] | None, generator: Generator) -> None:
    """Raises a `UserError` if a tensor has too many values: LiteRT counts them in 32 bits."""
    largest = (2**31 - 1) // generator.width
    if shape is not None and shape[0] * shape[1] > largest:
        raise UserError(
            f"height={shape[0]} width={shape[1]}: the graph's tensors cannot take more than "
            f"{largest} pixels; enhance such photos in tiles"
        )


def _name(path: Path) -> str:
    """The name for a model's files: that of its run, or of its own file."""
    if path.name == "generator.keras":
        return path.resolve().parent.name
    return path.name.removesuffix(".keras").removesuffix(".ckpt")


def _check_free(targets: Iterable[Path], overwrite: bool) -> None:
    for target in (t for path in targets for t in (path, path.with_suffix(".json"))):
        if target.exists() and not overwrite:
            raise UserError(f"{target}: exists already and was kept; overwrite=true replaces it")


def _runner(
    generator: Generator, affines: np.ndarray | None = None
) -> Callable[[np.ndarray], np.ndarray]:
    """A function of (1, H, W, 3) arrays that runs the Keras model; `affines` freeze its norms.

    It uses nothing that is exported, so that the exported files can be compared with it.
    """
    if affines is None:
        run = tf.function(generator, reduce_retracing=True, autograph=False)
        return lambda photo: run(photo).numpy()
    staged = Staged(generator)
    return lambda photo: keras.ops.convert_to_numpy(staged([photo, affines[None]]))


def _cost(
    live: Callable[[np.ndarray], np.ndarray], photos: Any, after: list[np.ndarray]
) -> dict[str, float]:
    """The effect of frozen norms: PSNR to the live norm's results and, if given, to targets."""
    before = [live(photo[None])[0] for photo, _ in photos]
    cost = {"psnr_to_live": reference_psnr(after, before)}
    targets = [target for _, target in photos]
    if all(target is not None for target in targets):
        cost["psnr_live"] = reference_psnr(before, targets)
        cost["psnr_frozen"] = reference_psnr(after, targets)
        cost["cost"] = cost["psnr_live"] - cost["psnr_frozen"]
    return cost


def describe(
    name: str,
    form: str,
    norm: str,
    io: str,
    shape: tuple | None,
    content: bytes,
    generator: Generator,
) -> dict:
    """The content of the JSON file beside a model.

    Args:
        name: name of the model.
        form: one of `conversion.FORMATS`.
        norm: `"adaptive"`, `"live"` or `"frozen"`.
        io: dtype of the input and the output.
        shape: (height, width) that the graph takes, None for any.
        content: content of the .tflite file.
        generator: the exported generator.
    """
    values = "0 to 255" if io == "uint8" else "0 to 1"

    def picture(*shape: int | None) -> dict[str, Any]:
        return {
            "dtype": io,
            "shape": [*shape, 3],
            "layout": "batch, height, width, RGB",
            "values": values,
        }

    photo = picture(1, *(shape or (None, None)))
    clip = {} if io == "uint8" else {"note": "not clipped: clip before showing"}
    described = {
        "model": name,
        "format": form,
        "sha256": hashlib.sha256(content).hexdigest(),
        "signature": ENHANCE,
        "input": {"name": "photo", **photo},
        "output": {"name": "enhanced", **photo, **clip},
        "norm": norm,
        "tiles_exact": norm in ("frozen", "adaptive") or not _looks(generator),
        "margin": reach(generator),
        "versions": {
            package: importlib.metadata.version(package)
            for package in ("tensorflow", "keras", "ai-edge-litert", "ai-edge-quantizer")
        },
    }
    if norm == "adaptive":
        described["measure"] = {
            "signature": MEASURE,
            "input": {"name": "patches", **picture(BATCH, PATCH, PATCH)},
            "moments": {
                "names": list(MOMENTS),
                "dtype": "float32",
                "shape": [1, len(norms(generator)), 1, generator.width],
                "pooled": "mean: the mean of the calls' means; variance: the mean of their "
                "variances plus the variance of their means",
            },
            "corner": "floor(place * (length - side + 1)), from the top and from the left",
            "places": np.round(spread(BATCHES * BATCH), 5).tolist(),
        }
    return described
