"""A run's folder: its name, and the generator saved in it."""

import os
from pathlib import Path

import numpy as np
import pytest

from tests.training.runs import tiny
from wespe_tf.config.loading import load
from wespe_tf.config.schema import TrainConfig
from wespe_tf.errors import UserError
from wespe_tf.training.run_folder import RunFolder
from wespe_tf.weights.generator import load_generator


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
