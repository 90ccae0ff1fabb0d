"""The command `train.py`: what a run leaves behind, under many settings."""

import math
import os
import re
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.training.runs import LOSSES, TINY, make_data, read_log, read_summary
from wespe_tf.config.loading import load
from wespe_tf.config.schema import TrainConfig
from wespe_tf.data.patches import PatchStream
from wespe_tf.metrics.quality import psnr
from wespe_tf.models.options import Loss
from wespe_tf.models.wespe import WESPE
from wespe_tf.training import build, cli
from wespe_tf.training.summary import processor
from wespe_tf.training.validation import Validation
from wespe_tf.weights.generator import load_generator

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
    "detail_ratio",
    "flat_noise_ratio",
}


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


@pytest.mark.slow
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
                finished.config.weights[name] * losses[name]
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
        context = finished.config.context_patches
        validation = Validation(*streams, photos / "val_source", photos / "val_target", context)
        generator = keras.saving.load_model(finished.path / "generator.keras", safe_mode=True)
        assert generator.width == 8 and generator.blocks == 1
        scores = [psnr(*pair) for pair in zip(validation.enhance(generator), validation.target)]
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
    @pytest.mark.usefixtures("eagerly")
    def test_a_new_loss_is_declared_in_one_place(self, data, monkeypatch):
        """From there it comes into the sum and the log."""

        class Brighter(WESPE):
            terms = WESPE.terms | {"darkness": Loss(0.25, "G(x) is bright")}

            def darkness_loss(self, step):
                return 1 - keras.ops.mean(step.enhanced)

        own, _ = data
        monkeypatch.setattr(build, "WESPE", Brighter)
        weights = ["w_content=0", "w_color=0", "w_guide=0", "w_texture=0.01", "w_tv=0.5"]
        self.run(*own, "run=mine", *weights, "num_train_iters=2")
        for row in read_log(Path("models/mine"))[1:]:
            assert 0 < float(row["darkness"]) < 1
            weighted = 0.01 * float(row["texture"]) + 0.5 * float(row["tv"])
            weighted += 0.25 * float(row["darkness"])
            assert float(row["generator"]) == pytest.approx(weighted, rel=1e-4)

    @pytest.mark.slow
    @pytest.mark.usefixtures("eagerly")
    def test_numbers_go_on_and_runs_repeat(self, data, capfd):
        own, with_val = data
        own.append("num_train_iters=2")
        self.run(*own)
        output = capfd.readouterr().out
        assert "evaluation: distance" in output
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
    @pytest.mark.usefixtures("eagerly")
    def test_a_schedules_decisions_are_in_the_log(self, data):
        own, _ = data
        settings = ["schedule=balance", "balance_begin=2", "w_guide=0"]
        settings += ["w_texture=1", "warm_start_iters=0"]
        self.run(*own, *settings, "run=balanced")
        rows = read_log(Path("models/balanced"))[1:]
        sides = ["generators", "discriminators", "generators", "generators"]
        assert [row["turn"] for row in rows] == sides
        assert [row["balance"] for row in rows] == ["start"] * 2 + ["generators behind"] * 2
        for row, side in zip(rows, sides):
            assert (row["generator"] == "") == (side == "discriminators")
            assert (row["color_disc"] == "") == (side == "generators")

    @pytest.mark.slow
    @pytest.mark.usefixtures("eagerly")
    def test_without_pairs_and_of_a_length_that_is_no_multiple_of_eval_step(self, data):
        own, _ = data
        settings = ["warm_start_iters=0", "w_guide=0", "num_train_iters=3"]
        self.run(*own, "run=unpaired", *settings)
        summary = read_summary(Path("models/unpaired"))
        assert summary["validation"] is None
        assert summary["collapsed"] is False
        assert summary["iterations"] == 3
        rows = read_log(Path("models/unpaired"))
        assert {row["psnr"] for row in rows} == {""}
        assert [row["iteration"] for row in rows] == ["0", "1", "2", "3"]
        assert [row["iteration"] for row in rows if row["collapse_score"]] == ["0", "2", "3"]
        assert all(float(row["guide"]) == 0 for row in rows[1:])

    @pytest.mark.slow
    @pytest.mark.usefixtures("eagerly")
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
    @pytest.mark.usefixtures("eagerly")
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
    @pytest.mark.usefixtures("undrawn")
    @pytest.mark.parametrize("precision", ["bfloat16", "float16"])
    def test_precision_trains_and_saves_float32(self, data, precision):
        own, _ = data
        settings = ["ema=0.5", "color_norm=instance", "warm_start_iters=0", "num_train_iters=2"]
        self.run(*own, f"precision={precision}", "run=low", *settings)
        keras.config.set_dtype_policy("float32")
        generator = load_generator("models/low")
        assert generator.head.compute_dtype == "float32"
        assert {v.dtype for v in generator.weights} == {"float32"}
        assert all(math.isfinite(float(r["generator"])) for r in read_log(Path("models/low"))[1:])

    @pytest.mark.slow
    @pytest.mark.usefixtures("undrawn")
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
    @pytest.mark.usefixtures("eagerly")
    def test_photos_of_all_kinds_are_taken_and_broken_ones_skipped_with_one_warning_each(
        self, data, tmp_path, make_truncated, caplog
    ):
        own, with_val = data
        source = tmp_path / "photos" / "source"
        with Image.open(source / "0.png") as photo:
            photo.convert("L").save(source / "gray.png")
            photo.convert("RGBA").save(source / "rgba.png")
            photo.convert("CMYK").save(source / "cmyk.jpg")
            wide = np.asarray(photo.convert("L")).astype(np.uint16) * 257
        Image.fromarray(wide).save(source / "wide.png")
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
