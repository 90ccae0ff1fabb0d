"""Streams of patches: true cut-outs, reproducible, of every photo, within bounded memory."""

import collections
import itertools
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from tests.data.ramps import origin, ramp, take
from wespe_tf.data import patches
from wespe_tf.data.patches import PatchStream, PhotoCache
from wespe_tf.errors import UserError


class TestPatches:
    SIZES = [(24, 31), (40, 16), (16, 16)]

    def test_are_true_cut_outs(self, ramps):
        stream = PatchStream(ramps(*self.SIZES), 16, 0, "source_dir")
        for patch in take(stream, 60):
            number, row, column = origin(patch)
            photo = ramp(*self.SIZES[number], number)
            assert patch.dtype == np.uint8 and patch.shape == (16, 16, 3)
            np.testing.assert_array_equal(patch, photo[row : row + 16, column : column + 16])

    @pytest.mark.parametrize("view_share", [0, 1])
    def test_context_is_of_the_same_photo_and_kind(self, tmp_path, make_photo, view_share):
        for k, value in enumerate((40, 200)):
            photo = np.full((40, 44, 3), value, np.uint8)
            photo[::2] += 1  # a view is reduced in size, so it loses these rows
            Image.fromarray(photo).save(tmp_path / f"{k}.png")
        stream = PatchStream(tmp_path, 16, 0, "source_dir", view_share)
        for number in range(20):
            squares, path = stream.cut(number, context=3)
            assert squares.shape == (4, 16, 16, 3) and squares.dtype == np.uint8
            np.testing.assert_array_equal(squares[0], stream[number])
            value = (40, 200)[int(os.path.basename(path)[0])]
            assert np.all(np.isin(squares, (value, value + 1)))
            has_rows = squares.std(axis=(1, 2, 3)) == 0.5
            assert np.all(has_rows) or view_share

    def test_context_is_of_other_places(self, ramps):
        stream = PatchStream(ramps((60, 60)), 16, 0, "source_dir")
        places = [{origin(square) for square in stream.cut(n, context=7)[0]} for n in range(10)]
        assert np.mean([len(each) for each in places]) > 7.5

    def test_reach_every_position(self, ramps):
        stream = PatchStream(ramps((20, 22)), 16, 0, "source_dir")
        corners = {origin(patch)[1:] for patch in take(stream, 500)}
        assert corners == set(itertools.product(range(5), range(7)))

    def test_number_decides_the_patch(self, ramps):
        folder = ramps(*self.SIZES)
        forward = take(PatchStream(folder, 16, 3, "source_dir"), 40)
        stream = PatchStream(folder, 16, 3, "source_dir")
        for number in np.random.default_rng(0).permutation(40):
            np.testing.assert_array_equal(stream[number], forward[number])

    def test_stream_starts_anywhere(self, ramps):
        stream = PatchStream(ramps(*self.SIZES), 16, 0, "source_dir")
        far = 10**12 + 7
        assert stream[far].shape == (16, 16, 3)
        assert [origin(p) for p in take(stream, 20, far)] != [origin(p) for p in take(stream, 20)]

    def test_seeds_differ(self, ramps):
        folder = ramps(*self.SIZES)
        sequences = [
            [origin(patch) for patch in take(PatchStream(folder, 16, seed, "source_dir"), 30)]
            for seed in range(4)
        ]
        for a, b in itertools.combinations(sequences, 2):
            assert sum(x == y for x, y in zip(a, b)) < 10

    def test_epochs_differ(self, ramps):
        stream = PatchStream(ramps(*[(32, 32)] * 5), 16, 0, "source_dir")
        size = stream.epoch_size
        first, second = (
            [origin(patch)[0] for patch in take(stream, size, k * size)] for k in (0, 1)
        )
        assert first != second and sorted(first) == sorted(second)


class TestCoverage:
    def test_photos_count_by_their_area(self, ramps):
        """As many patches of each as fit side by side, in every epoch."""
        stream = PatchStream(ramps((20, 20), (60, 80), (10, 30)), 10, 0, "source_dir")
        expected = {0: 2 * 2, 1: 6 * 8, 2: 1 * 3}
        assert stream.epoch_size == 55
        for epoch in range(3):
            drawn = collections.Counter(origin(p)[0] for p in take(stream, 55, 55 * epoch))
            assert drawn == expected

    def test_photos_are_mixed_within_an_epoch(self, ramps):
        stream = PatchStream(ramps((50, 50), (50, 50)), 10, 0, "source_dir")
        numbers = [origin(patch)[0] for patch in take(stream, stream.epoch_size)]
        changes = sum(a != b for a, b in itertools.pairwise(numbers))
        # 25 of each in random order change about 25 times; one after the other only once.
        assert 12 < changes < 38

    def test_sub_folders_count(self, ramps, tmp_path):
        folder = ramps((20, 20))
        (folder / "more" / "deep").mkdir(parents=True)
        Image.fromarray(ramp(20, 20, 7)).save(folder / "more" / "deep" / "7.png")
        stream = PatchStream(folder, 10, 0, "source_dir")
        assert {origin(patch)[0] for patch in take(stream, 20)} == {0, 7}

    def test_upright_size_counts(self, tmp_path):
        """A photo stored on its side: rows and columns are those a viewer shows."""
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(ramp(20, 40, 1)).save(tmp_path / "1.png", exif=exif)
        stream = PatchStream(tmp_path, 16, 0, "source_dir")
        upright = np.rot90(ramp(20, 40, 1), -1)
        patch = stream[0]
        # Turned clockwise, the stored row counts from right to left.
        column, row = 19 - int(patch[0, 0, 0]), int(patch[0, 0, 1])
        np.testing.assert_array_equal(patch, upright[row : row + 16, column : column + 16])


