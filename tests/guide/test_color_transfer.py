"""The color transfer between two domains."""

import numpy as np
import pytest

from wespe_tf.guide import samples as samples_module
from wespe_tf.guide.color_transfer import (
    ColorTransfer,
    certainty,
    moments,
    monge_kantorovich,
    pooled,
)
from wespe_tf.guide.samples import PhotoSample, luminance_histogram

WEIGHTS = np.array([0.2989, 0.5870, 0.1140])
FLAT = np.ones(256)


def samples(pictures):
    return [PhotoSample.of(picture, count=len(pictures)) for picture in pictures]


@pytest.fixture
def domains(rng):
    """Colorful pictures, and others seen in a dim, yellowish, washed-out way; none clipped."""

    def pictures():
        colors = np.array([[0.10, 0.04, 0.02], [0.04, 0.09, 0.03], [0.02, 0.03, 0.11]])
        return [0.5 + rng.normal(size=(60, 80, 3)) @ colors for _ in range(3)]

    def wash(picture):
        gray = (picture @ WEIGHTS)[..., None]
        return (0.4 * picture + 0.6 * gray) * [0.9, 0.8, 0.6] - 0.05

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


class TestCertainty:
    COLORS = np.array([[0.10, 0.04, 0.02], [0.04, 0.09, 0.03], [0.02, 0.03, 0.11]])

    def photos(self, rng, count, spread):
        """Photos of one color distribution, each with saturation off by `spread`."""
        found = []
        for off in rng.normal(0, spread, count):
            pixels = rng.normal(size=(500, 3)) @ self.COLORS
            gray = pixels.mean(axis=1, keepdims=True)
            found.append(0.5 + gray + np.exp(off) * (pixels - gray))
        return found

    def share(self, source, target):
        def estimate(source, target):
            return monge_kantorovich(pooled(source)[1], pooled(target)[1])

        return certainty(estimate, np.eye(3), moments(source, [1] * 10), moments(target, [1] * 10))

    def test_of_photos_that_agree_is_nearly_one(self, rng):
        faded = [0.5 + 0.4 * (p - 0.5) for p in self.photos(rng, 10, 0.01)]
        assert self.share(faded, self.photos(rng, 10, 0.01)) > 0.95

    def test_of_a_difference_within_the_spread_of_photos_is_small(self, rng):
        """Two draws from one domain of very different photos: nothing is certain."""
        shares = [
            self.share(self.photos(rng, 10, 0.3), self.photos(rng, 10, 0.3)) for _ in range(20)
        ]
        assert np.median(shares) < 0.5

    @pytest.mark.parametrize("counts", [(1, 1), (1, 10), (10, 1)])
    def test_of_a_single_photo_is_zero(self, rng, counts):
        """It does not show how much photos differ."""
        one, other = (rng.normal(k, 0.01, (count, 5)) for k, count in enumerate(counts))
        assert certainty(lambda a, b: b.mean(axis=0) - a.mean(axis=0), 0, one, other) == 0

    def test_shrinks_a_mean_as_james_and_stein_do(self, rng):
        """Means of n draws have variance σ²/n each, so 1 − 2·d·σ²/n / ‖difference‖² is known."""
        source, target = rng.normal(0, 1, (400, 5)), rng.normal(0.3, 1, (400, 5))
        difference = target.mean(axis=0) - source.mean(axis=0)
        variance = (source.var(axis=0) + target.var(axis=0)).sum() / 400
        found = certainty(lambda a, b: b.mean(axis=0) - a.mean(axis=0), 0, source, target)
        assert found == pytest.approx(1 - variance / np.sum(difference**2), abs=0.01)

    def test_moments_give_mean_and_covariance_of_all_pixels(self, rng):
        photos = [rng.random((n, 3)) for n in (50, 80)]
        mean, covariance = pooled(moments(photos, [1, 3]))
        together = np.concatenate([photos[0], *[photos[1]] * 3])
        np.testing.assert_allclose(mean, together.mean(axis=0))
        np.testing.assert_allclose(covariance, np.cov(together.T, bias=True), atol=1e-12)


class TestCall:
    def test_follows_the_formula(self, rng):
        curve, matrix = np.sort(rng.random(256)), np.eye(3) + rng.normal(0, 0.1, (3, 3))
        offset = rng.normal(0, 0.1, 3)
        pictures = rng.integers(0, 256, (2, 5, 6, 3)).astype(np.uint8)
        found = ColorTransfer(FLAT, FLAT, 0, 1, matrix, offset)(pictures, curve)
        assert found.dtype == np.float32
        for index in np.ndindex(2, 5, 6):
            toned = [curve[value] for value in pictures[index]]
            expected = np.clip(matrix @ toned + offset, 0, 1)
            np.testing.assert_allclose(found[index], expected, atol=1e-6)

    def test_without_change_is_the_identity(self, rng):
        pictures = rng.integers(0, 256, (1, 9, 9, 3)).astype(np.uint8)
        same = ColorTransfer(FLAT, FLAT, 0, 1, np.eye(3), np.zeros(3))
        found = same(pictures, np.arange(256) / 255)
        np.testing.assert_allclose(found, pictures / 255, atol=1e-6)


