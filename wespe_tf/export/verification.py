"""Verifies that an exported file computes what the Keras model does, and measures its costs."""

import contextlib
import dataclasses
import io
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import tensorflow as tf

from ..enhance.litert import LiteRTModel
from .graph import Graph, measure, read_graph

# Lowest PSNR to the Keras model that an export may have, in decibels.
BOUNDS = {"float32": 90.0, "float16": 70.0, "dynamic": 45.0, "int8": 38.0}
# The same for whole photos that an adaptive file enhances in tiles. It is lower, because patches
# give only an estimate of a photo's statistics.
WHOLE_BOUNDS = {"float32": 38.0, "float16": 38.0, "dynamic": 37.0, "int8": 36.0}
# Share of a uint8 file's values that must equal the rounded values of its float32 twin.
ROUNDED = 0.999
LARGEST_RANK = 4


@dataclasses.dataclass
class Verification:
    """What was measured with one file.

    Attributes:
        format: a key of `BOUNDS`.
        bytes: size of the file.
        psnr: lowest PSNR of a photo to the Keras model, in decibels.
        whole: the same for whole photos in tiles, to one pass of the Keras model; None for a file
            that is not adaptive.
        difference: largest difference of a value in [0, 1].
        rounded: share of values that equal the float32 twin's, rounded; the lowest of all photos;
            None for a float32 file.
        delegated: whether the fast kernels for CPUs (XNNPACK) take every operator.
        in_browser: whether those of LiteRT.js do.
        seconds: time for a megapixel on this machine.
        memory: peak memory for a megapixel in bytes; None if the system does not tell.
        multiply_adds: number for a megapixel.
        operators: name → count.
        gpu: what TensorFlow's analyzer says about GPUs; this alone proves nothing.
        failures: reasons why the file is not good; empty for a good file.
    """

    format: str
    bytes: int
    psnr: float
    whole: float | None
    difference: float
    rounded: float | None
    delegated: bool
    in_browser: bool
    seconds: float
    memory: float | None
    multiply_adds: float
    operators: dict
    gpu: str
    failures: list


@dataclasses.dataclass
class Case:
    """A photo and the Keras model's result.

    Attributes:
        photo: (H, W, 3) float32 array in [0, 1].
        enhanced: the result, an array of the same shape.
        moments: for an adaptive file, the photo's moments, see `LiteRTModel.measure`.
    """

    photo: np.ndarray
    enhanced: np.ndarray
    moments: tuple[np.ndarray, np.ndarray] | None = None


def verify(
    folder: str | Path,
    form: str,
    content: bytes,
    twin: bytes,
    description: dict,
    cases: list[Case],
    whole: list[Case],
    fixed: bool,
) -> Verification:
    """Runs a file on photos, and compares the results with those of the Keras model.

    Args:
        folder: folder for temporary files.
        form: a key of `BOUNDS`.
        content: content of the .tflite file.
        twin: the same model with float32 input and output; it may be `content` itself.
        description: content of the JSON file beside it.
        cases: photos of the graph's size.
        whole: for an adaptive file, photos of any size; for others, an empty list.
        fixed: whether the graph must have a fixed shape.
    """
    model = _open(folder, "model", content, description)
    exact = model if twin is content else _open(folder, "twin", twin, description)
    differences, psnrs, shares = [], [], []
    for case in cases:
        found = exact.run(case.photo, case.moments)
        differences.append(float(np.max(np.abs(found - case.enhanced))))
        psnrs.append(reference_psnr([found], [case.enhanced]))
        if model is not exact:
            rounded = np.rint(np.clip(found, 0, 1) * 255)
            bytes_in = np.rint(case.photo * 255).astype(np.uint8)
            shares.append(float(np.mean(model.run(bytes_in, case.moments) == rounded)))
    wholes = [reference_psnr(exact(case.photo[None]), [case.enhanced]) for case in whole]
    graph = read_graph(content)
    height, width = cases[0].photo.shape[:2]
    measured = measure(model.path, height, width)
    megapixels = height * width / 1e6
    result = Verification(
        format=form,
        bytes=len(content),
        psnr=float(np.min(psnrs)),
        whole=float(np.min(wholes)) if wholes else None,
        difference=float(np.max(differences)),
        rounded=min(shares) if shares else None,
        delegated=measured["delegated"],
        # LiteRT.js has the same XNNPACK, except for kernels of 16 bits (tests/web/test_page.py).
        in_browser=measured["delegated"] and not graph.halves,
        seconds=measured["seconds"] / megapixels,
        memory=None if measured["bytes"] is None else measured["bytes"] / megapixels,
        multiply_adds=graph.multiply_adds * 1e6,
        operators=graph.operators,
        gpu=gpu_verdict(content),
        failures=[],
    )
    result.failures = _failures(result, graph, fixed)
    return result