class TestWindow:
    """More photos than the cache may hold."""

    SIDE = 40
    BYTES = 3 * SIDE**2

    @pytest.fixture
    def stream(self, ramps):
        folder = ramps(*[(self.SIDE, self.SIDE)] * 7)
        return PatchStream(folder, 8, 0, "source_dir", cache_bytes=2 * self.BYTES)

    def test_an_epoch_covers_all_photos(self, stream):
        drawn = collections.Counter(origin(p)[0] for p in take(stream, stream.epoch_size))
        assert set(drawn) == set(range(7))
        assert len(set(drawn.values())) == 1

    def test_cache_stays_within_its_bytes(self, stream):
        for number in range(2 * stream.epoch_size):
            stream[number]
            held = sum(photo.nbytes for photo in stream.cache.photos.values())
            assert held == stream.cache.size <= 2 * self.BYTES

    def test_each_photo_is_decoded_once_an_epoch(self, stream):
        reads = collections.Counter()
        read = stream.cache.read

        def counted(path):
            reads[path] += 1
            return read(path)

        stream.cache.read = counted
        take(stream, stream.epoch_size)
        assert sorted(reads.values()) == [1] * 7

    def test_no_photo_stays_for_long(self, ramps):
        """One visit of a large photo must not fill thousands of batches."""
        folder = ramps(*[(120, 120)] * 4)
        stream = PatchStream(folder, 8, 0, "source_dir", cache_bytes=3 * 120**2)
        drawn = collections.Counter(origin(p)[0] for p in take(stream, stream.epoch_size))
        assert set(drawn.values()) == {patches.CROPS_PER_VISIT}
        assert patches.CROPS_PER_VISIT < (120 // 8) ** 2


class TestPhotoCache:
    @staticmethod
    def cache(limit, reads):
        def read(path):
            reads.append(path)
            return np.zeros(10, np.uint8)

        return PhotoCache(limit, read)

    def test_forgets_the_least_recently_used(self):
        reads = []
        cache = self.cache(30, reads)
        for path in "abcadb":
            cache.get(path)
        # d drops b, the oldest when a had been used again; then b drops c.
        assert reads == ["a", "b", "c", "d", "b"]
        assert set(cache.photos) == {"a", "d", "b"}

    def test_a_photo_larger_than_the_cache_is_still_served(self):
        cache = self.cache(5, [])
        assert cache.get("a").nbytes == 10
        cache.get("b")
        assert list(cache.photos) == ["b"] and cache.size == 10

    def test_many_threads_agree_on_the_size(self):
        cache = self.cache(50, [])
        paths = np.random.default_rng(0).integers(0, 20, 2000)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(cache.get, paths))
        assert cache.size == 10 * len(cache.photos) == 50


