"""The command `train.py`: a run's folder, its numbers, and what happens when things go wrong."""

import csv
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.shared import SHARED, needs_shared
from wespe_tf.config.loading import load
from wespe_tf.config.schema import TrainConfig
from wespe_tf.data.patches import PatchStream
from wespe_tf.data.sample import build_sample
from wespe_tf.data.sources import data_folders
from wespe_tf.enhance.runtimes import choose_runtime
from wespe_tf.enhance.tiles import Enhancer, enhance
from wespe_tf.errors import UserError
from wespe_tf.metrics.quality import psnr
from wespe_tf.training import cli, summary
from wespe_tf.training import train as training
from wespe_tf.training.build import adam, build_model
from wespe_tf.training.checkpoints import Checkpoints, Log
from wespe_tf.training.recorder import LOSSES
from wespe_tf.training.run_folder import RunFolder
from wespe_tf.training.schedule import Simultaneous, make_schedule
from wespe_tf.training.summary import gpus, processor
from wespe_tf.training.validation import Validation
from wespe_tf.weights.generator import load_generator

ROOT = Path(__file__).parents[2]

TINY = (
    "generator_width=8",
    "generator_blocks=1",
    "discriminator_width=0.1",
    "patch_size=32",
    "border=4",
    "batch_size=2",
    "num_train_iters=4",
    "eval_step=2",
    "warm_start_iters=1",
)
COLUMNS = {
    "iteration",
    "seconds",
    "turn",
    "balance",
    *LOSSES,
    "psnr",
    "ssim",
    "distance",
    "collapse_score",
    "correlation",
    "mean_red",
    "mean_green",
    "mean_blue",
}


def tiny(*arguments):
    return load(TrainConfig, [*TINY, *arguments])


def checkpoints_of(run, model, schedule=None, log=None):
    """The `Checkpoints` of a run with a new log, of which two stay."""
    if log is None:
        log = Log(run.path / "log.csv", ["iteration"])
        log.open()
    return Checkpoints(run.path, model, schedule or Simultaneous(), log, 2)


