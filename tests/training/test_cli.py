"""`train.py` as a command: bad input, help, signals."""

import contextlib
import math
import os
import pty
import re
import signal
import sys
import termios
from pathlib import Path

import pytest

from tests.shared import SHARED, needs_shared
from tests.training.runs import LOSSES, TINY, make_data, read_log, read_summary, start, wait_for
from wespe_tf.data.patches import PatchStream
from wespe_tf.errors import UserError
from wespe_tf.training import cli
from wespe_tf.weights.generator import load_generator

BAD_SETTINGS = {
    "unknown key": (["batchsize=3"], r"unknown setting 'batchsize'; did you mean 'batch_size'\?"),
    "no value": (["batch_size"], "'batch_size': expected key=value"),
    "bad type": (["batch_size=many"], "batch_size=many: expected int"),
    "out of range": (["ema=1.5"], "ema=1.5: expected at least 0 and below 1"),
    "bad choice": (["blur=box"], "blur=box: expected one of dped_code, paper, unnormalised"),
    "unknown preset": (["preset=quik"], "preset=quik: no such preset"),
    "missing folder": (["source_dir=gone"], "source_dir: no folder gone"),
    "file as folder": (["target_dir={photos}/source/0.png"], "target_dir: no folder .*0.png"),
    "empty folder": (["source_dir={photos}/empty"], "source_dir: no pictures .*in .*empty"),
    "no pictures": (["target_dir={photos}/texts"], "target_dir: no pictures .*in .*texts"),
    "too small": (["patch_size=60"], "source_dir: no usable picture in .*patch_size=60"),
    "all broken": (["source_dir={photos}/broken"], "source_dir: no usable picture in .*broken"),
    "all truncated": (["target_dir={photos}/halves"], "target_dir: no picture in .*can be read"),
    "source alone": (["target_dir=null"], "source_dir needs target_dir too"),
    "val alone": (["val_target_dir=null"], "val_source_dir needs val_target_dir too"),
    "two data sets": (["model=iphone"], "give either model= .* or source_dir= and target_dir="),
    "unknown phone": (
        ["source_dir=null", "target_dir=null", "model=nokia"],
        "model=nokia: expected one of iphone",
    ),
    "no dped": (
        ["source_dir=null", "target_dir=null", "model=iphone", "dped_dir=gone"],
        "dped_dir=gone: no folder gone/iphone/training_data",
    ),
    "val names": (["val_target_dir={photos}/other_names"], "val_target_dir: .* has no partner for"),
    "val sizes": (["val_target_dir={photos}/target"], "56×48 pixels, but its partner .* has 50×44"),
    "val broken": (
        ["val_source_dir={photos}/halves", "val_target_dir={photos}/halves"],
        "half.jpg: not a readable picture",
    ),
    "border": (["border=8"], "border=8: leaves less than 17 pixels of patch_size=32"),
    "no weights": (
        ["w_content=1", "content_features=vgg19", "vgg_weights=gone.npz"],
        "vgg_weights=gone.npz: no such file",
    ),
    "bad weights": (
        ["w_content=1", "content_features=vgg19", "vgg_weights={photos}/texts/notes.txt"],
        "vgg_weights=.*notes.txt: expected an .h5",
    ),
    "run name": (["run=../up"], r"run=\.\./up: expected letters"),
    "run exists": (["run=mine"], "run=mine: models/mine exists already and was not changed"),
}


