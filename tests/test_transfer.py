"""The color transfer between two domains."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from wespe_tf.transfer import ColorTransfer, luminance, monge_kantorovich

WEIGHTS = np.array([0.2989, 0.5870, 0.1140])


def array(tensor):
    return keras.ops.convert_to_numpy(tensor)


@pytest.fixture
def save(tmp_path):
    """Function that writes pictures and returns their paths."""

    def write(name, pictures):
        paths = []
        for number, picture in enumerate(pictures):
            paths.append(str(tmp_path / f"{name}{number}.png"))
            Image.fromarray(picture).save(paths[-1])
        return paths

    return write


@pytest.fixture
def domains(rng):
    """Colourful pictures, and others seen in a dim, yellowish, washed-out way; none clipped."""

    def pictures():
        colours = np.array([[0.10, 0.04, 0.02], [0.04, 0.09, 0.03], [0.02, 0.03, 0.11]])
        return [0.5 + rng.normal(size=(60, 80, 3)) @ colours for _ in range(3)]

    def wash(picture):
        grey = (picture @ WEIGHTS)[..., None]
        return (0.4 * picture + 0.6 * grey) * [0.9, 0.8, 0.6] - 0.05

    target, source = pictures(), [wash(p) for p in pictures()]
    return tuple(
        [np.rint(255 * np.clip(p, 0, 1)).astype(np.uint8) for p in side]
        for side in (source, target)
    )


class TestMongeKantorovich:
    @pytest.fixture
    def covariances(self, rng):
        factors = rng.normal(size=(2, 3, 3))
        return [f @ f.T + 0.1 * np.eye(3) for f in factors]

    def test_maps_one_covariance_to_the_other(self, covariances):
        source, target = covariances
        matrix = monge_kantorovich(source, target)
        np.testing.assert_allclose(matrix @ source @ matrix.T, target, atol=1e-10)

    def test_is_symmetric_and_positive(self, covariances):
        """Which makes it the optimal transport among all maps that do so."""
        matrix = monge_kantorovich(*covariances)
        np.testing.assert_allclose(matrix, matrix.T, atol=1e-12)
        assert (np.linalg.eigvalsh(matrix) > 0).all()

    def test_of_independent_channels_scales_each(self):
        matrix = monge_kantorovich(np.diag([1.0, 4.0, 9.0]), np.diag([4.0, 1.0, 36.0]))
        np.testing.assert_allclose(matrix, np.diag([2, 0.5, 2]), atol=1e-12)


class TestCall:
    def test_follows_the_formula(self, rng):
        curve, matrix = np.sort(rng.random(256)), np.eye(3) + rng.normal(0, 0.1, (3, 3))
        offset = rng.normal(0, 0.1, 3)
        pictures = rng.random((2, 5, 6, 3))
        found = array(ColorTransfer(curve, matrix, offset)(pictures))
        assert found.dtype == np.float64
        for index in np.ndindex(2, 5, 6):
            rgb = pictures[index]
            luma = rgb @ WEIGHTS
            wanted = np.interp(255 * luma, np.arange(256), curve)
            toned = rgb * (wanted + 1 / 255) / (luma + 1 / 255)
            expected = np.clip(matrix @ toned + offset, 0, 1)
            np.testing.assert_allclose(found[index], expected, atol=1e-10)

    def test_without_change_is_the_identity(self, rng):
        pictures = rng.random((1, 9, 9, 3))
        same = ColorTransfer(np.arange(256) / 255, np.eye(3), np.zeros(3))
        np.testing.assert_allclose(array(same(pictures)), pictures, atol=1e-10)

    def test_black_and_white_stay_finite(self):
        pictures = np.array([[[[0.0, 0, 0], [1, 1, 1]]]], np.float32)
        steep = ColorTransfer(np.linspace(0.2, 1, 256), np.eye(3), np.zeros(3))
        found = array(steep(pictures))
        assert np.isfinite(found).all()
        np.testing.assert_allclose(found[0, 0, 1], 1, atol=1e-6)

    def test_runs_in_a_graph_in_the_inputs_dtype(self, rng):
        pictures = rng.random((1, 9, 9, 3)).astype(np.float32)
        transfer = ColorTransfer(np.linspace(0, 1, 256) ** 2, 1.1 * np.eye(3), np.zeros(3))
        found = tf.function(transfer)(tf.constant(pictures))
        assert found.dtype == tf.float32
        np.testing.assert_allclose(array(found), array(transfer(pictures)), atol=1e-6)


class TestFit:
    def test_gives_the_source_the_targets_mean_and_covariance(self, domains, save):
        source, target = domains
        transfer = ColorTransfer.fit(save("source", source), save("target", target))
        moved = np.concatenate([array(transfer(p / 255)).reshape(-1, 3) for p in source])
        wanted = np.concatenate([p.reshape(-1, 3) for p in target]) / 255
        before = np.concatenate([p.reshape(-1, 3) for p in source]) / 255
        np.testing.assert_allclose(moved.mean(axis=0), wanted.mean(axis=0), atol=0.01)
        np.testing.assert_allclose(np.cov(moved.T), np.cov(wanted.T), atol=6e-4)
        assert np.abs(before.mean(axis=0) - wanted.mean(axis=0)).max() > 0.1
        assert np.abs(np.cov(before.T) - np.cov(wanted.T)).max() > 6e-3

    def test_between_equal_domains_changes_little(self, domains, save):
        _, target = domains
        paths = save("target", target)
        moved = array(ColorTransfer.fit(paths, paths)(target[0] / 255))
        assert np.abs(moved - target[0] / 255).mean() < 0.01

    def test_of_grey_pictures_is_finite(self, domains, save):
        source, target = domains
        grey = [np.repeat(p[..., :1], 3, axis=-1) for p in source]
        transfer = ColorTransfer.fit(save("grey", grey), save("target", target))
        moved = array(transfer(grey[0] / 255))
        assert np.isfinite(moved).all() and moved.std() > 0.05


def test_luminance_is_the_rounded_grey_in_three_channels(rng):
    picture = rng.integers(0, 256, (9, 11, 3)).astype(np.uint8)
    found = luminance(picture)
    assert found.dtype == np.uint8 and found.shape == picture.shape
    grey = 0.2989 * picture[..., 0] + 0.5870 * picture[..., 1] + 0.1140 * picture[..., 2]
    assert np.abs(found - grey[..., None]).max() <= 0.5 + 1e-9
