"""Windows answer for every pixel once."""

import numpy as np
import pytest

from wespe_tf.enhance.windows import window_shape, windows


@pytest.mark.parametrize("size", [(1, 1), (30, 41), (64, 64), (65, 100)])
@pytest.mark.parametrize("side, margin", [(16, 5), (32, 18), (200, 18)])
def test_windows_answer_for_every_pixel_once(size, side, margin):
    shape = window_shape(*size, side, margin)
    places = windows(*size, shape, margin)
    count = np.zeros(size, int)
    for window in places:
        top, bottom, left, right = window.inner
        count[top:bottom, left:right] += 1
        above, beside = window.outer
        assert 0 <= above and above + shape[0] <= size[0]
        assert 0 <= beside and beside + shape[1] <= size[1]
        # What lies beyond the window's border lies beyond the picture, or the margin.
        assert above == 0 or top - above >= margin
        assert beside == 0 or left - beside >= margin
        assert above + shape[0] == size[0] or above + shape[0] - bottom >= margin
        assert beside + shape[1] == size[1] or beside + shape[1] - right >= margin
    assert (count == 1).all()
