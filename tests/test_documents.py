"""Commands in the documents: each one runs here as it is written, or stands here with a reason."""

import configparser
import dataclasses
import importlib
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.generators import toned_generator
from tests.shared import ROOT
from tests.training.runs import TINY
from wespe_tf import Generator
from wespe_tf.config.command import Command
from wespe_tf.enhance import dped_photos
from wespe_tf.errors import UserError
from wespe_tf.weights.tf1_checkpoint import AUTHORS_GENERATOR, save_checkpoint

DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "*/README.md", "wespe_tf/web/page/README.md")
    for path in ROOT.glob(pattern)
    if path.name != "CHANGELOG.md"
)
# The project's scripts, and where their commands are.
SCRIPTS = {
    "train.py": "wespe_tf.training.cli",
    "test_model.py": "wespe_tf.enhance.cli",
    "export_tflite.py": "wespe_tf.export.cli",
}
SCRIPTS |= {
    f"{path.parent.name}/{path.name}": f"benchmarks.{path.stem}"
    for path in (ROOT / "benchmarks").glob("*.py")
}
# What stands for a value that a reader fills in.
PLACEHOLDER = re.compile(r"…|[A-Z]{4,}|<\w+>")
# Commands that are not run, by what is in them, and why. Of the project's own the settings are
# checked nevertheless, and of pip's the extras.
NOT_RUN = {
    "pip install": "`.ci/run` installs the project so",
    "pytest": "runs these tests",
    "pre-commit": "works in a clone",
    "mkdocs": "`.ci/run` builds the pages",
    "npm ": "tests/web/test_page.py takes these steps",
    "wespe_tf.web": "wants npm; tests/web/test_page.py builds the page",
    "http.server": "serves until it is stopped",
    "tensorboard": "serves until it is stopped",
    "distribute=": "wants GPUs or machines; tests/training/test_distribution.py has two of each",
    "wespe_tf.reproduce": "trains for an hour; tests/test_reproduce.py runs a list",
    "compare_reference": "wants the authors' code; tests/benchmarks/test_compare_reference.py",
    "ms_ssim.py": "wants the authors' code",
    "recipe": "trains for an hour; tests/benchmarks/test_recipe.py",
    "photos.py": "measures for minutes; tests/benchmarks/test_photos.py",
    "photo_memory": "measures for minutes",
    "phones": "measures for minutes; tests/benchmarks/test_phones.py",
    "own_cameras": "measures for minutes",
    "benchmarks.training": "measures for minutes; tests/benchmarks/test_training.py",
    "kill.py": "measures for minutes; tests/benchmarks/test_kill.py",
    "fuzz.py": "measures for minutes; tests/weights/test_untrusted.py reads damaged files",
    "soak.py": "measures for half an hour",
}


def commands(path):
    """Commands of a document: lines of code blocks without a language, and code within lines.

    Continued lines are joined. In a line, `train.py key=value` is a command as well.
    """
    text = re.sub(r"\\\n\s*", " ", path.read_text(encoding="utf-8"))
    fence = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
    lines = [line for tag, block in fence.findall(text) if not tag for line in block.splitlines()]
    folder = "benchmarks/" if path.parent.name == "benchmarks" else ""
    programs = r"python|wespe-\w+|pip|pytest|npm|mkdocs|tensorboard"
    for code in re.findall(r"`([^`\n]+)`", fence.sub("", text)):
        if re.match(rf"({programs}) [^`]", code):
            lines.append(code)
        elif re.match(r"\w+\.py \w+=", code):
            lines.append(f"python {folder}{code}")
    return [part for line in lines for part in re.split(r"\s*&&\s*", line)]


def module_of(words):
    """The module whose `main` a command line runs, and the words after it; None for others."""
    if words[:2] == ["python", "-m"]:
        name, *words = words[2:]
    elif words[0] == "python":
        assert words[1] in SCRIPTS, f"{words[1]}: no script of this project"
        name, *words = [SCRIPTS[words[1]], *words[2:]]
    else:
        return None
    if name == "wespe_tf.data":
        name = f"{name}.{words.pop(0)}"
    if name in ("wespe_tf", "wespe_tf.web"):
        name += ".__main__"
    return name, words


ALL = [(path.relative_to(ROOT).as_posix(), line) for path in DOCUMENTS for line in commands(path)]
# A line that several documents have runs once.
RUN = {line: path for path, line in ALL if not any(part in line for part in NOT_RUN)}


def test_documents_have_commands():
    assert len(ALL) > 70 and len(RUN) > 30


def test_what_is_not_run_is_in_the_documents():
    assert [part for part in NOT_RUN if not any(part in line for _, line in ALL)] == []


@pytest.mark.parametrize("document, line", ALL, ids=lambda text: text[:60])
def test_settings_are_the_commands_own(document, line, monkeypatch):
    """Values are checked too, but for placeholders and files, which need not be there."""
    words = shlex.split(line, comments=True)
    if words[:2] == ["pip", "install"]:
        setup = configparser.ConfigParser()
        setup.read(ROOT / "setup.cfg")
        extras = re.findall(r"(?:wespe_tf|\.)\[(.+?)\]", line)
        assert {extra for names in extras for extra in names.split(",")} <= set(
            setup["options.extras_require"]
        )
    found = module_of(words)
    if found is None or found[0] == "http.server":
        return
    name, words = found
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    command = importlib.import_module(name).main
    if not isinstance(command, Command):  # `python -m wespe_tf`
        return
    others = [word for word in words if "=" not in word and not PLACEHOLDER.search(word)]
    assert set(others) <= {"dataset", "before_after"}
    settings = [word for word in words if "=" in word and not word.startswith("config=")]
    filled = [s for s in settings if PLACEHOLDER.search(s.split("=", 1)[1])]
    try:
        command.read([*others, *(s for s in settings if s not in filled)])
    except UserError as error:
        assert re.search("expected (run=NAME|at least one folder)|no run to resume", str(error))
    if command.schema is not None:
        keys = {field.name for field in dataclasses.fields(command.schema)}
        aliases = {f.metadata["alias"] for f in dataclasses.fields(command.schema)}
        assert {s.split("=")[0] for s in filled} <= keys | aliases


