"""Runs public code and this project's in processes of their own, so that memory can be measured."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

# wespe_tf, and with it Keras, is imported in functions: the processes import this file too, and
# those of the public codes must not hold more in memory than that code alone.

ROOT = Path(__file__).resolve().parents[2]
RECORD = "record.json"


def check_checkout(key, folder, repository, files):
    """Raises a `UserError` if a folder lacks files of a public code.

    Args:
        key: the setting that names the folder.
        folder: its path.
        repository: `owner/name` on GitHub.
        files: paths within the folder.
    """
    from wespe_tf.errors import UserError

    missing = [name for name in files if not Path(folder, name).is_file()]
    if missing:
        raise UserError(
            f"{key}={folder}: no checkout of github.com/{repository}: no {', '.join(missing)}"
        )


def run_process(folder, log, work, *arguments):
    """Calls a function in a process of its own, in a working folder.

    Args:
        folder: the working folder.
        log: file for what it prints.
        work: function of a module. It takes strings, and writes a dictionary to `RECORD` as JSON.
        arguments: its arguments.

    Returns:
        The content of `RECORD`, and the `peak_memory` of the whole process in GB.

    Raises:
        UserError: if it failed.
    """
    from wespe_tf.errors import UserError

    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }
    source = (
        f"import sys; from {__name__} import add_peak_memory; "
        f"from {work.__module__} import {work.__name__} as work; "
        "work(*sys.argv[1:]); add_peak_memory()"
    )
    command = [sys.executable, "-c", source, *map(str, arguments)]
    with open(log, "w", encoding="utf-8") as file:
        process = subprocess.run(command, cwd=folder, env=environment, stdout=file, stderr=file)
    if process.returncode != 0:
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "it printed nothing")
        raise UserError(f"{log.stem} ended with status {process.returncode}: {last} (see {log})")
    return json.loads((folder / RECORD).read_text())


def add_peak_memory():
    """Adds the `peak_memory` of this process in GB to the `RECORD` in the working folder."""
    if sys.platform == "linux":
        # ru_maxrss would also count the memory that the calling process had when this one began.
        status = Path("/proc/self/status").read_text().splitlines()
        (kilobytes,) = [line.split()[1] for line in status if line.startswith("VmHWM")]
        peak = int(kilobytes) * 1024
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS counts bytes
    record = json.loads(Path(RECORD).read_text())
    Path(RECORD).write_text(json.dumps({**record, "peak_memory": peak / 1e9}))