def make_data(root, make_photo):
    """Folders `source`, `target`, `val_source` and `val_target` below `root`."""
    for number in range(3):
        for side, photo in (
            ("source", make_photo(48, 56, number) // 2),
            ("target", make_photo(48, 56, 10 + number)),
            ("val_source", make_photo(44, 50, 20 + number) // 2),
            ("val_target", make_photo(44, 50, 20 + number)),
        ):
            (root / side).mkdir(parents=True, exist_ok=True)
            Image.fromarray(photo).save(root / side / f"{number}.png")
    own = [f"{side}_dir={root / side}" for side in ("source", "target")]
    val = [f"val_{side}_dir={root / f'val_{side}'}" for side in ("source", "target")]
    return own, val


@pytest.fixture
def data(tmp_path, make_photo, monkeypatch):
    """Settings of small folders, (own, with validation pairs); the working folder is empty."""
    own, val = make_data(tmp_path / "photos", make_photo)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return own, own + val


def read_log(run):
    with open(run / "log.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_summary(run):
    """The summary as strict JSON, which has no NaN and no Infinity."""

    def refuse(constant):
        pytest.fail(f"summary.json has {constant}")

    return json.loads((run / "summary.json").read_text(), parse_constant=refuse)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, make_photo):
    """One whole tiny run with validation pairs: its folder, settings and printed text."""
    root = tmp_path_factory.mktemp("run")
    own, val = make_data(root / "photos", make_photo)
    arguments = [*TINY, *own, *val, "ema=0.5", "seed=3"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        lines = []
        patch.setattr("builtins.print", lambda *words, **_: lines.append(" ".join(map(str, words))))
        cli.main(arguments)
    return SimpleNamespace(
        root=root,
        path=root / "models" / "recommended-001",
        config=load(TrainConfig, arguments),
        printed="\n".join(lines),
    )


class TestRunFolder:
    def test_has_all_files(self, finished):
        found = {p.relative_to(finished.path).as_posix() for p in finished.path.rglob("*")}
        assert {
            "config.yaml",
            "log.csv",
            "summary.json",
            "generator.keras",
            "figures/losses.png",
            "figures/samples_000000.png",
            "figures/samples_000002.png",
            "figures/samples_000004.png",
            "checkpoints/checkpoint",
            "checkpoints/ckpt-2.index",
            "checkpoints/ckpt-4.index",
        } <= found
        assert any(re.fullmatch(r"tensorboard/events\.out\.tfevents\..*", name) for name in found)
        assert not [name for name in found if "/." in f"/{name}"]

    def test_nothing_is_written_elsewhere(self, finished):
        assert {p.name for p in finished.root.iterdir()} == {"photos", "models"}
        assert [p.name for p in (finished.root / "models").iterdir()] == ["recommended-001"]

    def test_config_repeats_the_run(self, finished):
        again = load(TrainConfig, [f"config={finished.path / 'config.yaml'}"])
        assert again == finished.config

    def test_log_has_every_loss_of_every_iteration(self, finished):
        rows = read_log(finished.path)
        assert set(rows[0]) == COLUMNS
        assert [int(row["iteration"]) for row in rows] == [0, 1, 2, 3, 4]
        for row in rows[1:]:
            losses = {name: float(row[name]) for name in LOSSES}
            assert all(math.isfinite(value) for value in losses.values())
            weighted = sum(
                getattr(finished.config, f"w_{name}") * losses[name]
                for name in ("content", "color", "texture", "tv", "guide")
            )
            assert losses["generator"] == pytest.approx(weighted, rel=1e-4)
        assert {row["turn"] for row in rows[1:]} == {"both"}
        seconds = [float(row["seconds"]) for row in rows]
        assert seconds == sorted(seconds)

    def test_log_has_an_evaluation_before_and_after_every_eval_step(self, finished):
        evaluated = [row["iteration"] for row in read_log(finished.path) if row["psnr"]]
        assert evaluated == ["0", "2", "4"]

    def test_figures_are_pictures(self, finished):
        for path in (finished.path / "figures").iterdir():
            with Image.open(path) as picture:
                picture.load()
                assert min(picture.size) > 300

    def test_tensorboard_has_losses_scores_and_pictures(self, finished):
        events = EventAccumulator(
            str(finished.path / "tensorboard"), size_guidance={"tensors": 0, "images": 0}
        )
        events.Reload()
        tags = events.Tags()
        assert {f"loss/{name}" for name in LOSSES} <= set(tags["tensors"])
        assert {"validation/psnr", "validation/collapse_score"} <= set(tags["tensors"])
        assert {"source", "enhanced", "target"} <= {t.split("/")[0] for t in tags["tensors"]}
        assert [event.step for event in events.Tensors("loss/generator")] == [1, 2, 3, 4]
        assert [event.step for event in events.Tensors("validation/psnr")] == [0, 2, 4]

    def test_summary_has_the_keys_of_the_interface(self, finished):
        summary = read_summary(finished.path)
        assert summary["iterations"] == 4
        assert summary["seed"] == 3
        assert summary["preset"] == "recommended"
        assert summary["collapsed"] is False
        assert summary["uniform_since"] is None
        assert 0 < summary["seconds"] < 600
        assert {
            "psnr_input",
            "psnr_enhanced",
            "psnr_histogram_match",
            "ssim_input",
            "ssim_enhanced",
            "ssim_histogram_match",
        } <= set(summary["validation"])
        assert all(type(value) in (int, float) for value in summary["validation"].values())
        assert len(summary["mean_color"]) == 3
        assert -1 <= summary["correlation"] <= 1
        assert summary["versions"]["keras"] == keras.__version__
        assert summary["hardware"]["cores"] == os.cpu_count()
        assert summary["hardware"]["processor"] == processor()
        digests = summary["data"]
        assert len(digests["source"]) == 64 and digests["source"] != digests["target"]

    def test_summary_agrees_with_the_log(self, finished):
        summary, last = read_summary(finished.path), read_log(finished.path)[-1]
        scores = summary["validation"]
        assert scores["psnr_enhanced"] == pytest.approx(float(last["psnr"]), rel=1e-4)
        assert scores["ssim_enhanced"] == pytest.approx(float(last["ssim"]), rel=1e-4)
        for key in ("distance", "collapse_score"):
            assert summary[key] == pytest.approx(float(last[key]), rel=1e-4)
        rows = [row for row in read_log(finished.path) if row["distance"]]
        least = min(rows, key=lambda row: float(row["distance"]))
        assert summary["iteration_of_least_distance"] == int(least["iteration"])

    def test_saved_generator_has_the_score_of_the_summary(self, finished):
        """It is the averaged generator that was evaluated, and nothing is lost in the file."""
        photos = finished.root / "photos"
        streams = [PatchStream(photos / side, 32, 0, side) for side in ("source", "target")]
        validation = Validation(*streams, photos / "val_source", photos / "val_target")
        generator = keras.saving.load_model(finished.path / "generator.keras", safe_mode=True)
        assert generator.width == 8 and generator.blocks == 1
        enhancer = Enhancer(generator, choose_runtime("keras"))
        enhanced = [enhance(enhancer, picture) for picture in validation.source]
        scores = [psnr(*pair) for pair in zip(enhanced, validation.target)]
        expected = read_summary(finished.path)["validation"]["psnr_enhanced"]
        assert np.mean(scores) == pytest.approx(expected, abs=1e-3)

    def test_generator_loads_by_the_runs_name(self, finished, monkeypatch):
        monkeypatch.chdir(finished.root)
        for name in ("recommended-001", "models/recommended-001", str(finished.path)):
            assert load_generator(name).count_params() > 0

    def test_end_says_verdict_and_numbers(self, finished):
        scores = read_summary(finished.path)["validation"]
        assert "4 iterations" in finished.printed and "not collapsed" in finished.printed
        for name in ("input", "histogram_match", "enhanced"):
            assert f"{scores[f'psnr_{name}']:.2f}" in finished.printed
            assert f"{scores[f'ssim_{name}']:.4f}" in finished.printed


class TestRuns:
    def run(self, *arguments):
        cli.main([*TINY, *arguments])

    @pytest.mark.slow
    def test_numbers_go_on_and_runs_repeat(self, data, capfd):
        own, with_val = data
        self.run(*own)
        output = capfd.readouterr().out
        assert "content:" in output and "color_disc:" in output  # Keras's progress bar
        self.run(*own)
        self.run(*own, "seed=1", "run=other")
        assert sorted(p.name for p in Path("models").iterdir()) == [
            "other",
            "recommended-001",
            "recommended-002",
        ]
        logs = [
            [[float(row[name] or "nan") for name in LOSSES] for row in read_log(Path(path))]
            for path in ("models/recommended-001", "models/recommended-002", "models/other")
        ]
        first, same_seed, other_seed = np.array(logs)
        np.testing.assert_allclose(first, same_seed, rtol=1e-3)
        assert np.nanmax(np.abs(first - other_seed) / first) > 0.01

    @pytest.mark.slow
    def test_a_schedules_decisions_are_in_the_log(self, data):
        own, _ = data
        settings = ["schedule=balance", "balance_begin=2", "balance_start=1:1", "w_guide=0"]
        settings += ["balance_generator_threshold=1e9", "balance_discriminators_ahead=2:1"]
        settings += ["balance_discriminator_threshold=1e9", "warm_start_iters=0"]
        self.run(*own, *settings, "run=balanced")
        rows = read_log(Path("models/balanced"))[1:]
        sides = ["generators", "discriminators", "generators", "generators"]
        assert [row["turn"] for row in rows] == sides
        assert [row["balance"] for row in rows] == ["start"] * 2 + ["discriminators ahead"] * 2
        for row, side in zip(rows, sides):
            assert (row["generator"] == "") == (side == "discriminators")
            assert (row["color_disc"] == "") == (side == "generators")

    @pytest.mark.slow
    def test_without_pairs_validation_is_null(self, data):
        own, _ = data
        self.run(*own, "run=unpaired", "warm_start_iters=0", "w_guide=0")
        summary = read_summary(Path("models/unpaired"))
        assert summary["validation"] is None
        assert summary["collapsed"] is False
        rows = read_log(Path("models/unpaired"))
        assert {row["psnr"] for row in rows} == {""}
        assert [row["iteration"] for row in rows if row["collapse_score"]] == ["0", "2", "4"]
        assert all(float(row["guide"]) == 0 for row in rows[1:])

    @pytest.mark.slow
    def test_length_need_not_be_a_multiple_of_eval_step(self, data):
        own, _ = data
        self.run(*own, "run=odd", "num_train_iters=3", "warm_start_iters=0")
        rows = read_log(Path("models/odd"))
        assert [row["iteration"] for row in rows] == ["0", "1", "2", "3"]
        assert [row["iteration"] for row in rows if row["collapse_score"]] == ["0", "2", "3"]
        assert read_summary(Path("models/odd"))["iterations"] == 3

    @pytest.mark.slow
    def test_collapse_is_noticed(self, data, capsys):
        """DPED's start is uniform and four steps do not change that."""
        own, _ = data
        self.run(*own, "run=flat", "generator_init=truncated_normal", "warm_start_iters=0")
        summary = read_summary(Path("models/flat"))
        assert summary["collapsed"] is True and summary["uniform_since"] == 0
        assert summary["collapse_score"] < 0.1
        printed = capsys.readouterr().out
        assert "COLLAPSED" in printed and "nearly uniform" in printed

    @pytest.mark.slow
    def test_flat_photos_give_valid_json(self, data, tmp_path):
        """No patch has contrast: there is no collapse score, and PSNR may be infinite."""
        for side in ("source", "target", "val_source", "val_target"):
            folder = tmp_path / "flat" / side
            folder.mkdir(parents=True)
            Image.fromarray(np.full((40, 40, 3), 99, np.uint8)).save(folder / "0.png")
        flat = [f"{p.name}_dir={p}" for p in (tmp_path / "flat").iterdir()]
        self.run(*flat, "run=flat", "w_guide=0", "warm_start_iters=0", "num_train_iters=2")
        summary = read_summary(Path("models/flat"))
        assert summary["iterations"] == 2
        assert summary["collapse_score"] is None
        assert summary["validation"]["psnr_input"] is None

    @pytest.mark.slow
    @pytest.mark.parametrize("precision", ["bfloat16", "float16"])
    def test_precision_trains_and_saves_float32(self, data, precision):
        own, _ = data
        self.run(*own, f"precision={precision}", "run=low", "ema=0.5", "color_norm=instance")
        keras.config.set_dtype_policy("float32")
        generator = load_generator("models/low")
        assert generator.head.compute_dtype == "float32"
        assert {v.dtype for v in generator.weights} == {"float32"}
        assert all(math.isfinite(float(r["generator"])) for r in read_log(Path("models/low"))[1:])

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "settings",
        [
            ["discriminator_head=two_class_softmax", "generator_norm=layer", "color_norm=layer"],
            [
                "discriminator_head=one_class_sigmoid",
                "generator_norm=batch",
                "texture_norm=batch",
                "blur=unnormalised",
            ],
        ],
        ids=["softmax, layer norm", "one class, batch norm"],
    )
    def test_options_run_through(self, data, settings):
        own, _ = data
        self.run(*own, *settings, "run=option", "warm_start_iters=0", "num_train_iters=2")
        assert read_summary(Path("models/option"))["iterations"] == 2
        load_generator("models/option")

    @pytest.mark.slow
    def test_broken_photos_are_skipped_with_one_warning_each(
        self, data, tmp_path, make_truncated, caplog
    ):
        own, with_val = data
        source = tmp_path / "photos" / "source"
        make_truncated(source / "half.jpg")
        (source / "text.jpg").write_text("not a picture")
        Image.fromarray(np.zeros((40, 20, 3), np.uint8)).save(source / "small.png")
        make_truncated(tmp_path / "photos" / "target" / "half2.jpg")
        self.run(*with_val, "run=skips", "num_train_iters=2")
        warned = [record.getMessage() for record in caplog.records if record.name == "wespe_tf"]
        assert len(warned) == 4
        for name in ("half.jpg", "text.jpg", "small.png", "half2.jpg"):
            assert sum(name in line for line in warned) == 1
        assert read_summary(Path("models/skips"))["iterations"] == 2

    @pytest.mark.slow
    def test_grey_rgba_cmyk_and_16_bit_photos_are_converted(self, data, tmp_path):
        own, _ = data
        source = tmp_path / "photos" / "source"
        with Image.open(source / "0.png") as photo:
            photo.convert("L").save(source / "grey.png")
            photo.convert("RGBA").save(source / "rgba.png")
            photo.convert("CMYK").save(source / "cmyk.jpg")
            wide = np.asarray(photo.convert("L")).astype(np.uint16) * 257
        Image.fromarray(wide).save(source / "wide.png")
        self.run(*own, "run=mixed", "num_train_iters=2")
        assert read_summary(Path("models/mixed"))["iterations"] == 2


class TestRunNames:
    @pytest.fixture(autouse=True)
    def empty_folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)

    def test_number_follows_the_highest(self):
        for name in ("quickstart-001", "quickstart-007", "wespe-009", "quickstart-x", "quickstart"):
            (Path("models") / name).mkdir(parents=True)
        assert RunFolder.open(tiny()).path == Path("models/quickstart-008")
        assert RunFolder.open(load(TrainConfig, ["preset=wespe"])).path == Path("models/wespe-010")

    def test_numbers_pass_999(self):
        Path("models/quickstart-999").mkdir(parents=True)
        assert RunFolder.open(tiny()).path.name == "quickstart-1000"

    def test_own_preset_files_name_their_runs(self):
        Path("my.recipe.yaml").write_text("batch_size: 3\n")
        config = load(TrainConfig, ["preset=my.recipe.yaml"])
        assert RunFolder.open(config).path == Path("models/my.recipe-001")

    def test_settings_of_a_named_run_repeat_it_under_another_name(self):
        run = RunFolder.open(tiny("run=mine", "seed=7"))
        again = load(TrainConfig, [f"config={run.path / 'config.yaml'}"])
        assert again == tiny("seed=7")
        assert RunFolder.open(again).path == Path("models/quickstart-001")

    def test_existing_run_is_refused_and_untouched(self, snapshot):
        run = RunFolder.open(tiny("run=mine"))
        (run.path / "log.csv").write_text("precious")
        before = snapshot(Path("models"))
        with pytest.raises(UserError, match="run=mine: models/mine exists already"):
            RunFolder.open(tiny("run=mine"))
        assert snapshot(Path("models")) == before

    @pytest.mark.parametrize("name", ["../up", "a/b", "..", ".", "/tmp/x", "", "a b", "-"])
    def test_names_outside_of_models_are_refused(self, name, snapshot):
        with pytest.raises(UserError, match="run=.*: expected letters, digits"):
            RunFolder.open(tiny(f"run={name}"))
        assert snapshot(Path(".")) == {}

    @pytest.mark.parametrize("run", ["run=mine", "seed=0"])
    def test_a_file_in_the_way_of_models_is_named(self, run):
        Path("models").write_text("not a folder")
        with pytest.raises(UserError, match=r"models.*: cannot be made \("):
            RunFolder.open(tiny(run))
        assert Path("models").read_text() == "not a folder"


class TestSaving:
    @pytest.fixture
    def run(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        return RunFolder.open(tiny("run=mine"))

    @pytest.fixture
    def model(self):
        return build_model(tiny("w_guide=0"))

    def test_failure_keeps_the_earlier_generator(self, run, model, monkeypatch):
        run.save_generator(model.generator)
        before = (run.path / "generator.keras").read_bytes()
        files = sorted(p.name for p in run.path.iterdir())

        def fail(*paths):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "replace", fail)
        with pytest.raises(UserError, match="generator.keras: cannot be written .*No space left"):
            run.save_generator(model.generator)
        assert (run.path / "generator.keras").read_bytes() == before
        assert sorted(p.name for p in run.path.iterdir()) == files

    def test_every_time_the_weights_are_those_of_now_without_new_variables(self, run, model):
        run.save_generator(model.generator)
        made = run.plain
        weights = model.generator.get_weights()
        model.generator.set_weights([w + 1 for w in weights])
        run.save_generator(model.generator)
        assert run.plain is made
        saved = load_generator(run.path / "generator.keras").get_weights()
        for found, before in zip(saved, weights, strict=True):
            np.testing.assert_array_equal(found, before + 1)

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
        # Each trainable value comes with Adam's two moments.
        assert stored > 2.5 * networks

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
            assert capsys.readouterr().out.endswith("no checkpoint yet; the run begins anew\n")
        log.write({"iteration": 1})
        with pytest.raises(UserError) as caught:
            training.restore(checkpoints, run, tf.distribute.get_strategy())
        assert str(caught.value) == (
            "models/mine/checkpoints: no checkpoint, but models/mine/log.csv tells of iterations; "
            "a new run takes another name"
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


class TestSettingsReachTheModel:
    def test_networks(self):
        model = build_model(
            tiny(
                "generator_norm=layer",
                "generator_init=glorot",
                "tanh_scale=0.5",
                "discriminator_head=one_class_sigmoid",
                "color_norm=spectral",
                "texture_norm=batch",
                "discriminator_init=torch_default",
                "discriminator_order=norm_activation",
                "content_pair=enhanced",
                "content_extra_division=true",
                "label_smoothing=0.2",
                "flip_labels=true",
                "unfreeze_discriminators=true",
                "blur=dped_code",
                "w_color=0.3",
                "w_guide=0",
            )
        )
        for generator in (model.generator, model.inverse_generator):
            assert (generator.width, generator.blocks, generator.norm) == (8, 1, "layer")
            assert (generator.init, generator.tanh_scale) == ("glorot", 0.5)
        for discriminator, norm in (
            (model.color_discriminator, "spectral"),
            (model.texture_discriminator, "batch"),
        ):
            assert (discriminator.norm, discriminator.head) == (norm, "one_class_sigmoid")
            assert (discriminator.init, discriminator.width_multiplier) == ("torch_default", 0.1)
            assert discriminator.order == "norm_activation"
        assert (model.blur.kernel, model.w_color, model.border) == ("dped_code", 0.3, 4)
        assert (model.content_pair, model.content_extra_division) == ("enhanced", True)
        assert (model.label_smoothing, model.flip_labels) == (0.2, True)
        assert model.unfreeze_discriminators
        assert model.vgg is None
        generator_start = model.generator.head.kernel.numpy()
        assert (generator_start != model.inverse_generator.head.kernel.numpy()).any()

    def test_content_layer(self):
        config = tiny("content_features=vgg19", "vgg_weights=random", "content_layer=relu1_2")
        model = build_model(config)
        assert len(model.vgg.conv_layers()) == 2 and model.vgg.style == "keras"
        settings = ["content_features=vgg19", "vgg_weights=random", "vgg_preprocessing=report"]
        assert build_model(tiny(*settings)).vgg.style == "report"
        # Nothing to download for a loss without weight.
        assert build_model(tiny("content_features=vgg19", "w_content=0")).vgg is None

    def test_optimizers(self):
        model = build_model(
            tiny(
                "learning_rate=3e-4",
                "discriminator_learning_rate=2e-4",
                "generator_beta_1=0.8",
                "discriminator_beta_1=0.4",
                "learning_rate_decay=none",
                "ema=0.9",
            )
        )
        of_g, of_d = model.generator_optimizer, model.discriminator_optimizer
        assert float(of_g.learning_rate) == pytest.approx(3e-4)
        assert float(of_d.learning_rate) == pytest.approx(2e-4)
        assert (of_g.beta_1, of_d.beta_1) == (0.8, 0.4)
        assert (of_g.epsilon, of_d.epsilon, of_g.beta_2) == (1e-8, 1e-8, 0.999)
        assert of_g.use_ema and of_g.ema_momentum == 0.9 and not of_d.use_ema

    def test_cosine_rises_over_a_tenth_and_ends_at_zero(self):
        config = tiny("learning_rate_decay=cosine", "num_train_iters=200")
        optimizer = adam(config, 1e-3, 0.9)
        found = []
        for iteration in (0, 10, 20, 110, 200):
            optimizer.iterations.assign(iteration)
            found.append(float(optimizer.learning_rate))
        np.testing.assert_allclose(found, [0, 5e-4, 1e-3, 5e-4, 0], atol=1e-9)

    def test_half_precision_scales_its_losses(self):
        config = tiny("precision=float16", "ema=0.9")
        optimizer = adam(config, 1e-3, 0.9, config.ema)
        assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
        assert optimizer.inner_optimizer.use_ema
        for precision in ("float32", "bfloat16"):
            assert type(adam(tiny(f"precision={precision}"), 1e-3, 0.9)) is keras.optimizers.Adam

    def test_smallest_patch_leaves_the_discriminators_something_to_see(self, rng):
        """Down to one pixel, instance norm would make all pictures equal."""
        config = tiny("patch_size=17", "border=0", "w_guide=0", "color_norm=instance")
        judge = build_model(config).color_discriminator
        logits = judge(rng.random((2, 17, 17, 3)).astype(np.float32)).numpy()
        assert np.abs(logits[0] - logits[1]).max() > 1e-4
        with pytest.raises(
            UserError, match="border=8: leaves less than 17 pixels of patch_size=32"
        ):
            build_model(tiny("border=8"))


class TestDataFolders:
    def test_the_sample_is_the_default(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        folders = data_folders(tiny())
        assert folders == build_sample(Path("data") / "sample")
        assert all(p.is_dir() for p in (folders.source, folders.target, folders.val_source))

    def test_validation_pairs_of_ones_own_go_with_any_data(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        folders = data_folders(tiny("val_source_dir=a", "val_target_dir=b"))
        assert (folders.val_source, folders.val_target) == (Path("a"), Path("b"))
        assert folders.source == Path("data/sample/source")

    def test_dped(self, tmp_path):
        for side in ("sony", "canon"):
            (tmp_path / "sony" / "training_data" / side).mkdir(parents=True)
        folders = data_folders(tiny("model=sony", f"dped_dir={tmp_path}"))
        assert folders.source == tmp_path / "sony" / "training_data" / "sony"
        assert folders.val_source is None


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
    "source alone": (["target_dir=null"], "source_dir needs target_dir beside it"),
    "val alone": (["val_target_dir=null"], "val_source_dir needs val_target_dir beside it"),
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
        ["content_features=vgg19", "vgg_weights=gone.npz"],
        "vgg_weights=gone.npz: no such file",
    ),
    "bad weights": (
        ["content_features=vgg19", "vgg_weights={photos}/texts/notes.txt"],
        "vgg_weights=.*notes.txt: expected an .h5",
    ),
    "run name": (["run=../up"], r"run=\.\./up: expected letters"),
    "run exists": (["run=mine"], "run=mine: models/mine exists already and is left as it is"),
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


class TestCodeState:
    def test_of_a_repository(self):
        if not (ROOT / ".git").exists():
            pytest.skip("no repository")
        assert re.fullmatch("[0-9a-f]{12,}(-dirty)?", summary.code_state())

    def test_of_a_copy_within_another_repository(self, tmp_path, monkeypatch):
        subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
        copy = tmp_path / "venv" / "wespe_tf" / "training" / "summary.py"
        copy.parent.mkdir(parents=True)
        monkeypatch.setattr(summary, "__file__", str(copy))
        assert summary.code_state() is None


def test_hardware_has_names():
    assert re.search("[A-Z]", processor())
    assert gpus() == [] or not gpus()[0].startswith("/physical_device")


@pytest.mark.parametrize("flag", ["--help", "-h", "help"])
def test_help_prints_every_key_and_does_nothing(flag, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py", flag])
    cli.command()
    printed = capsys.readouterr().out
    assert printed.startswith("usage: python train.py")
    assert all(f"  {key}=" in printed for key in ("batch_size", "w_color", "source_dir", "ema"))
    assert list(tmp_path.iterdir()) == []


def start(folder, *arguments):
    """`python train.py` in a folder, as a user starts it."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition, process, seconds=240):
    end = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            pytest.fail(f"gave up waiting; output:\n{''.join(process.communicate())[-3000:]}")
        time.sleep(0.2)


@pytest.mark.slow
class TestAsAProcess:
    def test_bad_input_ends_with_status_2(self, tmp_path):
        process = start(tmp_path, "batchsize=3")
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 2
        assert errors.splitlines()[-1] == (
            "error: unknown setting 'batchsize'; did you mean 'batch_size'?"
        )
        assert "Traceback" not in errors
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_signal_ends_a_run_with_what_it_has(self, tmp_path, make_photo, number):
        own, val = make_data(tmp_path / "photos", make_photo)
        endless = ["num_train_iters=100000", "eval_step=50000", "warm_start_iters=0", "run=stopped"]
        process = start(tmp_path, *TINY, *own, *val, *endless)
        run = tmp_path / "models" / "stopped"
        log = run / "log.csv"
        wait_for(lambda: log.exists() and len(log.read_text().splitlines()) > 4, process)
        process.send_signal(number)
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 128 + number, errors[-3000:]
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

    def test_interrupt_in_the_warm_start(self, tmp_path, make_photo):
        own, _ = make_data(tmp_path / "photos", make_photo)
        process = start(tmp_path, *TINY, *own, "warm_start_iters=1000000", "run=stopped")
        run = tmp_path / "models" / "stopped"
        seen = ""
        while "loss:" not in seen:
            character = process.stdout.read(1)
            assert character, process.stderr.read()
            seen += character
        assert "warm start" in seen
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=180)
        assert process.returncode == 130, errors[-3000:]
        assert "Traceback" not in errors
        assert "stopping after this iteration" in output
        assert read_summary(run)["iterations"] == 0
        assert "the warm start was stopped; resume=true begins it anew" in output
        load_generator(str(run))

    @needs_shared
    def test_papers_preset_on_real_photos(self, tmp_path):
        """The command of the specification, with networks an eighth as wide."""
        bench = SHARED / "phone_bench"
        process = start(
            tmp_path,
            "preset=wespe",
            f"source_dir={bench / 'source'}",
            f"target_dir={bench / 'target'}",
            f"val_source_dir={bench / 'val_phone'}",
            f"val_target_dir={bench / 'val_enhanced'}",
            f"vgg_weights={SHARED / 'vgg19_imagenet_blocks1-3.npz'}",
            "content_layer=relu3_4",
            "num_train_iters=3",
            "batch_size=4",
            "generator_width=8",
            "discriminator_width=0.125",
        )
        _, errors = process.communicate(timeout=590)
        assert process.returncode == 0, errors[-3000:]
        run = tmp_path / "models" / "wespe-001"
        summary = read_summary(run)
        assert summary["iterations"] == 3
        scores = summary["validation"]
        # Whole photos: 16.1 dB untouched, 22.2 dB matched; 64 crops of them are near that.
        assert scores["psnr_input"] == pytest.approx(16.1, abs=2)
        assert scores["psnr_histogram_match"] == pytest.approx(22.2, abs=3)
        rows = read_log(run)
        assert [row["iteration"] for row in rows] == ["0", "1", "2", "3"]
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
