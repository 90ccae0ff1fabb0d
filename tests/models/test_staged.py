"""How far a generator's layers see, and what its norms measure."""

import numpy as np
from keras.ops import convert_to_numpy as array

from wespe_tf import Generator
from wespe_tf.models.staged import measured, reach


def test_reach_follows_from_the_layers():
    assert reach(Generator()) == 4 + 8 + 2 + 4
    assert reach(Generator(blocks=1)) == 4 + 2 + 2 + 4
    assert reach(Generator(), norms_only=True) == 4 + 8


def test_photos_are_measured_each_by_itself():
    generator = Generator(width=6, blocks=2, init="glorot")
    photos = np.random.default_rng(0).random((3, 4, 20, 22, 3)).astype(np.float32)
    photos *= np.array([0.2, 0.6, 1.0], np.float32)[:, None, None, None, None]
    generator(photos[0])
    together = measured(generator, photos.reshape(12, 20, 22, 3), margin=2, photos=3)
    for k, photo in enumerate(photos):
        for found, expected in zip(together, measured(generator, photo, margin=2), strict=True):
            for a, b in zip(found, expected):
                np.testing.assert_allclose(array(a)[k], array(b)[0], rtol=1e-5, atol=1e-7)
