"""Faults of the machine under a run: full disks, data that change, numbers that overflow.

A full disk is the system's bound on the size of files: writing beyond it fails as on a full disk,
with another reason ("File too large").
"""

import contextlib
import errno
import gc
import json
import os
import resource
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from tests.training.runs import (
    LOSSES,
    TINY,
    checkpoints_of,
    make_data,
    read_log,
    read_summary,
    tiny,
)
from wespe_tf.data.patches import PatchStream
from wespe_tf.errors import UserError
from wespe_tf.images.decoding import Source
from wespe_tf.images.picture import write_picture
from wespe_tf.models.wespe import BOTH
from wespe_tf.training import cli
from wespe_tf.training.build import build_model
from wespe_tf.training.checkpoints import Checkpoints, Log
from wespe_tf.training.recorder import Recorder, log_columns
from wespe_tf.training.run_folder import RunFolder
from wespe_tf.training.schedule import Simultaneous
from wespe_tf.training.train import check_data


@contextlib.contextmanager
def full_disk(size=100):
    """No file grows beyond some bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def resident():
    """Bytes that this process has resident once Python has freed what it can."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with RunFolder.open(tiny("run=mine")) as run:
        yield run


@pytest.fixture
def recorder(run, monkeypatch):
    """A `Recorder` that does not evaluate, on a log in memory."""
    monkeypatch.setattr(Recorder, "_evaluate", Recorder._write_row)
    log = SimpleNamespace(open=lambda: None, write=lambda row: None, close=lambda: None)
    recorder = Recorder(run, log, None, None, Simultaneous(), "")
    recorder.set_model(SimpleNamespace(turn=BOTH, loss_names=lambda: LOSSES))
    return recorder


@pytest.mark.slow
class TestManyIterations:
    def test_keep_no_memory_but_the_history(self, recorder, rng):
        """Whatever keeps the numbers of an iteration takes several kB of each."""
        recorder.on_train_begin()

        def grown_by(iterations):
            before = resident()
            for number in range(iterations):
                losses = rng.random(len(LOSSES)).tolist()
                recorder.on_train_batch_end(number, dict(zip(LOSSES, losses)))
            return resident() - before

        grown_by(200)
        assert grown_by(1500) < 1500 * 2000
        recorder.on_train_end()


class TestFullDisk:
    def test_checkpoint(self, run):
        model = build_model(tiny("w_guide=0"))
        checkpoints = checkpoints_of(run, model)
        checkpoints.save(1)
        kept = [value.copy() for value in model.generator.get_weights()]
        model.generator.set_weights([value + 1 for value in kept])
        with full_disk(10_000), pytest.raises(UserError) as caught:
            checkpoints.save(2)
        message = str(caught.value)
        assert message.startswith("models/mine/checkpoints: cannot be written (")
        assert "File too large" in message and "\n" not in message
        assert checkpoints_of(run, model).restore() == 1
        for pair in zip(model.generator.get_weights(), kept):
            np.testing.assert_array_equal(*pair)

    def test_generator(self, run):
        model = build_model(tiny("w_guide=0"))
        run.save_generator(model.generator)
        before = (run.path / "generator.keras").read_bytes()
        files = sorted(run.path.iterdir())
        with full_disk(10_000), pytest.raises(UserError) as caught:
            run.save_generator(model.generator)
        assert str(caught.value).startswith("models/mine/generator.keras: cannot be written (")
        assert (run.path / "generator.keras").read_bytes() == before
        assert sorted(run.path.iterdir()) == files

    def test_figure(self, tmp_path, make_photo):
        write_picture(tmp_path / "losses.png", make_photo(40, 40))
        before = (tmp_path / "losses.png").read_bytes()
        with full_disk(), pytest.raises(UserError) as caught:
            write_picture(tmp_path / "losses.png", make_photo(60, 40))
        assert str(caught.value) == f"{tmp_path}/losses.png: cannot be written (File too large)"
        assert (tmp_path / "losses.png").read_bytes() == before
        assert [path.name for path in tmp_path.iterdir()] == ["losses.png"]

    def test_log(self, run):
        log = Log(run.path / "log.csv", log_columns(LOSSES))
        log.open()
        log.write({"iteration": 0})
        with full_disk(), pytest.raises(UserError) as caught:
            log.write({"iteration": 1})
        assert str(caught.value) == "models/mine/log.csv: cannot be written (File too large)"
        log.close()
        assert [row["iteration"] for row in read_log(run.path)] == ["0"]

    @pytest.mark.parametrize("size", [0, 300])
    def test_tensorboard(self, run, recorder, size):
        """From the beginning, and while it writes: events are collected, and written by `close`."""
        with full_disk(size), pytest.raises(UserError) as caught:
            recorder.on_train_begin()
            for number in range(9):
                recorder.on_train_batch_end(number, {"generator": 1.0})
            recorder.on_train_end()
        assert str(caught.value) == "models/mine/tensorboard: cannot be written (File too large)"

    @pytest.mark.slow
    @pytest.mark.usefixtures("eagerly")
    def test_of_a_run_that_goes_on_afterwards(self, tmp_path, make_photo, monkeypatch, capsys):
        own, _ = make_data(tmp_path / "photos", make_photo)
        monkeypatch.chdir(tmp_path)
        save = Checkpoints.save

        def on_a_full_disk(self, iteration, best):
            with full_disk(10_000) if iteration == 4 else contextlib.nullcontext():
                save(self, iteration, best)

        with monkeypatch.context() as patch:
            patch.setattr(Checkpoints, "save", on_a_full_disk)
            patch.setattr("sys.argv", ["train.py", *TINY, *own, "run=mine", "num_train_iters=6"])
            with pytest.raises(SystemExit) as ended:
                cli.command()
        assert ended.value.code == 2
        line = capsys.readouterr().err.splitlines()[-1]
        assert line.startswith("error: models/mine/checkpoints: cannot be written (")
        cli.main(["resume=true", "run=mine"])
        assert read_summary(Path("models/mine"))["iterations"] == 6


