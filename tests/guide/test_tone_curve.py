"""The histogram match."""

import numpy as np
import pytest
import skimage.exposure

from wespe_tf.guide.tone_curve import ToneCurve


@pytest.fixture
def domains(rng):
    """A dim picture and a bright, contrasty one, every channel of another shape."""
    source = np.stack([rng.normal(110 + 10 * c, 45, (250, 300)) for c in range(3)], axis=-1)
    target = 255 * np.stack([rng.beta(2 + c, 1.5, (200, 320)) for c in range(3)], axis=-1)
    return tuple(np.rint(np.clip(p, 0, 255)).astype(np.uint8) for p in (source, target))


def counts(picture):
    return np.stack([np.histogram(picture[..., c], np.arange(257))[0] for c in range(3)])


class TestMatch:
    def test_agrees_with_scikit_image(self, domains):
        source, target = domains
        ours = ToneCurve.match(counts(source), counts(target))(source)
        # scikit-image counts the pixels of one value as all below it, this curve half of them,
        # which is the mean of matching the pictures and of matching their negatives.
        theirs = skimage.exposure.match_histograms(source, target, channel_axis=-1) / 2
        theirs += (
            255 - skimage.exposure.match_histograms(255 - source, 255 - target, channel_axis=-1)
        ) / 2
        difference = np.abs(ours * 255 - theirs)
        assert np.quantile(difference, 0.99) <= 1
        assert difference.mean() < 0.3

    def test_gives_the_source_the_targets_histogram(self, domains):
        source, target = domains
        matched = ToneCurve.match(counts(source), counts(target))(source)
        share = np.linspace(0.02, 0.98, 25)
        found = np.quantile(matched * 255, share, axis=(0, 1))
        np.testing.assert_allclose(found, np.quantile(target, share, axis=(0, 1)), atol=2)

    def test_curves_rise(self, domains):
        source, target = domains
        curve = ToneCurve.match(counts(source), counts(target)).curve
        assert curve.shape == (3, 256)
        assert (np.diff(curve, axis=1) >= 0).all()
        assert curve.min() >= 0 and curve.max() <= 1
        assert (np.diff(curve, axis=1).sum(axis=1) > 0.5).all()

    def test_equal_histograms_change_nothing(self, domains):
        _, target = domains
        curve = ToneCurve.match(counts(target), counts(target)).curve
        for channel in range(3):
            present = np.unique(target[..., channel])
            np.testing.assert_allclose(curve[channel][present], present / 255, atol=1e-6)

    def test_known_curve_is_found(self, rng):
        source = rng.integers(0, 256, (300, 300, 3)).astype(np.uint8)
        known = np.rint(255 * (np.arange(256) / 255) ** 0.5).astype(np.uint8)
        found = ToneCurve.match(counts(source), counts(known[source])).curve
        np.testing.assert_allclose(found, np.tile(known / 255, (3, 1)), atol=2.5 / 255)

    def test_pixels_of_one_level_count_half_as_below_themselves(self):
        """A uniform picture goes to the target's middle, not to its brightest level."""
        source = np.full((8, 8, 3), 10, np.uint8)
        target = np.full((8, 8, 3), 100, np.uint8)
        target[4:] = 200
        matched = ToneCurve.match(counts(source), counts(target))(source)
        np.testing.assert_allclose(matched, 150 / 255, rtol=1e-6)

    def test_uniform_pictures_are_no_trouble(self):
        flat, other = np.full((2, 8, 8, 3), 7, np.uint8)
        other = other + np.uint8(93)
        matched = ToneCurve.match(counts(flat), counts(other))(flat)
        np.testing.assert_allclose(matched, 100 / 255, rtol=1e-6)


def test_call_looks_every_channel_up(rng):
    curve = rng.random((3, 256))
    pictures = rng.integers(0, 256, (2, 5, 6, 3)).astype(np.uint8)
    found = ToneCurve(curve)(pictures)
    assert found.dtype == np.float32 and found.shape == pictures.shape
    for index in np.ndindex(pictures.shape):
        assert found[index] == np.float32(curve[index[-1], pictures[index]])
