"""The training loop does what Keras's does, and follows a schedule."""

import io
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.models.tiny_wespe import SIDE, make_wespe
from wespe_tf.errors import UserError
from wespe_tf.models.wespe import BOTH, DISCRIMINATORS, GENERATORS, WESPE
from wespe_tf.progress import progress
from wespe_tf.training.loop import Progress, fit
from wespe_tf.training.schedule import Alternating, DynamicBalance


@pytest.fixture
def data(rng):
    """The same batch of source and target patches again and again."""
    batch = tuple(rng.integers(0, 256, (2, 4, SIDE, SIDE, 3), np.uint8))
    return tf.data.Dataset.from_tensors(batch).repeat()


class Notes(keras.callbacks.Callback):
    """Keeps what a loop tells its callbacks."""

    def __init__(self, stop_after=None):
        super().__init__()
        self.stop_after = stop_after
        self.events, self.logs = [], []

    def on_train_begin(self, logs=None):
        self.events.append("begin")

    def on_train_batch_end(self, batch, logs=None):
        self.events.append(batch)
        self.logs.append(dict(logs))
        if len(self.logs) == self.stop_after:
            self.model.stop_training = True

    def on_epoch_end(self, epoch, logs=None):
        self.events.append(f"epoch {epoch}")

    def on_train_end(self, logs=None):
        self.events.append("end")


def noted(model):
    """A list to which each tracing of the model's step adds whose turn it is."""
    traced, compute_losses = [], model.compute_losses

    def call(*args, **kwargs):
        traced.append(kwargs["turn"])
        return compute_losses(*args, **kwargs)

    model.compute_losses = call
    return traced


class TestFit:
    @pytest.mark.slow
    def test_does_what_keras_does(self, data):
        notes = Notes()
        keras.utils.set_random_seed(0)
        model = make_wespe()
        fit(model, data, 4, 2, [notes])
        keras.utils.set_random_seed(0)
        other = make_wespe()
        traced, history = noted(other), Notes()
        other.fit(data, steps_per_epoch=2, epochs=2, verbose=0, callbacks=[history])
        assert traced == [BOTH]
        assert notes.events == history.events
        assert set(notes.logs[0]) == set(WESPE.loss_names())
        for mine, theirs in zip(notes.logs, history.logs):
            assert mine == pytest.approx({k: float(v) for k, v in theirs.items()}, rel=1e-4)

    @pytest.mark.slow
    @pytest.mark.usefixtures("eagerly")
    def test_last_epoch_may_be_shorter_and_the_first_ones_done(self, data):
        notes = Notes()
        assert fit(make_wespe(), data, 7, 2, [notes], first=4) is False
        assert notes.events == ["begin", 0, 1, "epoch 2", 0, "epoch 3", "end"]

    @pytest.mark.slow
    @pytest.mark.usefixtures("eagerly")
    def test_stops_when_a_callback_asks(self, data):
        notes = Notes(stop_after=2)
        assert fit(make_wespe(), data, 9, 3, [notes]) is True
        assert notes.events == ["begin", 0, 1, "epoch 0", "end"]

    @pytest.mark.usefixtures("eagerly")
    def test_a_loss_that_is_none_ends_the_run(self, data):
        model, notes = make_wespe(), Notes()
        model.inverse_generator.trainable_variables[-1].assign(3 * [np.nan])
        with pytest.raises(UserError) as caught:
            fit(model, data, 7, 7, [notes], first=4)
        assert str(caught.value).startswith(
            "iteration 5: the loss content is nan; the last checkpoint is kept. Try a smaller "
        )
        assert notes.logs == []

    @pytest.mark.slow
    @pytest.mark.usefixtures("eagerly")
    @pytest.mark.parametrize("side", ["generator", "discriminator"])
    def test_an_exhausted_loss_scale_ends_the_run(self, data, side):
        """At 1e38 every gradient overflows; each step that is left out halves the scale."""
        scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(1e-3), 1e38)
        model = make_wespe(**{f"{side}_optimizer": scaled})
        fit(model, data, 2, 2)
        assert float(scaled.dynamic_scale) == pytest.approx(1e38 / 4)
        scaled.dynamic_scale.assign(2.0**-14)
        fit(model, data, 1, 1)
        scaled.dynamic_scale.assign(2.0**-15)
        with pytest.raises(UserError) as caught:
            fit(model, data, 7, 7, first=6)
        assert str(caught.value) == (
            f"iteration 7: the gradients of the {side}s overflow, even at the loss scale "
            "3.05176e-05; the last checkpoint is kept. Try a smaller learning_rate= or "
            "discriminator_learning_rate=, or precision=float32"
        )

    @pytest.mark.slow
    def test_follows_the_schedule_and_traces_each_step_once(self, data):
        model = make_wespe()
        traced = noted(model)
        fit(model, data, 12, 6, schedule=Alternating(1, 2))
        assert traced == [GENERATORS, DISCRIMINATORS]
        assert int(model.generator_optimizer.iterations) == 4
        assert int(model.discriminator_optimizer.iterations) == 8

    @pytest.mark.slow
    @pytest.mark.usefixtures("eagerly")
    def test_the_balance_is_told_the_losses(self, data, monkeypatch):
        monkeypatch.setattr(DynamicBalance, "GENERATOR_THRESHOLD", 1e9)
        monkeypatch.setattr(DynamicBalance, "DISCRIMINATOR_THRESHOLD", 1e9)
        schedule = DynamicBalance(begin=3)
        notes = Notes()
        fit(make_wespe(), data, 7, 7, [notes], schedule)
        assert schedule.current == "discriminators ahead"
        expected = [v["generator"] for v in notes.logs if "generator" in v]
        np.testing.assert_allclose(schedule.losses[GENERATORS], expected)
        pairs = [(v["color_disc"], v["texture_disc"]) for v in notes.logs if "color_disc" in v]
        np.testing.assert_allclose(schedule.losses[DISCRIMINATORS], np.mean(pairs, axis=1))
        assert (len(expected), len(pairs)) == (4, 3)

    @pytest.mark.usefixtures("eagerly")
    def test_the_balance_ignores_a_discriminator_without_weight(self, data):
        schedule, notes = DynamicBalance(), Notes()
        fit(make_wespe(weights={"color": 0}), data, 2, 2, [notes], schedule)
        expected = [v["texture_disc"] for v in notes.logs if "texture_disc" in v]
        assert expected and min(expected) > 0
        np.testing.assert_allclose(schedule.losses[DISCRIMINATORS], expected)


