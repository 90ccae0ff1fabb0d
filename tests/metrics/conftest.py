"""Pairs of pictures to compare."""

import numpy as np
import pytest


@pytest.fixture
def pairs(make_photo, rng):
    """A photo and a noisy, darker copy, three times."""
    photos = [make_photo(40, 50, seed) for seed in range(3)]
    noisy = [np.clip(0.8 * p + rng.normal(0, 12, p.shape), 0, 255).astype(np.uint8) for p in photos]
    return noisy, photos
