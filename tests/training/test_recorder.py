"""The moving average of the weights, which is evaluated and saved."""

import keras
import numpy as np
import pytest

from tests.models.tiny_wespe import (
    array,
    make_wespe,
)
from wespe_tf.training.recorder import averaged_weights


class TestMovingAverage:
    KEPT = 0.8

    def optimizer(self, scaled):
        adam = keras.optimizers.Adam(1e-2, use_ema=True, ema_momentum=self.KEPT)
        return keras.optimizers.LossScaleOptimizer(adam) if scaled else adam

    def trained(self, batch, scaled=False):
        """A model after five steps, and the average that NumPy takes of its weights."""
        model = make_wespe(self.optimizer(scaled))
        average = None
        for _ in range(5):
            model.train_step(batch)
            weights = [array(v).astype(np.float64) for v in model.generator_variables]
            if average is None:
                average = weights
            average = [self.KEPT * a + (1 - self.KEPT) * w for a, w in zip(average, weights)]
        return model, weights, average

    @pytest.mark.slow
    @pytest.mark.parametrize("scaled", [False, True])
    def test_is_the_average_of_the_weights(self, batch, scaled):
        model, last, average = self.trained(batch, scaled)
        assert max(np.abs(a - w).max() for a, w in zip(average, last)) > 1e-3
        with averaged_weights(model):
            for variable, expected in zip(model.generator_variables, average):
                np.testing.assert_allclose(array(variable), expected, atol=1e-6)
        for variable, expected in zip(model.generator_variables, last):
            np.testing.assert_array_equal(array(variable), expected.astype(np.float32))

    @pytest.mark.slow
    def test_trained_weights_come_back_after_an_error(self, batch):
        model, last, _ = self.trained(batch)
        with pytest.raises(RuntimeError, match="full disk"), averaged_weights(model):
            raise RuntimeError("full disk")
        for variable, expected in zip(model.generator_variables, last):
            np.testing.assert_array_equal(array(variable), expected.astype(np.float32))

    def test_before_the_first_step_the_start_itself_is_used(self):
        model = make_wespe(self.optimizer(scaled=False))
        start = [array(v) for v in model.generator_variables]
        with averaged_weights(model):
            for variable, expected in zip(model.generator_variables, start):
                np.testing.assert_array_equal(array(variable), expected)

    @pytest.mark.slow
    def test_without_average_the_weights_stay(self, batch):
        model = make_wespe()
        model.train_step(batch)
        weights = [array(v) for v in model.generator_variables]
        with averaged_weights(model):
            for variable, expected in zip(model.generator_variables, weights):
                np.testing.assert_array_equal(array(variable), expected)
