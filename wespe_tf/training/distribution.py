"""One device, several GPUs or several machines: `tf.distribute` by name."""

import contextlib
import functools
import json
import os
import signal
from collections.abc import Iterator

import tensorflow as tf

from ..errors import UserError


def make_strategy(name: str) -> tf.distribute.Strategy:
    """The strategy that `distribute=` names. Call this before TensorFlow does anything else.

    Args:
        name: `"none"`, `"mirrored"` (every GPU of this machine) or `"multi_worker"` (the machines
            that the environment variable TF_CONFIG lists, each started with the same settings).

    Raises:
        UserError: if TF_CONFIG is missing or does not have the form that TensorFlow expects.
    """
    if name == "multi_worker":
        _check_tf_config()
    return tf.distribute.get_strategy() if name == "none" else _make_once(name)


@functools.cache
def _make_once(name: str) -> tf.distribute.Strategy:
    """Makes a strategy once per process. A second one would use the first's operation numbers."""
    if name == "mirrored":
        return tf.distribute.MirroredStrategy()
    with _ended_by_interrupt():
        print("distribute=multi_worker: waiting for all workers to start", flush=True)
        return tf.distribute.MultiWorkerMirroredStrategy()


@contextlib.contextmanager
def _ended_by_interrupt() -> Iterator[None]:
    """Lets SIGINT end the process at once: Python cannot act while TensorFlow waits in C++."""
    handler = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes the files: the first worker, or the only process."""
    resolver = strategy.cluster_resolver
    return resolver is None or not resolver.cluster_spec() or resolver.task_id == 0


def agree(strategy: tf.distribute.Strategy, number: int) -> bool:
    """Whether all workers have the same number. All of them must call this."""
    if strategy.num_replicas_in_sync == 1:
        return True

    @tf.function
    def numbers() -> tf.Tensor:
        return strategy.gather(strategy.run(lambda: tf.constant([number])), axis=0)

    return len(set(numbers().numpy().tolist())) == 1


@contextlib.contextmanager
def gone_workers() -> Iterator[None]:
    """Raises a `UserError` in place of TensorFlow's errors about a lost worker."""
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError) as error:
        raise UserError(
            "distribute=multi_worker: another worker has stopped or cannot be reached; start all "
            "of them again"
        ) from error


def _check_tf_config() -> None:
    wanted = '{"cluster": {"worker": ["HOST:PORT", …]}, "task": {"type": "worker", "index": 0}}'
    text = os.environ.get("TF_CONFIG")
    if text is None:
        raise UserError(f"distribute=multi_worker: TF_CONFIG is not set; expected {wanted}")
    try:
        config = json.loads(text)
        workers, task = config["cluster"]["worker"], config["task"]
        valid = task["type"] == "worker" and 0 <= int(task["index"]) < len(workers)
    except (ValueError, KeyError, TypeError):
        valid = False
    if not valid:
        raise UserError(f"TF_CONFIG: {text}: expected {wanted}")
