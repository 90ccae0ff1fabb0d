"""PyTorch's Adam against its formula."""

import keras
import numpy as np

from wespe_tf.models.adam import PyTorchAdam


def test_three_steps_by_the_formula(rng):
    """Gradients so small that it matters where ε is added."""
    values = rng.normal(size=(2, 3, 4))
    variables = [keras.Variable(value, dtype="float64") for value in values]
    optimizer = PyTorchAdam(1e-2, beta_1=0.5, beta_2=0.99, epsilon=1e-8)
    mean, square = np.zeros((2, 2, 3, 4))
    step = np.float64(np.float32(1e-2))  # Keras keeps it as a float32 variable
    for t in range(1, 4):
        gradients = 1e-8 * rng.normal(size=values.shape)
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in gradients], variables)
        mean = 0.5 * mean + 0.5 * gradients
        square = 0.99 * square + 0.01 * gradients**2
        corrected = np.sqrt(square / (1 - 0.99**t)) + 1e-8
        values = values - step * mean / (1 - 0.5**t) / corrected
        for variable, value in zip(variables, values):
            np.testing.assert_allclose(keras.ops.convert_to_numpy(variable), value, rtol=1e-12)
