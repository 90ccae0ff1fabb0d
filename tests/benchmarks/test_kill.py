"""benchmarks/kill.py: a kill counts as what it was."""

from benchmarks import kill


def test_moments(tmp_path):
    def moment(planned, kept):
        return kill.moment_of(tmp_path / "run", planned, 15, kept)

    assert moment("random", None) == "start"
    (tmp_path / "run").mkdir()
    assert moment("random", 20) == "random"
    assert [moment("checkpoint", kept) for kept in (None, 10, 15)] == [
        *("checkpoint", "checkpoint", "written"),
    ]
    (tmp_path / "run" / "summary.json").write_text("{}")
    assert moment("checkpoint", 10) == "end"


def test_table():
    rows = [
        {"moment": moment, "resumed": "True", "identical": str(same)}
        for moment, same in (("written", True), ("written", False), ("start", True))
    ]
    assert list(kill.lines(rows))[2:] == [
        "| just after it wrote a checkpoint | 2 | 2 | 1 |",
        "| before it had a folder: started again | 1 | 1 | 1 |",
    ]
