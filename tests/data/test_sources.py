"""Which folders a run reads."""

from pathlib import Path

from tests.training.runs import tiny
from wespe_tf.data.sample import build_sample
from wespe_tf.data.sources import data_folders


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
