"""How the devices of a `tf.distribute` strategy share a batch."""

import tensorflow as tf
from keras import ops

from ..losses import Tensor


def devices() -> int:
    """How many devices share a batch."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def mean_of_all(values: Tensor) -> Tensor:
    """Mean of a tensor over all devices, which have equal parts. Call it within a step."""
    mean = ops.mean(values)
    if devices() == 1:
        return mean
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.MEAN, mean)
