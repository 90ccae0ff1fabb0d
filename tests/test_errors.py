"""How a command ends: one line, a status, and no traceback."""

import io
import os
import subprocess
import sys

import pytest

from tests.shared import ROOT
from wespe_tf.errors import UserError, first_line, run_command


@pytest.mark.parametrize(
    "message, line", [("", "ValueError"), ("\n  a\nb", "a"), ("x" * 300, "x" * 240)]
)
def test_first_line(message, line):
    assert first_line(ValueError(message)) == line


@pytest.mark.parametrize(
    "error, status, line",
    [(UserError("key: wrong"), 2, "error: key: wrong"), (KeyboardInterrupt(), 130, "interrupted")],
)
def test_errors_and_interrupts_are_one_line(error, status, line, capsys):
    def fail(arguments):
        raise error

    with pytest.raises(SystemExit) as ended:
        run_command(fail)
    assert ended.value.code == status
    assert capsys.readouterr().err == f"{line}\n"


@pytest.mark.parametrize("encoding", ["ascii", "utf-8", "latin-1"])
def test_what_cannot_be_printed_does_not_end_the_work(encoding, monkeypatch):
    """The × of sizes, and names of files that are no text."""
    name = b"latin\xe9.jpg".decode("utf-8", "surrogateescape")
    written = io.BytesIO()
    with io.TextIOWrapper(written, encoding) as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        run_command(lambda _: print("3×4", "名", name))
        stdout.flush()
        assert b"latin\\udce9.jpg" in written.getvalue()


@pytest.mark.slow
def test_keras_environment_of_other_projects(tmp_path):
    (tmp_path / "keras.json").write_text(
        '{"floatx": "float16", "epsilon": 1e-3, "backend": "jax", '
        '"image_data_format": "channels_first"}'
    )
    variables = {"KERAS_BACKEND": "jax", "TF_USE_LEGACY_KERAS": "1", "KERAS_HOME": "."}
    code = (
        "import wespe_tf, keras; g = wespe_tf.Generator(width=4, blocks=1);"
        "shape = g(keras.ops.zeros((1, 9, 8, 3))).shape;"
        "print(keras.config.backend(), shape, keras.config.floatx())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | variables,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "tensorflow (1, 9, 8, 3) float32\n"


def test_a_reader_that_ends_early():
    """`python -m wespe_tf.data --help | head -1`: no traceback."""
    command = [sys.executable, "-m", "wespe_tf.data", "--help"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as process:
        process.stdout.close()
        assert process.wait() == 1
        assert process.stderr.read() == b""