class TestUnusableFiles:
    @pytest.fixture
    def folder(self, ramps, make_truncated):
        """One good photo among four bad files."""
        folder = ramps((30, 30))
        make_truncated(folder / "half.jpg")
        (folder / "text.jpg").write_text("not a picture")
        (folder / "empty.png").touch()
        Image.fromarray(ramp(40, 15, 9)).save(folder / "small.png")
        return folder

    BAD = ("half.jpg", "text.jpg", "empty.png", "small.png")

    def test_are_skipped_with_one_warning_each(self, folder, warnings):
        stream = PatchStream(folder, 16, 0, "source_dir")
        assert {origin(patch)[0] for patch in take(stream, 60)} == {0}
        assert len(warnings()) == len(self.BAD)
        for name in self.BAD:
            (line,) = [line for line in warnings() if name in line]
            assert line.startswith(f"warning: skipped {folder / name}: ") and "\n" not in line

    def test_small_photos_warning_tells_the_sizes(self, folder, warnings):
        PatchStream(folder, 16, 0, "source_dir")
        (line,) = [line for line in warnings() if "small.png" in line]
        assert line.endswith("15×40 pixels, smaller than patch_size=16")

    def test_are_noticed_late_in_sets_too_large_to_measure(self, folder, warnings, monkeypatch):
        for number in range(1, 63):
            os.link(folder / "0.png", folder / f"{number}.png")
        monkeypatch.setattr(patches, "MEASURED_FILES", 64)
        monkeypatch.setattr(patches.PatchStream, "_size", lambda self, path: (30, 30))
        stream = PatchStream(folder, 16, 0, "source_dir")
        assert warnings() == []
        assert {origin(patch)[0] for patch in take(stream, stream.epoch_size)} == {0}
        assert len(warnings()) == len(self.BAD)
        for name in self.BAD:
            assert sum(name in line for line in warnings()) == 1

    def test_one_warning_though_many_threads_read(self, folder, warnings):
        stream = PatchStream(folder, 16, 0, "source_dir")
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(stream.__getitem__, range(100)))
        assert len(warnings()) == len(self.BAD)

    def test_that_vanish_or_change_during_the_run(self, tmp_path, warnings):
        for number in range(3):
            Image.fromarray(ramp(30, 30, number)).save(tmp_path / f"{number}.png")
        stream = PatchStream(tmp_path, 16, 0, "source_dir", cache_bytes=1)
        before = stream.digest()
        (tmp_path / "1.png").unlink()
        (tmp_path / "2.png").write_text("not a picture")
        assert {origin(patch)[0] for patch in take(stream, 60)} == {0}
        assert sorted(line.rpartition(str(tmp_path))[2] for line in warnings())[0] == (
            "/1.png: no such file"
        )
        assert len(warnings()) == 2
        assert stream.digest() != before

    def test_samples_leave_them_out(self, folder, warnings):
        stream = PatchStream(folder, 16, 0, "source_dir")
        assert [photo.path for photo in stream.samples] == [str(folder / "0.png")]
        assert len(warnings()) == len(self.BAD)
        take(stream, 20)
        assert len(warnings()) == len(self.BAD)

    def test_all_broken_is_an_error(self, tmp_path, make_truncated):
        make_truncated(tmp_path / "half.jpg")
        stream = PatchStream(tmp_path, 16, 0, "target_dir")
        expected = f"target_dir: no picture in {tmp_path} can be read"
        for attempt in (lambda: stream[0], lambda: stream.samples):
            with pytest.raises(UserError) as caught:
                attempt()
            assert str(caught.value) == expected

    @pytest.mark.parametrize("names", [["text.jpg"], ["small.png"], ["text.jpg", "empty.png"]])
    def test_nothing_usable_is_an_error_at_once(self, folder, names):
        for path in folder.iterdir():
            if path.name not in names:
                path.unlink()
        with pytest.raises(UserError, match="source_dir: no usable picture in .*patch_size=16"):
            PatchStream(folder, 16, 0, "source_dir")

    @pytest.mark.parametrize("content", [[], ["notes.txt"]])
    def test_folder_without_pictures(self, tmp_path, content):
        for name in content:
            (tmp_path / name).touch()
        with pytest.raises(UserError, match="source_dir: no pictures"):
            PatchStream(tmp_path, 16, 0, "source_dir")


class TestViews:
    """Patches that show half a photo's shorter side or more, shrunk."""

    def test_show_the_photo_and_not_a_cut_out(self, tmp_path):
        """Of a photo that is dark on the left and bright on the right, views see both."""
        photo = np.zeros((160, 160, 3), np.uint8)
        photo[:, 80:] = 200
        folder = tmp_path / "photos"
        folder.mkdir()
        Image.fromarray(photo).save(folder / "0.png")
        views = PatchStream(folder, 20, 0, "source_dir", view_share=1.0)
        both = [views[k].min() == 0 and views[k].max() == 200 for k in range(40)]
        assert views[0].shape == (20, 20, 3) and np.mean(both) > 0.8
        cuts = PatchStream(folder, 20, 0, "source_dir")
        assert np.mean([cuts[k].min() != cuts[k].max() for k in range(40)]) < 0.4

    def test_keep_the_mean(self, tmp_path, rng):
        photo = rng.integers(0, 256, (90, 90, 3)).astype(np.uint8)
        folder = tmp_path / "photos"
        folder.mkdir()
        Image.fromarray(photo).save(folder / "0.png")
        views = PatchStream(folder, 16, 0, "source_dir", view_share=1.0)
        assert abs(np.mean([views[k] for k in range(20)]) - photo.mean()) < 3

    def test_share_counts(self, ramps):
        """A ramp's cut-outs step by one from pixel to pixel, its views by more."""
        folder = ramps((200, 200))
        stream = PatchStream(folder, 20, 0, "source_dir", view_share=0.5)
        is_view = [np.ptp(stream[k][0, :, 1].astype(int)) > 25 for k in range(200)]
        assert 0.35 < np.mean(is_view) < 0.65


class TestDigest:
    def test_tells_sets_apart_by_names_and_sizes(self, tmp_path, make_folder):
        def digest(folder):
            return PatchStream(folder, 16, 0, "source_dir").digest()

        folder, same = (make_folder(tmp_path / name) for name in "ab")
        before = digest(folder)
        assert digest(same) == before
        (folder / "0.png").rename(folder / "other.png")
        renamed = digest(folder)
        with open(same / "0.png", "ab") as file:
            file.write(b"more")
        assert len({before, renamed, digest(same)}) == 3

    def test_of_a_set_that_lost_a_photo(self, tmp_path, make_folder):
        stream = PatchStream(make_folder(tmp_path / "a"), 16, 0, "source_dir")
        before = stream.digest()
        (tmp_path / "a" / "1.png").unlink()
        assert len(stream.digest()) == 64 and stream.digest() != before
