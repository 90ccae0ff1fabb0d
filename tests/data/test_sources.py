"""Which folders a run reads."""

import os
from pathlib import Path

import pytest

from tests.training.runs import tiny
from wespe_tf.data import sample
from wespe_tf.data.sample import build_sample
from wespe_tf.data.sources import data_folders
from wespe_tf.errors import UserError


class TestDataFolders:
    def test_the_sample_is_the_default(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        folders = data_folders(tiny())
        assert folders == build_sample(Path("data") / "sample")
        assert all(p.is_dir() for p in (folders.source, folders.target, folders.val_source))

    def test_a_folder_that_cannot_be_written_is_one_line(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sample, "_make_files", lambda seed: {"README.txt": b""})
        Path("data").mkdir(mode=0o555)
        user = os.geteuid()
        for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent) if user == 0 else ():
            folder.chmod(0o755)
        try:
            os.seteuid(65534 if user == 0 else user)  # Root may write everywhere.
            with pytest.raises(UserError) as caught:
                data_folders(tiny())
        finally:
            os.seteuid(user)
        expected = "data/sample: the sample cannot be made (Permission denied)"
        assert str(caught.value) == expected and not list(Path("data").iterdir())

    def test_validation_pairs_of_ones_own_go_with_any_data(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        folders = data_folders(tiny("val_source_dir=a", "val_target_dir=b"))
        assert (folders.val_source, folders.val_target) == (Path("a"), Path("b"))
        assert folders.source == Path("data/sample/source")

    @pytest.mark.parametrize("key", ["source_dir", "target_dir", "val_source_dir", "dped_dir"])
    def test_an_empty_text_is_no_folder(self, tmp_path, monkeypatch, key):
        monkeypatch.chdir(tmp_path)
        for side in ("sony", "canon"):
            (tmp_path / "sony" / "training_data" / side).mkdir(parents=True)
        own = "model=sony" if key == "dped_dir" else "source_dir=a target_dir=b"
        with pytest.raises(UserError, match=f"^{key}=: expected a folder$"):
            data_folders(tiny(*own.split(), "val_target_dir=c", "val_source_dir=d", f"{key}="))

    def test_dped(self, tmp_path):
        for side in ("sony", "canon"):
            (tmp_path / "sony" / "training_data" / side).mkdir(parents=True)
        folders = data_folders(tiny("model=sony", f"dped_dir={tmp_path}"))
        assert folders.source == tmp_path / "sony" / "training_data" / "sony"
        assert folders.val_source is None
