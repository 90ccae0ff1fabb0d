"""What an installation brings: every import is declared, and every file is in the wheel."""

import ast
import configparser
import functools
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile

import pytest
from PIL import Image

from tests.shared import ROOT
from wespe_tf.enhance import cli as enhancing
from wespe_tf.enhance import runtimes
from wespe_tf.errors import UserError, run_command
from wespe_tf.export import cli as exporting

PACKAGE = ROOT / "wespe_tf"
# Import names whose packages share a namespace with others.
NAMESPACES = {"google.protobuf": "protobuf"}


def declared(*extras):
    """Names of the packages that setup.cfg asks for, in a plain install or with extras."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    sections = [setup["options"]["install_requires"]]
    sections += [setup["options.extras_require"][extra] for extra in extras]
    return {re.split(r"[<>=\[]", line)[0].lower() for text in sections for line in text.split()}


def imports(path):
    """(full name, whether at the top of the file) of all absolute imports of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node in tree.body) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module, node in tree.body


@functools.cache
def installed():
    """Import name → packages that bring it."""
    return importlib.metadata.packages_distributions()


def distribution(name):
    """The package that brings an import, None for the standard library."""
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names:
        return None
    for prefix, package in NAMESPACES.items():
        if name.startswith(prefix):
            return package
    return installed()[top][0].lower().replace("_", "-")


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.name)
def test_every_import_is_declared(path):
    """Extras may be imported at the top of files only where nothing is done without them."""
    plain, extras = declared(), declared("align", "export", "openvino", "raw")
    needs_extra = path.parent.name == "export" and path.name not in ("cli.py", "__init__.py")
    needs_extra |= path.name in ("cutting.py", "inspection.py", "registration.py")
    for name, at_top in imports(path):
        package = distribution(name)
        if package is not None:
            allowed = plain | extras if needs_extra or not at_top else plain
            assert package.replace("_", "-") in {p.replace("_", "-") for p in allowed}, name


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of this source, unpacked."""
    source = tmp_path_factory.mktemp("source")
    shutil.copytree(PACKAGE, source / "wespe_tf", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = "import setuptools.build_meta as b; b.build_wheel('dist')"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    (path,) = (source / "dist").glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(source / "unpacked")
    return source / "unpacked"


@pytest.mark.slow
class TestWheel:
    def test_holds_every_file_of_the_package(self, wheel):
        def files(folder):
            return {
                path.relative_to(folder).as_posix()
                for path in folder.rglob("*")
                if path.is_file() and path.suffix != ".pyc"
            }

        found = files(wheel / "wespe_tf")
        assert found == files(PACKAGE)
        assert {"py.typed", "enhance/report.html", "weights/phone_bench.keras"} <= found

    def test_enhances_from_another_folder(self, wheel, tmp_path, make_photo):
        Image.fromarray(make_photo(40, 52)).save(tmp_path / "photo.png")
        code = "import wespe_tf.enhance.cli as c, sys; print(c.__file__); c.command()"
        done = subprocess.run(
            [sys.executable, "-c", code, "input=photo.png", "report=true", "runtime=keras"],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(wheel)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(str(wheel))
        written = {path.name for path in (tmp_path / "visual_results").iterdir()}
        assert {"photo_enhanced.png", "report.html"} <= written


class TestMissingPackages:
    """`None` in `sys.modules` is how Python says that a module is not there."""

    @pytest.fixture(autouse=True)
    def plain_install(self, monkeypatch):
        for name in [n for n in sys.modules if n.startswith(("wespe_tf.export.", "ai_edge_"))]:
            if name != exporting.__name__:
                monkeypatch.delitem(sys.modules, name)
        for name in ("openvino", "ai_edge_litert", "ai_edge_quantizer"):
            monkeypatch.setitem(sys.modules, name, None)
        runtimes._installed.cache_clear()
        yield
        runtimes._installed.cache_clear()

    def test_keras_enhances_where_openvino_is_missing_and_says_so_once(self, capsys):
        for _ in range(2):
            assert runtimes.choose_runtime().name == "keras"
        said = capsys.readouterr().out.splitlines()
        assert said == [
            'Keras computes; OpenVINO is faster on a CPU: pip install "wespe_tf[openvino]"'
        ]

    def test_openvino_asked_for(self):
        with pytest.raises(UserError) as caught:
            runtimes.choose_runtime("openvino")
        assert str(caught.value) == (
            'runtime=openvino needs the package openvino: pip install "wespe_tf[openvino]"'
        )

    def test_exporting(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(UserError) as caught:
            exporting.main([])
        said = re.fullmatch(r"exporting needs the package (\w+): (.*)", str(caught.value))
        assert said[1].startswith("ai_edge_")
        assert said[2] == 'pip install "wespe_tf[export]"'
        assert not list(tmp_path.iterdir())

    def test_running_an_exported_file(self, tmp_path):
        (tmp_path / "a.tflite").write_bytes(b"x")
        with pytest.raises(UserError) as caught:
            enhancing.main([f"model={tmp_path / 'a.tflite'}", "input=photo.png"])
        assert str(caught.value).endswith(': pip install "wespe_tf[export]"')


def test_another_system_ends_with_one_line(monkeypatch, capsys):
    monkeypatch.setattr(os, "name", "nt")
    with pytest.raises(SystemExit) as ended:
        run_command(lambda arguments: None)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said == "error: wespe_tf runs on Linux and macOS; on Windows, in WSL 2\n"
