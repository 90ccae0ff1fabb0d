"""Builds a folder with the page and an exported model, for any web server."""

import dataclasses
import shutil
import subprocess
import tempfile
from pathlib import Path

from ..config.command import as_command
from ..config.schema import ExportConfig
from ..config.setting import setting
from ..errors import UserError, optional
from ..files import make_folder
from ..weights.generator import find_model

PAGE = Path(__file__).with_name("page")
# Files that are served unchanged. The rest of `PAGE` is for npm.
SERVED = ("index.html", "style.css", "page.js", "LICENSE-litert.txt")
# The runtime's files, for browsers with and without relaxed SIMD. A browser loads only its own.
RUNTIME = [
    f"litert_wasm{kind}_internal.{end}" for kind in ("", "_compat") for end in ("js", "wasm")
]
NPM = (["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], ["npm", "run", "build"])
# Side of the tiles in pixels. Such a tile takes 0.2 GB of WebAssembly's memory.
TILE = 256

USAGE = """\
usage: python -m wespe_tf.web [model=MODEL] output=FOLDER

Exports a model, verifies it, and builds the folder FOLDER. It holds a page that enhances photos in
the visitor's browser. Any web server can serve it. This command needs Node.js 18 with npm."""


@dataclasses.dataclass
class Settings:
    """Settings of this command."""

    model: str = setting("", "the same as for export_tflite.py")
    output: str = setting("", "folder to make; it must be empty or missing")
    format: str = setting(
        "dynamic",
        "format for browsers without WebGPU; browsers with WebGPU run float32",
        choices=("float32", "dynamic", "int8"),
    )
    calibration_dir: str | None = setting(None, "photos for format=int8, by default the sample's")
    val_dir: str | None = setting(None, "photos to verify the files with; by default the sample's")
    models_orig_dir: str = setting("models_orig", "folder of the authors' trained models")


@as_command(USAGE, Settings)
def main(config: Settings) -> None:
    """Runs `python -m wespe_tf.web`."""
    output = Path(config.output)
    if not config.output:
        raise UserError("output=: missing; expected a folder to make")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"output={output}: exists already; expected an empty or a new folder")
    if shutil.which("npm") is None:
        raise UserError("the page is built by npm, which is missing: install Node.js 18 or later")
    find_model(config.model, config.models_orig_dir)  # before npm works for a while
    with optional("export", "building the page"):
        from ..export.export import export
    with tempfile.TemporaryDirectory() as scratch:
        site = Path(scratch) / "site"
        bundle(Path(scratch) / "npm", site)
        wanted = {"webgpu": "float32", "wasm": config.format}
        given = {
            k: v for k, v in dataclasses.asdict(config).items() if k not in ("output", "format")
        }
        files = Path(scratch) / "files"
        formats = ",".join(dict.fromkeys(wanted.values()))
        export(ExportConfig(output=str(files), formats=formats, height=TILE, width=TILE, **given))
        (site / "model").mkdir()
        for accelerator, form in wanted.items():
            for suffix in (".tflite", ".json"):
                (path,) = files.glob(f"*_{form}{suffix}")
                shutil.copy(path, site / "model" / f"{accelerator}{suffix}")
        make_folder(output)
        shutil.copytree(site, output, dirs_exist_ok=True)
    print(f"the page is in {output}; try it: python -m http.server --directory {output}")


def bundle(folder: Path, site: Path) -> None:
    """Builds all files that are served, except the model.

    Args:
        folder: new folder in which npm works.
        site: new folder for the files.

    Raises:
        UserError: if npm fails. The message has the last line that npm printed.
    """
    shutil.copytree(PAGE, folder)
    for command in NPM:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
            raise UserError(f"{' '.join(command)}: {last[:200]}")
    site.mkdir()
    for name in SERVED:
        shutil.copy(folder / name, site)
    shutil.copy(folder / "built" / "worker.js", site)
    (site / "wasm").mkdir()
    for name in RUNTIME:
        shutil.copy(folder / "node_modules" / "@litertjs" / "core" / "wasm" / name, site / "wasm")


if __name__ == "__main__":
    main.run()
