"""Folders of ramps, and the warnings about what cannot be used."""

import logging

import pytest
from PIL import Image

from tests.data.ramps import ramp


@pytest.fixture
def ramps(tmp_path):
    """Function that writes one ramp for every (height, width) and returns their folder."""

    def make(*sizes, name="photos"):
        folder = tmp_path / name
        folder.mkdir()
        for number, size in enumerate(sizes):
            Image.fromarray(ramp(*size, number)).save(folder / f"{number}.png")
        return folder

    return make


@pytest.fixture
def warnings(caplog):
    """Function that returns the warnings so far."""
    caplog.set_level(logging.WARNING, logger="wespe_tf")
    return lambda: [record.getMessage() for record in caplog.records]