class TestBadInput:
    @pytest.fixture
    def photos(self, data, tmp_path, make_truncated):
        root = tmp_path / "photos"
        for name in ("empty", "texts", "broken", "halves", "other_names"):
            (root / name).mkdir()
        (root / "texts" / "notes.txt").write_text("hello")
        (root / "broken" / "0.jpg").write_text("hello")
        make_truncated(root / "halves" / "half.jpg")
        for number in range(3):
            os.link(root / "val_target" / f"{number}.png", root / "other_names" / f"x{number}.png")
        return root

    @pytest.mark.parametrize("mistake", BAD_SETTINGS)
    def test_is_one_line_and_nothing_is_written(
        self, data, photos, snapshot, monkeypatch, capsys, mistake
    ):
        arguments, expected = BAD_SETTINGS[mistake]
        _, with_val = data
        Path("models/mine").mkdir(parents=True)
        Path("models/mine/log.csv").write_text("precious")
        before = snapshot(Path("."))
        arguments = [argument.format(photos=photos) for argument in arguments]
        monkeypatch.setattr(sys, "argv", ["train.py", *TINY, *with_val, *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.command()
        assert ended.value.code == 2
        errors = capsys.readouterr().err.splitlines()
        assert len(errors) == 1
        assert re.fullmatch(f"error: .*{expected}.*", errors[0])
        assert snapshot(Path(".")) == before

    def test_models_cannot_be_made(self, data, monkeypatch, capsys):
        own, _ = data
        Path("models").write_text("not a folder")
        monkeypatch.setattr(sys, "argv", ["train.py", *TINY, *own])
        with pytest.raises(SystemExit) as ended:
            cli.command()
        assert ended.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert re.fullmatch(r"error: models.*: cannot be made \(.*\)", line)

    @pytest.mark.slow
    @pytest.mark.usefixtures("eagerly")
    def test_photos_that_break_during_the_run(self, data, monkeypatch, capsys):
        """All were readable at the start; the error is still one line."""
        own, _ = data
        get = PatchStream.__getitem__

        def fail(stream, number):
            if number >= 4:
                raise UserError("source_dir: no picture in photos can be read")
            return get(stream, number)

        monkeypatch.setattr(PatchStream, "__getitem__", fail)
        monkeypatch.setattr(sys, "argv", ["train.py", *TINY, *own, "run=breaks"])
        with pytest.raises(SystemExit) as ended:
            cli.command()
        assert ended.value.code == 2
        assert capsys.readouterr().err.splitlines()[-1] == (
            "error: source_dir: no picture in photos can be read"
        )


@pytest.mark.parametrize("flag", ["--help", "-h", "help"])
def test_help_prints_keys_and_does_nothing(flag, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py", flag])
    cli.command()
    printed = capsys.readouterr().out
    assert printed.startswith("usage: python train.py")
    assert all(f"  {key}=" in printed for key in ("batch_size", "source_dir", "precision"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
class TestAsAProcess:
    def test_bad_input_ends_with_status_2(self, tmp_path):
        process = start(tmp_path, "batchsize=3")
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 2
        # Nor does TensorFlow say anything when it starts.
        assert errors == "error: unknown setting 'batchsize'; did you mean 'batch_size'?\n"
        assert list(tmp_path.iterdir()) == []

    def test_signal_ends_a_run_with_what_it_has(self, tmp_path, make_photo):
        own, val = make_data(tmp_path / "photos", make_photo)
        endless = ["num_train_iters=100000", "eval_step=50000", "warm_start_iters=0", "run=stopped"]
        process = start(tmp_path, *TINY, *own, *val, *endless)
        run = tmp_path / "models" / "stopped"
        log = run / "log.csv"
        wait_for(lambda: log.exists() and len(log.read_text().splitlines()) > 4, process)
        process.terminate()
        output, errors = process.communicate(timeout=300)
        assert process.returncode == 128 + signal.SIGTERM, errors[-3000:]
        assert "Traceback" not in errors
        summary = read_summary(run)
        rows = read_log(run)
        assert 2 < summary["iterations"] < 100000
        assert int(rows[-1]["iteration"]) == summary["iterations"]
        assert summary["validation"]["psnr_enhanced"] == pytest.approx(
            float(rows[-1]["psnr"]), rel=1e-4
        )
        assert {"losses.png", "samples_000000.png"} < {p.name for p in (run / "figures").iterdir()}
        assert (run / "checkpoints" / f"ckpt-{summary['iterations']}.index").exists()
        load_generator(str(run))
        assert "stopping after this iteration" in output
        # A pipe gets lines, no bar.
        assert re.search(r"evaluation: psnr .*; .*\d left\n", output)
        assert not re.search(r"[\x00-\x09\x0b-\x1f]", output + errors)

    def test_interrupt_in_the_warm_start(self, tmp_path, make_photo):
        own, _ = make_data(tmp_path / "photos", make_photo)
        terminal, its_end = pty.openpty()
        termios.tcsetwinsize(its_end, (24, 80))
        settings = [*TINY, *own, "warm_start_iters=1000000", "run=stopped"]
        process = start(tmp_path, *settings, stderr=its_end)
        os.close(its_end)
        run = tmp_path / "models" / "stopped"
        errors = ""
        while "loss=" not in errors:
            errors += os.read(terminal, 1000).decode(errors="replace")
        # Of both: the warm start's iterations and the training's.
        assert re.search(r"warm start .*/1000004, .* left, loss=", errors)
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(OSError):  # That the terminal's other end is closed.
            while more := os.read(terminal, 1000):
                errors += more.decode(errors="replace")
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 130, errors[-3000:]
        assert "Traceback" not in errors
        assert "stopping after this iteration" in output
        assert read_summary(run)["iterations"] == 0
        assert "the warm start was stopped; resume=true starts it again" in output
        load_generator(str(run))


@needs_shared
@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_papers_preset_on_real_photos(tmp_path, monkeypatch):
    """The command of the specification, with networks an eighth as wide."""
    monkeypatch.chdir(tmp_path)
    bench = SHARED / "phone_bench"
    cli.main(
        [
            "preset=wespe",
            f"source_dir={bench / 'source'}",
            f"target_dir={bench / 'target'}",
            f"val_source_dir={bench / 'val_phone'}",
            f"val_target_dir={bench / 'val_enhanced'}",
            f"vgg_weights={SHARED / 'vgg19_imagenet_blocks1-3.npz'}",
            "content_layer=relu3_4",
            "num_train_iters=2",
            "batch_size=2",
            "generator_width=8",
            "discriminator_width=0.125",
        ]
    )
    run = Path("models") / "wespe-001"
    summary = read_summary(run)
    assert summary["iterations"] == 2
    scores = summary["validation"]
    # Whole photos: 16.1 dB untouched, 22.2 dB matched; 64 crops of them are near that.
    assert scores["psnr_input"] == pytest.approx(16.1, abs=2)
    assert scores["psnr_histogram_match"] == pytest.approx(22.2, abs=3)
    rows = read_log(run)
    assert [row["iteration"] for row in rows] == ["0", "1", "2"]
    assert all(math.isfinite(float(rows[-1][name])) for name in LOSSES)
    assert {p.name for p in run.iterdir()} == {
        "config.yaml",
        "data.json",
        "log.csv",
        "summary.json",
        "generator.keras",
        "generator_best.keras",
        "figures",
        "checkpoints",
        "tensorboard",
    }