# What makes a command short here, by its module; it stands behind the document's own settings.
SMALL = {
    "wespe_tf.training.cli": [*TINY, "num_train_iters=2", "vgg_weights=random"]
    + ["content_layer=relu1_2", "train_size=-1"],
    "wespe_tf.enhance.cli": ["resolution=tiny"],
    # A toy's norms differ more from tile to tile than a trained network's.
    "wespe_tf.export.cli": ["formats=float16", "height=64", "width=64", "force=true"],
    "wespe_tf.data.check": ["patch_size=32"],
    "wespe_tf.data.align": ["patch_size=32", "min_matches=10"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make_photo):
    """All that the documents' commands name: photos, DPED, models, runs."""
    two_cameras = pytest.importorskip("tests.data.two_cameras", reason="OpenCV is missing")
    root = tmp_path_factory.mktemp("documents")
    for side in ("PHONE", "GOOD"):
        (root / side).mkdir()
    rng = np.random.default_rng(0)
    for name in ("astronaut.png", "motorcycle_left.png"):
        scene = two_cameras.scene_of(name, 1.0)
        for side, (_, photo) in zip(("PHONE", "GOOD"), two_cameras.phone_and_camera(scene, rng)):
            Image.fromarray(photo).save(root / side / name)
    for name, side in (("CAMERA", "GOOD"), ("YOUR_PHOTOS", "PHONE"), ("OTHER_PHOTOS", "GOOD")):
        (root / name).symlink_to(side)

    few = [root / f"few{k}.jpg" for k in range(4)]
    for k, path in enumerate(few):
        Image.fromarray(make_photo(32, 32, k)).save(path)

    def fill(folder, count, first=0, put=os.link):
        (root / folder).mkdir(parents=True)
        for k in range(count):
            put(few[(first + k) % len(few)], root / folder / f"{k}.jpg")

    for one in ("photo.jpg", "PHOTO"):
        shutil.copy(few[0], root / one)
    fill("PHOTOS", 23)
    fill("PHOTO_OR_FOLDER", 1)
    for k, camera in enumerate(("iphone", "canon")):
        fill(f"dped/iphone/training_data/{camera}", 7000, first=k)
        fill(f"dped/iphone/test_data/patches/{camera}", 4, first=k)
    fill("dped/iphone/test_data/full_size_test_images", 1)
    for part in ("source", "target", "val_phone", "val_enhanced"):
        fill(f"phone_bench/{part}", 3, put=shutil.copy)

    theirs = Generator(**AUTHORS_GENERATOR)
    theirs.build((None, None, None, 3))
    (root / "models_orig").mkdir()
    save_checkpoint(theirs, root / "models_orig" / "iphone_orig")
    for run in ("models/RUN", "models/quickstart-001", "MODEL"):
        shutil.copytree(ROOT / "tests/data_files/runs/recommended", root / run)
        (root / run / "figures").mkdir()
        toned_generator(0).save(root / run / "generator.keras")
    (root / "docs" / "figures").mkdir(parents=True)
    (root / "wespe_tf").symlink_to(ROOT / "wespe_tf")
    return root


@pytest.fixture
def short(folder, monkeypatch, undrawn):
    """The folder is the working folder. Fewer and smaller pictures than a user's are computed."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr("wespe_tf.training.validation.CROPS", 8)
    monkeypatch.setattr("wespe_tf.training.validation.CROP_SIZE", 32)
    monkeypatch.setattr("wespe_tf.export.export.SIZES", ((48, 64),))
    monkeypatch.setattr("benchmarks.limits.SIDE", 40)
    monkeypatch.setitem(dped_photos.CROP_SIZES, "tiny", (60, 80))
    yield
    tf.config.run_functions_eagerly(False)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Even though the `tf.config.experimental_run_functions")
@pytest.mark.parametrize("document", dict.fromkeys(RUN.values()))
def test_commands_run_as_written(document, short):
    for line in [line for line, path in RUN.items() if path == document]:
        line = line.replace("<model>_int8", "MODEL_float16")
        words = shlex.split(line.replace("…", ""), comments=True)
        found = module_of(words)
        if found is None:
            subprocess.run(["bash", "-euo", "pipefail", "-c", line], check=True)
            continue
        name, words = found
        output = next((Path(w.split("=")[1]) for w in words if w.startswith("output=")), None)
        if output is not None:
            shutil.rmtree(output, ignore_errors=True)
        if "resume=true" not in words:  # What goes on has the run's own settings.
            words += SMALL.get(name, [])
        if "preset=dped" in words:  # Here these settings cannot be changed.
            words += ["generator_width=64", "generator_blocks=4", "border=0", "warm_start_iters=0"]
        # Two steps of training are done before they would be compiled.
        tf.config.run_functions_eagerly(name == "wespe_tf.training.cli")
        main = importlib.import_module(name).main
        main(words) if isinstance(main, Command) else main()
        assert output is None or output.is_file() or any(output.iterdir()), line


@pytest.mark.slow
def test_python_of_the_readme_runs(short):
    (code,) = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S)
    exec(code, {})
    with Image.open("enhanced.png") as result:
        assert result.size == (32, 32)
