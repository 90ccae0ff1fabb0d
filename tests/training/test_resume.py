"""Runs that end early go on as if they had not."""

import dataclasses
import itertools
import os
import shutil
import signal
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.training.runs import LOSSES, TINY, make_data, read_log, read_summary, start, wait_for
from wespe_tf.config.loading import load, to_yaml
from wespe_tf.config.schema import TrainConfig
from wespe_tf.errors import UserError
from wespe_tf.training import cli, loop
from wespe_tf.training import train as training
from wespe_tf.training.checkpoints import Checkpoints
from wespe_tf.training.run_folder import RunFolder

SETTINGS = [*TINY, "num_train_iters=6", "deterministic=true", "label_smoothing=0.1", "ema=0.5"]
SETTINGS += ["schedule=balance", "balance_begin=2", "batch_size=2", "warm_start_iters=3"]
SETTINGS += ["keep_checkpoints=3"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, make_photo, eager):
    """A folder with a run `whole` that was never stopped, and the arguments that it had."""
    root = tmp_path_factory.mktemp("finished")
    own, val = make_data(root / "photos", make_photo)
    arguments = [*SETTINGS, *own, *val]
    with pytest.MonkeyPatch.context() as patch, eager():
        patch.chdir(root)
        cli.main([*arguments, "run=whole"])
    return root, arguments


@pytest.fixture
def data(finished, tmp_path, monkeypatch):
    """Arguments of a run in the working folder, where a copy of the run `whole` is."""
    root, arguments = finished
    shutil.copytree(root / "models", tmp_path / "models")
    monkeypatch.chdir(tmp_path)
    return arguments


def weights(run, *names):
    """All weights of a run's generators, by file."""
    names = names or ("generator.keras", "generator_best.keras")
    return [keras.saving.load_model(f"models/{run}/{name}").get_weights() for name in names]


def checkpoints(run):
    """Iterations of a run's checkpoints, in order."""
    return sorted(int(p.stem[5:]) for p in Path(f"models/{run}/checkpoints").glob("*.index"))


def state(run):
    """Every value of a run's newest checkpoint but the log's, which has times, by name."""
    reader = tf.train.load_checkpoint(f"models/{run}/checkpoints/ckpt-{checkpoints(run)[-1]}")
    names = [n for n in reader.get_variable_to_shape_map() if not n.startswith(("_CHECK", "log/"))]
    return {name: reader.get_tensor(name) for name in names}


def assert_equal_weights(run, other, *names):
    """Of the generators in files of these names, and of everything in the newest checkpoint."""
    for mine, theirs in zip(weights(run, *names), weights(other, *names)):
        for pair in zip(mine, theirs):
            np.testing.assert_array_equal(*pair)
    mine, theirs = state(run), state(other)
    assert mine.keys() == theirs.keys()
    for name, value in mine.items():
        np.testing.assert_array_equal(value, theirs[name], err_msg=name)


def assert_equal_runs(run, other):
    assert_equal_weights(run, other)
    logs = [read_log(Path("models") / name) for name in (run, other)]
    for rows in logs:
        for row in rows:
            del row["seconds"]
    assert logs[0] == logs[1]
    mine, theirs = (read_summary(Path("models") / name) for name in (run, other))
    for key in ("iterations", "collapsed", "uniform_since", "iteration_of_least_distance"):
        assert mine[key] == theirs[key]


def signal_in(monkeypatch, iteration):
    """Lets this process have SIGTERM in an iteration, counted from the warm start's first one."""
    count, check = itertools.count(1), loop._check_finite

    def signalled(*arguments):
        if next(count) == iteration:
            signal.raise_signal(signal.SIGTERM)
        check(*arguments)

    monkeypatch.setattr(loop, "_check_finite", signalled)


class Killed(BaseException):
    """What a test throws where a process would be killed."""


