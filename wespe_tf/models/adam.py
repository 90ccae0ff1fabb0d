"""Adam as PyTorch computes it."""

from typing import Any

import keras
from keras import ops

from .layers import PACKAGE, Tensor


@keras.saving.register_keras_serializable(PACKAGE)
class PyTorchAdam(keras.optimizers.Adam):
    """Adam that adds ε after the bias of the second moment is corrected.

    It computes m̂ / (√v̂ + ε), as PyTorch and the paper do (Kingma & Ba 2015, algorithm 1).
    TensorFlow and Keras compute m̂ / (√v̂ + ε / √(1 − β₂ᵗ)). Their ε is 32 times as large in the
    first step, which matters if gradients are as small as 1e-6. Powers of β have the variables'
    dtype.

    Args: those of `keras.optimizers.Adam`.
    """

    def update_step(self, gradient: Tensor, variable: Any, learning_rate: Tensor) -> None:
        def number(value: float) -> Tensor:
            return ops.convert_to_tensor(value, dtype=variable.dtype)

        gradient = ops.cast(gradient, variable.dtype)
        step = ops.cast(self.iterations + 1, variable.dtype)
        index = self._get_variable_index(variable)
        corrected = []
        for moments, beta, value in (
            (self._momentums, number(self.beta_1), gradient),
            (self._velocities, number(self.beta_2), ops.square(gradient)),
        ):
            moment = moments[index]
            self.assign(moment, beta * moment + (1 - beta) * value)
            corrected.append(moment / (1 - ops.power(beta, step)))
        mean, square = corrected
        change = ops.cast(learning_rate, variable.dtype) * mean
        self.assign_sub(variable, change / (ops.sqrt(square) + number(self.epsilon)))
