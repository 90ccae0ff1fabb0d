"""Small photos of 8 and of 16 bits."""

import numpy as np
import pytest


@pytest.fixture
def pixels(make_photo):
    return make_photo(24, 40)


@pytest.fixture
def wide(pixels, rng):
    """16-bit pixels whose lower byte is not the upper one again."""
    return pixels.astype(np.uint16) * 256 + rng.integers(0, 256, pixels.shape).astype(np.uint16)
