"""What tests of the training step share."""

import pytest

from tests.models.tiny_wespe import draw_batch


@pytest.fixture
def batch(rng):
    """A batch of source and of target patches, uint8."""
    return draw_batch(rng)
