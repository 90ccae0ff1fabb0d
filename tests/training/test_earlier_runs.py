"""Runs of earlier versions still load: two tiny ones, stopped in the middle, are kept for that.

`data_files/runs` holds what they had written: settings, a checkpoint, a generator. The one learned
with `preset=recommended`, the other with `preset=report_fig8` in float16, both on the sample.
"""

import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.shared import ROOT
from tests.training.runs import LOSSES, read_log, read_summary
from wespe_tf.config.loading import load
from wespe_tf.config.schema import TrainConfig
from wespe_tf.training import cli
from wespe_tf.weights.generator import load_generator

RUNS = ROOT / "tests" / "data_files" / "runs"
NAMES = ("recommended", "report")


@pytest.mark.parametrize("name", NAMES)
def test_settings(name):
    config = load(TrainConfig, [f"config={RUNS / name / 'config.yaml'}"])
    assert (config.generator_width, config.num_train_iters, config.seed) == (4, 4, 3)
    assert config.preset == {"recommended": "recommended", "report": "report_fig8"}[name]
    assert config.weights["guide"] == {"recommended": 20, "report": 0}[name]


@pytest.mark.parametrize("name", NAMES)
def test_generator(name, make_photo):
    path = RUNS / name / "generator.keras"
    picture = make_photo(40, 48)[None] / np.float32(255)
    enhanced = keras.saving.load_model(path, safe_mode=True)(picture)
    assert enhanced.shape == picture.shape and 0.01 < np.std(enhanced) < 0.5
    np.testing.assert_array_equal(load_generator(path)(picture), enhanced)


@pytest.mark.slow
@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("name", NAMES)
def test_goes_on_from_its_checkpoint(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(RUNS / name, tmp_path / "models" / name)
    (tmp_path / "models" / name / "figures").mkdir()
    cli.main(["resume=true", f"run={name}"])
    run = Path("models") / name
    assert read_summary(run)["iterations"] == 4
    rows = read_log(run)
    assert [row["iteration"] for row in rows] == list("01234")
    for row in rows[1:]:
        values = [float(row[loss]) for loss in LOSSES if row[loss]]
        assert values and np.isfinite(values).all()
