"""Checkpoints hold the whole state of a run, and the log goes with them."""

import numpy as np
import pytest
import tensorflow as tf

from tests.training.runs import checkpoints_of, tiny
from wespe_tf.errors import UserError
from wespe_tf.training import train as training
from wespe_tf.training.build import build_model
from wespe_tf.training.checkpoints import Log
from wespe_tf.training.schedule import make_schedule


class TestCheckpoints:
    def test_checkpoints_hold_everything_and_only_the_newest_stay(self, run, model):
        checkpoints = checkpoints_of(run, model)
        for iteration in (10, 20, 30, 40):
            checkpoints.save(iteration, best=10)
        files = {p.name for p in (run.path / "checkpoints").iterdir()}
        kinds = ("index", "data-00000-of-00001")
        kept = {f"ckpt-{number}.{kind}" for number in (10, 30, 40) for kind in kinds}
        assert files == {"checkpoint", *kept}
        # A run that passed 30 and 40 over leaves them behind.
        checkpoints.save(20)
        assert checkpoints.iterations() == [10, 20]
        stored = sum(
            np.prod(shape)
            for name, shape in tf.train.list_variables(str(run.path / "checkpoints" / "ckpt-20"))
            if "_CHECKPOINTABLE" not in name
        )
        networks = sum(v.value.shape.num_elements() for v in model.weights)
        trained = sum(
            v.value.shape.num_elements()
            for v in (*model.generator_variables, *model.discriminator_variables)
        )
        # Each trained value comes with Adam's two moments.
        assert stored >= networks + 2 * trained

    @pytest.mark.parametrize("content", [None, b"", b"\xff no text"])
    def test_checkpoints_are_enough(self, run, model, content):
        """TensorFlow's list of them and the log may be lost or damaged."""
        log, again = (Log(run.path / "log.csv", ["iteration"]) for _ in range(2))
        log.open()
        log.write({"iteration": 3})
        before = log.path.read_bytes()
        checkpoints_of(run, model, log=log).save(3)
        for path in (log.path, run.path / "checkpoints" / "checkpoint"):
            path.unlink() if content is None else path.write_bytes(content)
        assert checkpoints_of(run, model, log=again).restore() == 3
        again.open()
        assert log.path.read_bytes() == before and again.rows() == [{"iteration": "3"}]

    def test_lost_checkpoints_do_not_begin_the_run_anew(self, run, model, capsys):
        log = Log(run.path / "log.csv", ["iteration"])
        checkpoints = checkpoints_of(run, model, log=log)
        for iteration in (None, 0):  # No log yet; no iteration in it.
            if iteration == 0:
                log.open()
                log.write({"iteration": 0})
            assert training.restore(checkpoints, run, tf.distribute.get_strategy()) is None
            assert capsys.readouterr().out.endswith("no checkpoint yet; the run starts again\n")
        log.write({"iteration": 1})
        with pytest.raises(UserError) as caught:
            training.restore(checkpoints, run, tf.distribute.get_strategy())
        assert str(caught.value) == (
            "models/mine/checkpoints: no checkpoint, but models/mine/log.csv has iterations; "
            "give a new run another name"
        )

    def test_a_checkpoint_brings_the_schedule_back(self, run):
        config = tiny("w_guide=0", "schedule=balance", "balance_begin=2")
        first, second = make_schedule(config), make_schedule(config)
        for loss in (0.1, 0.2, 0.3):
            first.turn()
            first.observe(loss, loss)
        checkpoints_of(run, build_model(config), first).save(3)
        assert first.state() != second.state()
        assert checkpoints_of(run, build_model(config), second).restore() == 3
        assert first.state() == second.state()
        assert second.current == "generators behind"
