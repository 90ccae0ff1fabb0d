"""The bound on the memory of the process that enhances photos: who may hold how much of it."""

import math
import threading

# GB that the process holds before any photo: mostly TensorFlow, by which models are read.
BASE = 0.8
# Share of the rest for photos that are read, written and enhanced at the same time: by default
# enough for two of 12 megapixels, one read while the other is enhanced.
PHOTOS_SHARE = 0.45
# Bytes that reading, enhancing and writing a photo hold at their worst, for a byte of its pixels.
COPIES = 4


def room_of_photos(limit):
    """Bytes for photos in memory, within a limit in GB on the process."""
    return PHOTOS_SHARE * (limit - BASE) * 1e9


def room_of_pass(limit, size):
    """Bytes for a network's pass over a photo, or a part of it.

    Args:
        limit: GB that the process may hold.
        size: bytes of the photo's pixels; the result takes as many.
    """
    return (limit - BASE) * 1e9 - max(room_of_photos(limit), 2 * size)


def limit_needed(size, room):
    """The limit in GB within which a pass over a photo of `size` bytes has `room`."""
    return BASE + max(room / (1 - PHOTOS_SHARE), room + 2 * size) / 1e9


def limit_of_photo(size):
    """The limit in GB within which a photo of `size` bytes can be read and written."""
    return BASE + COPIES * size / 1e9


class Budget:
    """Bytes that threads take and give back; who wants more than is left waits.

    A single taker may have more than there is: a photo too large for company is worked on alone.
    As a context it ends by letting everybody have what they want, so that no thread waits forever.

    Args:
        size: bytes.
    """

    def __init__(self, size):
        self.size = size
        self.held = 0
        self.changed = threading.Condition()

    def take(self, amount):
        """Waits until `amount` bytes are free, or nobody else has any, and takes them."""
        with self.changed:
            self.changed.wait_for(lambda: not self.held or self.held + amount <= self.size)
            self.held += amount

    def give_back(self, amount):
        """Gives back what was taken."""
        with self.changed:
            self.held -= amount
            self.changed.notify_all()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        with self.changed:
            self.size = math.inf
            self.changed.notify_all()