class TestCurve:
    def test_of_the_domain_alone_ignores_the_photo(self, rng):
        histograms = rng.random((4, 256))
        transfer = ColorTransfer(*histograms[:2], 0.0, 1.0, np.eye(3), np.zeros(3))
        np.testing.assert_array_equal(transfer.curve(histograms[2]), transfer.curve(histograms[3]))

    def test_of_the_photo_alone_gives_it_the_targets_histogram(self):
        """A photo of levels 0 … 99, equally often, and a target of levels 100 … 199."""
        photo, target = np.zeros(256), np.zeros(256)
        photo[:100], target[100:200] = 1, 1
        transfer = ColorTransfer(FLAT, target, 1.0, 1.0, np.eye(3), np.zeros(3))
        found = transfer.curve(photo)[:100] * 255
        np.testing.assert_allclose(found, np.arange(100, 200), atol=0.6)

    def test_without_trust_is_no_change(self, rng):
        histograms = rng.random((3, 256))
        half, none = (
            ColorTransfer(*histograms[:2], 0.3, trust, np.eye(3), np.zeros(3)).curve(histograms[2])
            for trust in (0.5, 0.0)
        )
        full = ColorTransfer(*histograms[:2], 0.3, 1.0, np.eye(3), np.zeros(3)).curve(histograms[2])
        np.testing.assert_allclose(none, np.arange(256) / 255)
        np.testing.assert_allclose(half, (full + none) / 2)


class TestFit:
    def transferred(self, transfer, picture):
        return transfer(picture, transfer.curve(luminance_histogram(picture)))

    def test_gives_the_source_the_targets_mean_and_covariance(self, domains):
        source, target = domains
        transfer = ColorTransfer.fit(samples(source), samples(target))
        moved = np.concatenate([self.transferred(transfer, p).reshape(-1, 3) for p in source])
        wanted = np.concatenate([p.reshape(-1, 3) for p in target]) / 255
        before = np.concatenate([p.reshape(-1, 3) for p in source]) / 255
        np.testing.assert_allclose(moved.mean(axis=0), wanted.mean(axis=0), atol=0.01)
        np.testing.assert_allclose(np.cov(moved.T), np.cov(wanted.T), atol=6e-4)
        assert np.abs(before.mean(axis=0) - wanted.mean(axis=0)).max() > 0.1
        assert np.abs(np.cov(before.T) - np.cov(wanted.T)).max() > 6e-3

    def test_between_equal_domains_changes_little(self, domains):
        _, target = domains
        transfer = ColorTransfer.fit(samples(target), samples(target))
        assert transfer.own_share == 0
        assert np.abs(self.transferred(transfer, target[0]) - target[0] / 255).mean() < 0.01

    def test_photos_count_by_their_area(self, monkeypatch):
        monkeypatch.setattr(samples_module, "PIXELS", 1000)
        large, small = (np.full((100, w, 3), v, np.uint8) for w, v in ((300, 200), (100, 50)))
        sides = [samples([large, small]), samples([small, small])]
        found = ColorTransfer.fit(*sides).source_histogram
        np.testing.assert_allclose(found[[200, 50]], [0.75, 0.25], atol=1e-9)

    def test_of_gray_pictures_is_finite(self, domains):
        source, target = domains
        gray = [np.repeat(p[..., :1], 3, axis=-1) for p in source]
        transfer = ColorTransfer.fit(samples(gray), samples(target))
        moved = self.transferred(transfer, gray[0])
        assert np.isfinite(moved).all() and moved.std() > 0.05

    def test_evens_out_photos_only_where_the_targets_are_more_alike(self, rng):
        """Photos of very different contrast against equal ones, and the other way round."""

        def photos(contrasts):
            noise = rng.uniform(-1, 1, (len(contrasts), 40, 40, 1))
            gray = 128 + noise * np.reshape(contrasts, (-1, 1, 1, 1))
            return list(np.repeat(gray, 3, axis=-1).astype(np.uint8))

        uneven, even = samples(photos([20, 60, 110])), samples(photos([60, 60, 60]))
        assert ColorTransfer.fit(uneven, even).own_share > 0.1
        assert ColorTransfer.fit(even, uneven).own_share == 0