class TestData:
    @pytest.fixture
    def streams(self, tmp_path, make_folder):
        """Function that reads the folders anew, as a resumed run does."""
        folders = [make_folder(tmp_path / side) for side in ("source", "target")]

        def read():
            source, target = (PatchStream(f, 32, 0, f"{f.name}_dir") for f in folders)
            return SimpleNamespace(source=source, target=target)

        return read

    def test_that_stay_the_same_are_not_spoken_of(self, run, streams, capsys):
        found = check_data(run, streams())
        assert json.loads((run.path / "data.json").read_text()) == found
        assert check_data(run, streams()) == found
        assert capsys.readouterr().out == ""

    def test_that_the_disk_cannot_read(self, streams, tmp_path, monkeypatch, caplog):
        """Of all photos of a folder: named one by one, then the folder's setting."""
        source = streams().source

        def fail(source):
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(source.path))

        monkeypatch.setattr(Source, "decoded", fail)
        with pytest.raises(UserError) as caught:
            source[0]
        assert str(caught.value) == f"source_dir: no picture in {tmp_path / 'source'} can be read"
        assert len(caplog.records) == 3
        assert "0.png: not a readable picture ([Errno 5] Input/output error" in caplog.text

    @pytest.mark.parametrize("change", ["vanish", "appear", "grow"])
    def test_that_change_are_named(self, run, streams, tmp_path, capsys, change):
        found = check_data(run, streams())
        path = tmp_path / "target" / "1.png"
        if change == "vanish":
            path.unlink()
        elif change == "appear":
            os.link(path, tmp_path / "target" / "9.png")
        else:
            Image.new("RGB", (90, 90)).save(path)
        other = check_data(run, streams())
        assert other["source"] == found["source"] and other["target"] != found["target"]
        assert capsys.readouterr().out == (
            f"warning: target_dir={tmp_path / 'target'}: the photos have changed since the run "
            "began\n"
        )

    @pytest.mark.parametrize("text", ["", "[]", "{}", "{"])
    def test_digests_that_cannot_be_read(self, run, streams, text):
        (run.path / "data.json").write_text(text)
        with pytest.raises(UserError, match="data.json: expected the digests of source and target"):
            check_data(run, streams())


def test_a_weight_that_is_none(run, monkeypatch):
    """Noticed before the generator or a checkpoint is written."""
    model = build_model(tiny("w_guide=0"))
    log = Log(run.path / "log.csv", log_columns(LOSSES))
    recorder = Recorder(run, log, None, None, Simultaneous(), "")
    recorder.set_model(model)
    recorder.iteration = 20
    weight = model.texture_discriminator.trainable_variables[-1]
    weight.assign(np.full(weight.shape, np.nan))
    files = sorted(run.path.iterdir())
    with pytest.raises(UserError) as caught:
        recorder._evaluate()
    assert str(caught.value).startswith(
        "iteration 20: a weight is not finite; the last checkpoint is kept. Try a smaller "
    )
    assert sorted(run.path.iterdir()) == files


@pytest.mark.slow
def test_a_loss_scale_that_is_exhausted(tmp_path, make_photo, monkeypatch):
    """The losses are finite, and their gradients too large for float16 however they are scaled."""
    own, _ = make_data(tmp_path / "photos", make_photo)
    monkeypatch.chdir(tmp_path)
    settings = ["precision=float16", "w_tv=1e20", "warm_start_iters=0", "w_guide=0"]
    with pytest.raises(UserError) as caught:
        cli.main([*TINY, *own, *settings, "num_train_iters=60", "eval_step=50", "run=mine"])
    assert str(caught.value).startswith("iteration 30: the gradients of the generators overflow")
    assert (Path("models/mine/checkpoints") / "ckpt-0.index").exists()
