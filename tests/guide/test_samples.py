"""What the guide needs to know of each photo."""

import collections

import numpy as np
import pytest
from PIL import Image

from wespe_tf.guide import samples
from wespe_tf.guide.samples import (
    PhotoSample,
    luminance,
    luminance_histogram,
    sample_photos,
    some_of,
)


@pytest.fixture
def numbered():
    """A photo of 64×80 pixels, each with a color of its own."""
    numbers = np.arange(64 * 80).reshape(64, 80)
    return np.stack([numbers // 256, numbers % 256, numbers * 0], axis=-1).astype(np.uint8)


def number_of(colors):
    return 256 * colors[..., 0].astype(int) + colors[..., 1]


class TestPhotoSample:
    def test_histogram_counts_every_pixel(self, rng):
        photo = rng.integers(0, 256, (30, 7, 3)).astype(np.uint8)
        expected = [np.histogram(photo[..., c], np.arange(257))[0] for c in range(3)]
        np.testing.assert_array_equal(PhotoSample.of(photo).histogram, expected)

    def test_small_photo_is_there_as_a_whole(self, numbered):
        sample = PhotoSample.of(numbered)
        np.testing.assert_array_equal(sample.pixels, numbered.reshape(-1, 3))
        assert sample.tiles.shape == (20, 16, 16, 3)
        for k, tile in enumerate(sample.tiles):
            top, left = 16 * (k // 5), 16 * (k % 5)
            np.testing.assert_array_equal(tile, numbered[top : top + 16, left : left + 16])

    def test_the_more_photos_the_less_of_each(self, numbered, monkeypatch):
        monkeypatch.setattr(samples, "PIXELS", 1000)
        monkeypatch.setattr(samples, "TILES", 40)
        sample = PhotoSample.of(numbered, count=4)
        assert 200 < len(sample.pixels) <= 250 and 5 < len(sample.tiles) <= 10
        assert sample.weight * len(sample.pixels) == pytest.approx(64 * 80)
        # They come from all rows and all columns.
        numbers = number_of(sample.pixels)
        assert len(set(numbers // 80)) == 64 and len(set(numbers % 80)) == 80
        corners = number_of(sample.tiles[:, 0, 0])
        assert len(set(corners // 80)) > 2 and len(set(corners % 80)) > 2

    def test_keeps_nothing_of_the_photo_in_memory(self, numbered):
        sample = PhotoSample.of(numbered)
        assert not np.shares_memory(sample.pixels, numbered)
        assert not np.shares_memory(sample.tiles, numbered)


class TestSamplePhotos:
    def test_reads_each_photo_once_and_leaves_some_out(self, rng, tmp_path):
        paths = [tmp_path / f"{k}.png" for k in range(5)]
        for path in paths:
            Image.fromarray(rng.integers(0, 256, (20, 20, 3)).astype(np.uint8)).save(path)
        times = collections.Counter()

        def read(path):
            times[path] += 1
            return None if path.endswith("3.png") else np.asarray(Image.open(path))

        found = sample_photos(paths, read)
        assert [photo.path for photo in found] == [str(p) for p in paths if p.name != "3.png"]
        assert set(times.values()) == {1}
        np.testing.assert_array_equal(
            found[0].histogram, PhotoSample.of(np.asarray(Image.open(paths[0]))).histogram
        )


class TestSomeOf:
    def test_few_are_all(self):
        assert some_of(["b", "a"]) == ["b", "a"]

    def test_many_are_a_seeded_choice_in_order(self, monkeypatch):
        monkeypatch.setattr(samples, "MAX_FILES", 10)
        paths = [f"{k:03d}" for k in range(200)]
        chosen = some_of(paths)
        assert len(set(chosen)) == 10 and chosen == sorted(chosen)
        assert some_of(paths) == chosen != some_of(paths, seed=1)
        assert int(chosen[-1]) - int(chosen[0]) > 50


class TestLuminance:
    def test_is_the_rounded_gray(self, rng):
        picture = rng.integers(0, 256, (9, 11, 3)).astype(np.uint8)
        found = luminance(picture)
        assert found.dtype == np.uint8 and found.shape == picture.shape[:2]
        gray = 0.2989 * picture[..., 0] + 0.5870 * picture[..., 1] + 0.1140 * picture[..., 2]
        assert np.abs(found - gray).max() <= 0.5 + 1e-9
        np.testing.assert_array_equal(
            luminance_histogram(picture), np.bincount(found.ravel(), minlength=256)
        )

    def test_histogram_of_a_large_photo_counts_pixels_of_all_columns(self, numbered, monkeypatch):
        monkeypatch.setattr(samples, "PIXELS", 600)
        columns = np.broadcast_to(np.arange(80, dtype=np.uint8)[None, :, None], numbered.shape)
        found = luminance_histogram(columns)
        assert 500 < found.sum() <= 600 and (found[:80] > 0).all()
