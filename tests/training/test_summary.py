"""What a run says of the code and of the machine."""

import re
import subprocess

import pytest

from tests.shared import ROOT
from wespe_tf.training import summary
from wespe_tf.training.summary import gpus, processor


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
