"""Photos whose pixels tell where they are, so that a patch tells where it was cut from."""

import numpy as np


def ramp(height, width, number):
    """A photo whose every pixel tells where it is: (row, column, number of the photo)."""
    row, column = np.mgrid[:height, :width]
    return np.stack([row, column, np.full_like(row, number)], axis=-1).astype(np.uint8)


def origin(patch):
    """Number of the ramp that a patch was cut from, and the row and column of its corner."""
    row, column, number = patch[0, 0].tolist()
    return number, row, column


def take(stream, count, start=0):
    return [stream[number] for number in range(start, start + count)]
