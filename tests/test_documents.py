"""Commands in the documents: each names a command that is there, and settings that it has."""

import dataclasses
import importlib
import re
import shlex

import pytest

from tests.shared import ROOT
from wespe_tf.errors import UserError

DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "*/README.md")
    for path in ROOT.glob(pattern)
    if path.name != "CHANGELOG.md"
)
# The scripts of the project, and where their commands are.
SCRIPTS = {
    "train.py": "wespe_tf.training.cli",
    "test_model.py": "wespe_tf.enhance.cli",
    "export_tflite.py": "wespe_tf.export.cli",
    "wespe-train": "wespe_tf.training.cli",
    "wespe-test": "wespe_tf.enhance.cli",
    "wespe-export": "wespe_tf.export.cli",
}
# What stands for a value that a reader fills in.
PLACEHOLDER = re.compile(r"…|\.\.\.|[A-Z]{4,}|<\w+>")


def commands(path):
    """Commands in code blocks and in code within lines, continued lines joined."""
    text = re.sub(r"\\\n\s*", " ", path.read_text(encoding="utf-8"))
    lines = re.findall(r"^(?:    )?((?:python|wespe-\w+) .*)$", text, re.M)
    lines += re.findall(r"`((?:python|wespe-\w+) [^`\n]+)`", text)
    return [part for line in lines for part in re.split(r"\s*(?:&&|;)\s*", line)]


ALL = [(path.relative_to(ROOT).as_posix(), line) for path in DOCUMENTS for line in commands(path)]


def module_of(words):
    """The module whose `main` a command line runs, and the words after it; None for others."""
    if words[0] in SCRIPTS:
        return SCRIPTS[words[0]], words[1:]
    if words[:2] == ["python", "-m"]:
        return words[2], words[3:]
    if words[0] == "python" and words[1].startswith("benchmarks/"):
        return words[1].removesuffix(".py").replace("/", "."), words[2:]
    if words[0] == "python" and words[1] in SCRIPTS:
        return SCRIPTS[words[1]], words[2:]
    return None


def test_there_are_commands():
    assert len(ALL) > 30


@pytest.mark.parametrize("document, line", ALL, ids=lambda text: text[:60])
def test_settings_are_the_commands_own(document, line, monkeypatch):
    """Values are checked too, but for placeholders and files, which need not be there."""
    found = module_of(shlex.split(line, comments=True))
    assert found is not None, f"{document}: {line}: no command of this project"
    name, words = found
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    if name == "wespe_tf.data":
        name = f"wespe_tf.data.{words.pop(0)}"
    package = name in ("wespe_tf", "wespe_tf.web")
    command = importlib.import_module(f"{name}.__main__" if package else name).main
    read = getattr(command, "read", None)
    if read is None:  # `python -m wespe_tf` and compare_reference.py, which load nothing first
        return
    others = [word for word in words if "=" not in word and not PLACEHOLDER.search(word)]
    assert set(others) <= {"dataset", "before_after", "--help", "all"}
    settings = [word for word in words if "=" in word and not word.startswith("config=")]
    filled = [s for s in settings if PLACEHOLDER.search(s.split("=", 1)[1])]
    try:
        read(
            [*others[:1], *(s for s in settings if s not in filled)] if others != ["--help"] else []
        )
    except UserError as error:
        assert re.search("expected (run=NAME|at least one folder)|no run to resume", str(error)), (
            line
        )
    if command.schema is not None:
        keys = {field.name for field in dataclasses.fields(command.schema)}
        aliases = {f.metadata["alias"] for f in dataclasses.fields(command.schema)}
        assert {s.split("=")[0] for s in filled} <= keys | aliases