class Terminal(io.StringIO):
    def isatty(self):
        return True


class TestProgress:
    @pytest.fixture
    def bar(self, monkeypatch):
        """The bar of a run of as many iterations as the paper has, on a wide terminal."""
        monkeypatch.setenv("COLUMNS", "200")
        with progress(total=20100, initial=20098, file=Terminal(), mininterval=0) as bar:
            yield Progress(bar)

    def test_a_line_fits_100_columns(self, bar, capsys):
        """With losses that have grown."""
        bar.set_model(make_wespe())
        bar.begin("training")
        losses = dict.fromkeys(WESPE.loss_names(), 1.386294) | {"generator": 123.4}
        bar.on_train_batch_end(19998, losses)
        bar.on_epoch_end(0, losses | {"distance": 0.51234, "psnr": 21.3})
        lines = [line for line in re.split(r"[\r\n]", bar.bar.fp.getvalue()) if line.strip()]
        assert max(map(len, lines)) <= 100
        assert "20099/20100" in lines[-1] and "G=123.4" in lines[-1]
        assert "D color=1.386, D texture=1.386" in lines[-1]
        printed = capsys.readouterr().out.strip()
        assert re.fullmatch(r"evaluation: psnr 21\.3, distance 0\.5123; 00:0\d left", printed)

    def test_a_loss_that_is_not_trained_is_not_shown(self, bar):
        losses = dict.fromkeys(WESPE.loss_names(), 0.5)
        assert bar.shown(losses, ["texture"]) == {"G": 0.5, "D texture": 0.5}

    def test_the_time_left_is_that_of_the_whole_run(self, monkeypatch, capsys):
        """Two iterations of ten took 6 s, the warm start's among them: eight take 24 s."""
        clock = iter([100.0, 106.0])
        monkeypatch.setattr("wespe_tf.training.loop.time.monotonic", lambda: next(clock))
        file = io.StringIO()
        bar = Progress(progress(total=10, file=file))
        for name in ("warm start", "training"):
            bar.begin(name)
            bar.set_model(None)
            bar.on_train_batch_end(0, {"loss": 1.0})
        bar.on_epoch_end(0, {"distance": 0.5})
        assert capsys.readouterr().out == "evaluation: distance 0.5; 00:24 left\n"
        assert file.getvalue() == ""  # no terminal, no bar
