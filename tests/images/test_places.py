"""Patches all over a photo lie where they are wanted."""

import numpy as np

from wespe_tf.images.places import patches_at, spread


def test_places_are_spread_more_evenly_than_random_ones(rng):
    """The mean of a smooth photo is nearer to that of a few places than to that of random ones."""
    photo = np.add.outer(np.linspace(0, 1, 200) ** 2, np.sin(np.linspace(0, 3, 300)))[..., None]

    def error(places):
        return abs(patches_at(photo, places, 10).mean() - photo.mean())

    even = [error((spread(8) + shift) % 1) for shift in rng.random((50, 2))]
    assert np.mean(even) < 0.5 * np.mean([error(rng.random((8, 2))) for _ in range(50)])


def test_patches_lie_where_they_are_wanted():
    photo = np.arange(3 * 5)[:, None].repeat(3, 1).reshape(3, 5, 3)
    found = patches_at(photo, np.array([[0.0, 0.0], [0.5, 0.99]]), 2)
    np.testing.assert_array_equal(found[..., 0], [[[0, 1], [5, 6]], [[8, 9], [13, 14]]])


def test_a_photo_smaller_than_a_patch_is_mirrored():
    photo = np.array([[1, 2, 3], [4, 5, 6]])[..., None].repeat(3, 2)
    (found,) = patches_at(photo, np.array([[0.9, 0.9]]), 4)
    expected = [[1, 2, 3, 3], [4, 5, 6, 6], [4, 5, 6, 6], [1, 2, 3, 3]]
    np.testing.assert_array_equal(found[..., 0], expected)
