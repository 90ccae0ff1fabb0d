"""Summary of a run: machine, code, data, scores and verdict."""

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from .. import __version__
from ..config.schema import TrainConfig
from ..metrics import collapse
from .recorder import Recorder
from .run_folder import RunFolder


def processor() -> str:
    """Name of the processor."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        if names:
            return names[0].split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def has_bfloat16_units(info: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor can multiply bfloat16 numbers; False if Linux does not tell.

    Without such units, TensorFlow's convolutions take many times as long as in float32.
    """
    lines = info.read_text().splitlines() if info.exists() else []
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(flags)


def gpus() -> list[str]:
    """Names of the GPUs that TensorFlow uses."""
    return [
        tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)
        for gpu in tf.config.list_physical_devices("GPU")
    ]


def summarize(
    config: TrainConfig, recorder: Recorder, photos: Any, seconds: float, data: dict[str, str]
) -> dict[str, Any]:
    """The content of `summary.json`. Its keys are part of the interface.

    Args:
        config: `TrainConfig`.
        recorder: the run's `Recorder`.
        photos: the run's `Photos`.
        seconds: wall time of the training in this process.
        data: digests of the photos, see `check_data`.

    Returns:
        Dictionary that JSON can hold. `validation` is None without pairs.
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
        "collapsed": collapse.has_collapsed(scores),
        "uniform_since": collapse.uniform_since(iterations, scores),
        "distance": last["distance"],
        "iteration_of_least_distance": min(evaluations, key=lambda e: e["distance"])["iteration"],
        "collapse_score": last["collapse_score"],
        "correlation": last["correlation"],
        "detail_ratio": last.get("detail_ratio"),
        "flat_noise_ratio": last.get("flat_noise_ratio"),
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
            "processor": processor(),
            "cores": os.cpu_count(),
            "gpus": gpus(),
        },
        "data": data,
    }


def code_state() -> str | None:
    """The commit of this code, with `-dirty` if files differ from it; None without Git."""
    # An installed copy may lie within somebody else's repository.
    if not (Path(__file__).resolve().parents[2] / ".git").exists():
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


def print_summary(summary: dict[str, Any], run: RunFolder) -> None:
    """Prints the last lines of a run: verdict, scores and paths."""
    verdict = "COLLAPSED" if summary["collapsed"] else "not collapsed"
    print(f"\n{summary['iterations']} iterations in {summary['seconds']:.0f} s, {verdict}")
    scores = summary["validation"]
    if scores is not None:
        print(f"{'validation':<16} {'PSNR, dB':>9} {'SSIM':>7}")
        for name in ("input", "histogram_match", "enhanced"):
            psnr, ssim = scores[f"psnr_{name}"], scores[f"ssim_{name}"]
            print(f"{name.replace('_', ' '):<16} {psnr:>9.2f} {ssim:>7.4f}")
    print(f"look at {run.path / 'figures'}; the generator is {run.path / 'generator.keras'}")
