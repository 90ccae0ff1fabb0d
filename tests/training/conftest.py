"""Fixtures of tiny runs."""

import pytest

from tests.models.tiny_wespe import draw_batch
from tests.training.runs import make_data, tiny
from wespe_tf.training.build import build_model
from wespe_tf.training.run_folder import RunFolder


@pytest.fixture
def data(tmp_path, make_photo, monkeypatch):
    """Settings of small folders, (own, with validation pairs); the working folder is empty."""
    own, val = make_data(tmp_path / "photos", make_photo)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return own, own + val


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The new folder of a run `mine`, below the working folder."""
    monkeypatch.chdir(tmp_path)
    return RunFolder.open(tiny("run=mine"))


@pytest.fixture
def model():
    """A tiny `WESPE` without content features and guide."""
    return build_model(tiny("w_guide=0"))


@pytest.fixture
def batch(rng):
    """A batch of source and of target patches, uint8."""
    return draw_batch(rng)