def reference_psnr(pictures: Iterable[np.ndarray], references: Iterable[np.ndarray]) -> float:
    """PSNR over all values of pictures: NaN if a value is NaN, infinity if all values are equal.

    Args:
        pictures: float arrays in [0, 1].
        references: as many arrays of the same shapes.

    Returns:
        10·log10(1 / MSE), in decibels.
    """
    squares = [
        np.square(picture.astype(np.float64) - reference).ravel()
        for picture, reference in zip(pictures, references)
    ]
    mse = np.mean(np.concatenate(squares))
    return float("inf") if mse == 0 else float(10 * np.log10(1 / mse))


def gpu_verdict(content: bytes) -> str:
    """What TensorFlow's analyzer says about a .tflite file (its bytes) on GPUs, in one line."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        tf.lite.experimental.Analyzer.analyze(model_content=content, gpu_compatibility=True)
    lines = [line.strip() for line in printed.getvalue().splitlines()]
    return " ".join(line for line in lines if "GPU" in line and "guarantee" not in line)


def markdown(report: dict, results: list[Verification]) -> list[str]:
    """The report as lines of Markdown.

    Args:
        report: dictionary of `model`, `norm`, `io`, `shape` and, for frozen norms, `frozen_norm`.
        results: the files' verifications.
    """
    shape = report["shape"]
    size = "any size" if shape is None else f"{shape[1]}×{shape[0]} pixels"
    lines = [
        f"{report['model']}, {report['norm']} norm, {report['io']} in and out, {size}; seconds and "
        "memory for a megapixel on this machine's CPU:",
        "",
        "| format | MB | PSNR dB | bound | whole photos | bound | largest difference "
        "| rounded alike | s | MB | multiply-adds |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
        *map(_row, results),
        "",
        *(f"- {r.format}: {_operators(r)}. {_delegated(r)} {r.gpu}" for r in results),
    ]
    cost = report.get("frozen_norm")
    if cost is not None:
        line = f"Frozen norm: {cost['psnr_to_live']:.1f} dB to the live norm's results"
        if "cost" in cost:
            line += (
                f"; {cost['psnr_frozen']:.2f} dB to the good photos, where the live norm has "
                f"{cost['psnr_live']:.2f}: it costs {cost['cost']:.2f} dB"
            )
        lines += ["", f"{line}."]
    return lines


def _open(folder: str | Path, name: str, content: bytes, description: dict) -> LiteRTModel:
    path = Path(folder) / f"{name}.tflite"
    path.write_bytes(content)
    path.with_suffix(".json").write_text(json.dumps(description), encoding="utf-8")
    return LiteRTModel(path)


def _failures(result: Verification, graph: Graph, fixed: bool) -> list[str]:
    found, bound = [], BOUNDS[result.format]
    if not result.psnr >= bound:
        found.append(f"PSNR {result.psnr:.1f} dB, expected at least {bound:.0f}")
    if result.whole is not None and not result.whole >= WHOLE_BOUNDS[result.format]:
        bound = WHOLE_BOUNDS[result.format]
        found.append(f"whole photos {result.whole:.1f} dB, expected at least {bound:.0f}")
    if result.rounded is not None and result.rounded < ROUNDED:
        found.append(f"{result.rounded:.2%} rounded alike, expected {ROUNDED:.1%}")
    if graph.largest_rank > LARGEST_RANK:
        found.append(f"a tensor of rank {graph.largest_rank}, expected at most {LARGEST_RANK}")
    if fixed and graph.dynamic:
        found.append(f"{graph.dynamic[0]} has a dynamic shape, expected a fixed graph")
    return found


def _row(result: Verification) -> str:
    rounded = "" if result.rounded is None else f"{result.rounded:.3%}"
    memory = "" if result.memory is None else f"{result.memory / 1e6:.0f}"
    whole = (
        "|" if result.whole is None else f"{result.whole:.1f} | {WHOLE_BOUNDS[result.format]:.0f}"
    )
    return (
        f"| {result.format} | {result.bytes / 1e6:.2f} | {result.psnr:.1f} "
        f"| {BOUNDS[result.format]:.0f} | {whole} | {result.difference:.1e} | {rounded} "
        f"| {result.seconds:.2f} | {memory} | {result.multiply_adds / 1e9:.0f} G |"
    )


def _operators(result: Verification) -> str:
    return ", ".join(f"{count} {name}" for name, count in result.operators.items())


def _delegated(result: Verification) -> str:
    said = {
        (True, True): "takes every operator, in LiteRT.js too",
        (True, False): "takes every operator, but not in LiteRT.js",
        (False, False): "does not take every operator",
    }[result.delegated, result.in_browser]
    return f"XNNPACK, the fast kernels for CPUs, {said}."
