"""A run folder with a tiny generator, photos for it, and the command `test_model.py`."""

import contextlib
import os
import shutil
import sys

import pytest
from PIL import Image

from tests.enhance.photos import PLAIN
from tests.generators import save_as_run, toned_generator
from wespe_tf.enhance import cli as module
from wespe_tf.enhance.runtimes import choose_runtime
from wespe_tf.enhance.tiles import Enhancer


@pytest.fixture(scope="module")
def generator():
    """A tiny generator that changes tone and texture."""
    return toned_generator(1)


@pytest.fixture(scope="module")
def saved(generator, tmp_path_factory):
    """A folder with that generator as the run `models/mine`."""
    folder = tmp_path_factory.mktemp("saved")
    save_as_run(generator, folder)
    return folder


@pytest.fixture
def run(tmp_path, saved, monkeypatch):
    """A run folder `models/mine` in the working folder."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(saved / "models", tmp_path / "models")
    return tmp_path


@pytest.fixture
def photo(run, make_photo):
    """A photo of odd height and width: its file and its pixels."""
    picture = make_photo(61, 83)
    Image.fromarray(picture).save(run / "holiday.png")
    return "holiday.png", picture


@pytest.fixture
def photos(run, make_photo):
    """A folder of two photos of different size, one of them in a sub-folder."""
    (run / "photos" / "day2").mkdir(parents=True)
    pictures = {"1": make_photo(40, 53, 1), "day2/1": make_photo(55, 38, 2)}
    for name, picture in pictures.items():
        Image.fromarray(picture).save(run / "photos" / f"{name}.png")
    return pictures


@pytest.fixture
def command(monkeypatch, capsys):
    """Function that runs `test_model.py` with arguments and returns its printed lines."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["test_model.py", *PLAIN, *arguments])
        module.command()
        return capsys.readouterr().out.splitlines()

    return call


@pytest.fixture
def without_rights(tmp_path, generator, monkeypatch):
    """Function that gives up root's rights for a while, where it is root who runs the tests.

    The model is there already: the process that reads one might not be startable without them.
    """
    enhancer = Enhancer(generator, choose_runtime("keras"))
    monkeypatch.setattr(module, "make_enhancer", lambda config: enhancer)

    @contextlib.contextmanager
    def give_up():
        user = os.geteuid()
        for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
            if user == 0:
                folder.chmod(0o755)
        try:
            os.seteuid(65534 if user == 0 else user)
            yield
        finally:
            os.seteuid(user)

    return give_up


@pytest.fixture
def refused(monkeypatch, capsys):
    """Function that runs the command, which fails, and returns its one line of error."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["test_model.py", *PLAIN, *arguments])
        with pytest.raises(SystemExit) as ended:
            module.command()
        assert ended.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        return line.removeprefix("error: ")

    return call


@pytest.fixture
def refused_among_others(monkeypatch, capsys):
    """Function that runs the command, in which a photo fails; what it says of it at the end."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["test_model.py", *PLAIN, *arguments])
        with pytest.raises(SystemExit) as ended:
            module.command()
        assert ended.value.code == 1
        return capsys.readouterr().err

    return call


@pytest.fixture
def loaded(generator, monkeypatch):
    """The model `mine` is there already: reading it takes a process each time."""
    monkeypatch.setattr(module, "load_generator", lambda path: generator)
