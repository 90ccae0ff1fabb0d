"""Runs public code and this project's in processes of their own, so that memory can be measured."""

import json
import os
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
    source = f"import sys; from {work.__module__} import {work.__name__} as work"
    command = [sys.executable, "-c", f"{source}; work(*sys.argv[1:])", *map(str, arguments)]
    with open(log, "w", encoding="utf-8") as file:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=file, stderr=file)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "it printed nothing")
        raise UserError(f"{log.stem} ended with status {process.returncode}: {last} (see {log})")
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, bytes
    record = json.loads((folder / RECORD).read_text())
    return {**record, "peak_memory": usage.ru_maxrss * unit / 1e9}
