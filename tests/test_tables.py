"""Tables of results: what a command says of files that cannot be read or written."""

import pytest

from wespe_tf.errors import UserError
from wespe_tf.tables import append_row, read_rows


def test_rows_are_read_as_they_were_appended(tmp_path):
    table = tmp_path / "a.csv"
    assert read_rows(table) == []
    table.touch()
    for value in ("1", "2,\n3"):
        append_row(table, ("name", "value"), {"name": "ä", "value": value})
    rows = [{"name": "ä", "value": "1"}, {"name": "ä", "value": "2,\n3"}]
    assert read_rows(table) == rows


def test_files_that_cannot_be_read_or_written(tmp_path):
    with pytest.raises(UserError, match=r"gone/a.csv: cannot be written \(No such file"):
        append_row(tmp_path / "gone" / "a.csv", ("name",), {"name": "a"})
    with pytest.raises(UserError, match="cannot be written"):
        append_row(tmp_path, ("name",), {"name": "a"})
    with pytest.raises(UserError, match="cannot be read"):
        read_rows(tmp_path)
    (tmp_path / "a.csv").write_bytes(b"name\n\xff\n")
    with pytest.raises(UserError, match="a.csv: cannot be read"):
        read_rows(tmp_path / "a.csv")
