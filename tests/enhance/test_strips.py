"""Strips of large arrays: in memory, in a file without a name, and its end."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.shared import ROOT
from wespe_tf.enhance.strips import Store, strip_starts
from wespe_tf.errors import UserError


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    return tmp_path


@pytest.mark.parametrize("length, rows", [(1, 6), (7, 6), (12, 6), (97, 6), (1572, 15), (40, 39)])
def test_strips_cover_every_row(length, rows):
    height, starts = strip_starts(length, rows)
    assert starts[0] == 0 and starts[-1] + height == length
    assert height <= rows or len(starts) == 1
    assert height >= 5 or len(starts) == 1
    steps = np.diff(starts)
    assert all((height - 1 <= steps) & (steps <= height))


@pytest.mark.parametrize("in_memory, in_file", [(8, 0), (3, 8), (0, 8)])
def test_keeps_what_it_is_given(in_memory, in_file, folder):
    with Store((3, 4), np.dtype(np.float32), in_memory, in_file) as store:
        for turn in range(3):
            strips = [store.take() for _ in range(7)]
            for number, strip in enumerate(strips):
                strip.array[:] = 10 * turn + number
                store.put(strip)
            store.fetch(strips[3])
            for number, strip in enumerate(strips):
                np.testing.assert_array_equal(store.get(strip), 10 * turn + number)
                store.close(strip)
                np.testing.assert_array_equal(store.get(strip), 10 * turn + number)
                store.free(strip)
        assert os.listdir(folder) == []


def test_too_little_room_on_the_disk(monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=500))
    with pytest.raises(UserError, match="mode=streamed: needs 0.0 GB on the disk of .* 0.0 free"):
        Store((10, 10), np.dtype(np.float32), 0, 2)


def test_a_disk_that_fills_up_is_said(monkeypatch, folder):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match="cannot be written .*No space left"):
        with Store((2, 2), np.dtype(np.float32), 0, 3) as store:
            strip = store.take()
            monkeypatch.setattr(os, "pwrite", full)
            store.put(strip)
            store.get(strip)
    assert os.listdir(folder) == []


PROGRAM = """
import sys, time
import numpy as np
from wespe_tf.enhance.strips import Store
with Store((1000, 1000), np.dtype(np.float32), 0, 3) as store:
    strip = store.take()
    store.put(strip)
    store.get(strip)
    print("written", flush=True)
    time.sleep(100)
"""


@pytest.mark.slow
def test_the_file_is_gone_with_the_process(folder):
    """However it ends: nobody can clean up after SIGKILL."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder)}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout.readline() == "written\n"
        if sys.platform == "linux":
            opened = [os.readlink(p) for p in Path(f"/proc/{process.pid}/fd").iterdir()]
            assert any(path.startswith(str(folder)) for path in opened)
        process.kill()
        assert process.wait(60) != 0
    deadline = time.monotonic() + 10
    while os.listdir(folder) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert os.listdir(folder) == []
