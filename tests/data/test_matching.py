"""Which shots two cameras took of the same: by names and by time."""

from datetime import datetime, timedelta

import pytest

pytest.importorskip("cv2", reason="OpenCV is missing: pip install -e '.[align]'")

from wespe_tf.data.matching import by_names, by_time, one_to_one  # noqa: E402

NOON = datetime(2024, 5, 1, 12)


def times(*seconds):
    return [None if s is None else NOON + timedelta(seconds=s) for s in seconds]


def test_names_pair_whatever_folder_and_suffix():
    phone = ["a/IMG_1.jpg", "a/IMG_2.jpg", "a/x.jpg"]
    assert by_names(phone, ["b/c/img_2.png", "b/IMG_1.tif"]) == [(0, 1), (1, 0)]


def test_names_that_come_twice_pair_nothing():
    assert by_names(["1.jpg", "2.jpg"], ["x/1.jpg", "y/1.jpg", "2.jpg"]) == [(1, 2)]


def test_the_clocks_offset_is_found():
    """The camera's clock is an hour and seven seconds ahead, and it missed a scene."""
    phone = times(0, 40, 95, None, 170)
    camera = times(3607 + 170, 3607 + 1, 3607 + 94, 9999)
    offset, pairs = by_time(phone, camera, tolerance=2)
    assert offset == pytest.approx(3607, abs=1)
    assert sorted(pairs) == [(0, 1), (2, 2), (4, 0)]


def test_of_equal_offsets_the_smaller_counts():
    offset, pairs = by_time(times(0), times(-50, 20), tolerance=1)
    assert (offset, pairs) == (20, [(0, 1)])


def test_no_photo_is_in_two_pairs():
    _, pairs = by_time(times(0, 1), times(0, 1, 2), tolerance=3)
    assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs) == 2


def test_without_times_there_are_no_pairs():
    assert by_time(times(None), times(0, 1), tolerance=3) == (0.0, [])


def test_one_to_one_keeps_the_first():
    assert one_to_one([(0, 1), (0, 2), (3, 1), (3, 2)]) == [(0, 1), (3, 2)]
