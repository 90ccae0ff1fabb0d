"""The notebook runs from its first cell to its last, and shows what it made."""

import json
import os
import sys
from pathlib import Path

import pytest

from tests.shared import ROOT

NOTEBOOK = ROOT / "examples" / "quickstart.ipynb"


def test_its_outputs_are_there_and_small():
    assert NOTEBOOK.stat().st_size < 600_000
    cells = [c for c in json.loads(NOTEBOOK.read_text())["cells"] if c["cell_type"] == "code"]
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert all(output["output_type"] != "error" for output in outputs)
    # Loss curves; the photo before, after, and the good camera's; before and after on the phone.
    pictures = [kind for o in outputs for kind in o.get("data", {}) if kind.startswith("image/")]
    assert len(pictures) == 3
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))


@pytest.mark.slow
def test_it_runs(tmp_path, monkeypatch):
    nbclient = pytest.importorskip(
        "nbclient", reason="nbclient is missing: pip install -e '.[test]'"
    )
    import nbformat

    monkeypatch.setenv("ITERATIONS", "2")
    monkeypatch.setenv(
        "PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    )
    notebook = nbformat.read(NOTEBOOK, 4)
    place = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources=place).execute()
    assert list(tmp_path.glob("models/quickstart-001/figures/losses.png"))
    assert list(tmp_path.glob("exported/quickstart-001_float16.tflite"))
    assert list(tmp_path.glob("results/*_before_after.png"))
