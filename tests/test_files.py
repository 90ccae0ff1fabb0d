"""Files are written whole or not at all. Digests are of their content."""

import json
import math
import os

import pytest

from wespe_tf.errors import UserError
from wespe_tf.files import digest, write_atomically, write_json


class TestWriteAtomically:
    def test_file_is_replaced(self, tmp_path):
        write_atomically(tmp_path / "file", b"old")
        write_atomically(str(tmp_path / "file"), b"new")
        assert (tmp_path / "file").read_bytes() == b"new"
        assert [p.name for p in tmp_path.iterdir()] == ["file"]

    def test_mode_is_what_the_umask_says(self, tmp_path):
        previous = os.umask(0o027)
        try:
            write_atomically(tmp_path / "file", b"x")
            assert os.umask(0o027) == 0o027
        finally:
            os.umask(previous)
        assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640

    @pytest.mark.parametrize("call", ["replace", "fchmod", "fsync"])
    def test_failure_keeps_the_earlier_file_and_leaves_nothing_else(
        self, tmp_path, monkeypatch, call
    ):
        write_atomically(tmp_path / "file", b"old")

        def fail(*args, **kwargs):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, call, fail)
        with pytest.raises(UserError, match=r"file: cannot be written \(No space left"):
            write_atomically(tmp_path / "file", b"new")
        assert (tmp_path / "file").read_bytes() == b"old"
        assert [p.name for p in tmp_path.iterdir()] == ["file"]

    def test_the_bytes_are_on_the_disk_before_the_name(self, tmp_path, monkeypatch):
        calls = []
        for name in ("fsync", "replace"):
            monkeypatch.setattr(os, name, lambda *_, name=name: calls.append(name))
        write_atomically(tmp_path / "file", b"new")
        assert calls == ["fsync", "replace"]

    def test_interruption_leaves_nothing(self, tmp_path, monkeypatch):
        def interrupt(*args):
            raise KeyboardInterrupt

        monkeypatch.setattr(os, "replace", interrupt)
        with pytest.raises(KeyboardInterrupt):
            write_atomically(tmp_path / "file", b"new")
        assert list(tmp_path.iterdir()) == []


def test_json_has_null_for_what_is_no_number(tmp_path):
    write_json(tmp_path / "file.json", {"a": math.nan, "b": [1.5, math.inf], "c": {"d": "ä"}})

    def refuse(constant):
        pytest.fail(f"holds {constant}")

    text = (tmp_path / "file.json").read_text(encoding="utf-8")
    expected = {"a": None, "b": [1.5, None], "c": {"d": "ä"}}
    assert json.loads(text, parse_constant=refuse) == expected


def test_digest_of_several_files_is_of_their_content_in_a_row(tmp_path):
    (tmp_path / "1").write_bytes(b"a")
    (tmp_path / "2").write_bytes(b"bc")
    # FIPS 180-2's example for SHA-256, of "abc".
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert digest(tmp_path / "1", tmp_path / "2") == expected