@pytest.mark.slow
@pytest.mark.usefixtures("eagerly")
class TestResume:
    @pytest.mark.parametrize("moment", ["before its checkpoint", "after its checkpoint"])
    def test_ends_as_if_never_stopped(self, data, monkeypatch, moment):
        save = Checkpoints.save

        def killing(self, iteration, best):
            if iteration == 4 and moment.startswith("before"):
                raise Killed
            save(self, iteration, best)
            if iteration == 4:
                raise Killed

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(Checkpoints, "save", killing)
            cli.main([*data, "run=broken"])
        cli.main(["resume=true", "run=broken"])
        assert_equal_runs("broken", "whole")

    def test_killed_in_the_warm_start(self, data, monkeypatch):
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(training, "warm_start", lambda *_: (_ for _ in ()).throw(Killed))
            cli.main([*data, "run=broken"])
        cli.main(["resume=true", "run=broken"])
        assert_equal_runs("broken", "whole")

    def test_signal_in_the_warm_starts_last_iteration(self, data, monkeypatch):
        with monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
            signal_in(patch, 3)
            cli.main([*data, "run=broken"])
        assert ended.value.code == 128 + signal.SIGTERM
        assert checkpoints("broken") == [] and len(weights("broken")) == 2
        assert read_summary(Path("models/broken"))["iterations"] == 0
        cli.main(["resume=true", "run=broken"])
        assert_equal_runs("broken", "whole")

    def test_signal_between_evaluations(self, data, monkeypatch):
        """The log has one evaluation more."""
        with monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
            signal_in(patch, 3 + 3)
            cli.main([*data, "run=broken"])
        assert ended.value.code == 128 + signal.SIGTERM
        assert read_summary(Path("models/broken"))["iterations"] == 3
        cli.main(["resume=true", "run=broken"])
        assert_equal_weights("broken", "whole", "generator.keras")
        names = ("iteration", "turn", "balance", *LOSSES)
        mine, theirs = (
            [[row[name] for name in names] for row in read_log(Path("models") / run)]
            for run in ("broken", "whole")
        )
        assert mine == theirs

    def test_keeps_the_newest_and_the_best(self, data):
        best = read_summary(Path("models/whole"))["iteration_of_least_distance"]
        assert checkpoints("whole") == sorted({best, 2, 4, 6})

    def test_passes_over_a_damaged_checkpoint(self, data, capsys):
        (newest,) = Path("models/whole/checkpoints").glob("ckpt-6.data*")
        content = newest.read_bytes()
        newest.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))
        before = weights("whole")
        cli.main(["resume=true", "run=whole"])
        assert "ckpt-6 is damaged and is skipped" in capsys.readouterr().out
        assert [row["iteration"] for row in read_log(Path("models/whole"))] == list("0123456")
        for mine, theirs in zip(before, weights("whole")):
            for pair in zip(mine, theirs):
                np.testing.assert_array_equal(*pair)

    def test_no_whole_checkpoint_is_told(self, data):
        for path in Path("models/whole/checkpoints").glob("*.index"):
            path.write_bytes(b"")
        with pytest.raises(UserError, match="checkpoints: no checkpoint can be read"):
            cli.main(["resume=true", "run=whole"])

    def test_a_finished_run_stays_as_it_is(self, data):
        """Whatever became of what its checkpoints hold themselves."""
        before, rows = weights("whole"), read_log(Path("models/whole"))
        Path("models/whole/log.csv").write_bytes(b"\xff")
        Path("models/whole/checkpoints/checkpoint").write_bytes(b"")
        cli.main(["resume=true", "run=whole"])
        assert read_log(Path("models/whole")) == rows
        for mine, theirs in zip(before, weights("whole")):
            for pair in zip(mine, theirs):
                np.testing.assert_array_equal(*pair)


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_killed_as_a_process(data, tmp_path):
    """With steps that are traced, as a user's are."""
    broken = start(tmp_path, *data, "run=broken")
    log = tmp_path / "models" / "broken" / "log.csv"
    wait_for(lambda: log.exists() and len(log.read_text().splitlines()) > 4, broken)
    broken.kill()
    broken.wait()
    cli.main([*data, "run=traced"])
    cli.main(["resume=true", "run=broken"])
    assert_equal_runs("broken", "traced")
    assert not os.path.exists("models/broken/.lock")


class TestRefused:
    @pytest.fixture
    def refused(self, tmp_path, monkeypatch):
        """Function: the message with which arguments are refused."""
        monkeypatch.chdir(tmp_path)

        def call(*arguments):
            with pytest.raises(UserError) as caught:
                cli.main(list(arguments))
            return str(caught.value)

        return call

    def test_without_a_name(self, refused):
        assert refused("resume=true") == "resume=true: expected run=NAME too"

    def test_with_other_settings(self, refused, tmp_path):
        """The first that differs is named, with both values."""
        (tmp_path / "models" / "mine").mkdir(parents=True)
        config = load(TrainConfig, [*TINY, "model=iphone", "seed=7"])
        (tmp_path / "models" / "mine" / "config.yaml").write_text(to_yaml(config))
        begun = ["run=mine", "resume=true", *TINY, "model=iphone"]
        message = (
            "resume=true: batch_size=3 is given, but run=mine has batch_size=2, which cannot change"
        )
        assert refused(*begun, "seed=7", "batch_size=3", "num_train_iters=9") == message
        assert refused(*begun, "preset=wespe").startswith("resume=true: preset=wespe is given")
        same = [*begun, "seed=7", "preset=recommended", "distribute=mirrored"]
        again = cli.settings(same)
        assert again == dataclasses.replace(config, run="mine", resume=True, distribute="mirrored")

    def test_unknown_run(self, refused):
        expected = Path("models") / "mine" / "config.yaml"
        assert refused("resume=true", "run=mine") == (
            f"run=mine: no run to resume; {expected} is missing"
        )

    def test_name_outside_of_models(self, refused):
        assert refused("resume=true", "run=../x").startswith("run=../x: expected letters")

    def test_a_folder_that_another_process_has(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        config = load(TrainConfig, [*TINY, "run=mine"])
        with RunFolder.open(config) as run:
            with pytest.raises(UserError, match="run=mine: another process works on models/mine"):
                RunFolder(run.path)
        with RunFolder(run.path):
            pass


@pytest.mark.slow
@pytest.mark.usefixtures("eagerly")
def test_numbers_gone_wrong_end_the_run_with_advice(data):
    with pytest.raises(UserError) as caught:
        cli.main([*data, "run=mine", "schedule=simultaneous", "learning_rate=1e30"])
    message = str(caught.value)
    assert message.startswith("iteration ") and "the last checkpoint is kept. Try" in message
    names = {path.name for path in Path("models/mine/checkpoints").glob("*.index")}
    assert names == {"ckpt-0.index"}
    numbers = [np.asarray(values) for values in state("mine").values()]
    assert all(np.isfinite(n).all() for n in numbers if n.dtype.kind == "f")
