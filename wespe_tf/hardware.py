"""What this machine is made of, by name."""

import platform
from pathlib import Path

import tensorflow as tf


def processor():
    """Name of the processor."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        if names:
            return names[0].split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def gpus():
    """Names of the GPUs that TensorFlow uses."""
    return [
        tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)
        for gpu in tf.config.list_physical_devices("GPU")
    ]
