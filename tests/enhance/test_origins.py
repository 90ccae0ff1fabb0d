"""What a result was made from: it is kept, made again, or told to be another photo's."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wespe_tf.enhance import origins
from wespe_tf.enhance.origins import INDEX
from wespe_tf.files import digest
from wespe_tf.images.photo import read_photo, write_photo

SAME = ("model=mine", "input=holiday.png", "output=out")


def enhanced(path="out/holiday_enhanced.png"):
    with Image.open(path) as picture:
        return np.asarray(picture)


@pytest.fixture
def done(command, photo, loaded):
    """The pixels of a result that is there."""
    command(*SAME, "strength=0")
    return enhanced()


def test_the_same_again_is_kept(done, command):
    before = Path("out/holiday_enhanced.png").stat().st_mtime_ns
    assert (
        command(*SAME, "strength=0")[0]
        == "1 of 1 are in out already; overwrite=true makes them again"
    )
    assert Path("out/holiday_enhanced.png").stat().st_mtime_ns == before


def test_other_settings_make_it_again(done, command):
    lines = command(*SAME, "strength=1")
    assert lines[0] == "1 of 1 are made again: the photo or the settings changed"
    assert (enhanced() != done).any()


def test_quality_counts_only_where_it_changes_pixels(done, command):
    assert "already" in command(*SAME, "strength=0", "quality=50")[0]


@pytest.mark.parametrize("name", ["holiday.JPG", "holiday.heic", "holiday.avif", "holiday.jxl"])
def test_quality_counts_in_every_format_with_loss(photo, command, loaded, name):
    write_photo(name, read_photo("holiday.png"))
    arguments = "model=mine", f"input={name}", "output=out", "format=same", "strength=0"
    command(*arguments, "quality=90")
    assert "made again" in command(*arguments, "quality=50")[0]
    assert "already" in command(*arguments, "quality=50")[0]


def test_a_photo_that_changed_is_made_again(done, command):
    Image.fromarray(255 - done).save("holiday.png")
    command(*SAME, "strength=0")
    np.testing.assert_array_equal(enhanced(), 255 - done)
    # Before and after are of the new photo too.
    both = enhanced("out/holiday_before_after.png")
    np.testing.assert_array_equal(both, np.hstack([255 - done, 255 - done]))


def test_another_models_result_is_made_again(done, command, generator):
    generator.to_rgb.bias.assign_add([0.1, 0.0, 0.0])
    generator.save("other.keras")
    generator.to_rgb.bias.assign_sub([0.1, 0.0, 0.0])
    lines = command("model=other.keras", *SAME[1:], "strength=0")
    assert "made again" in lines[0]


def test_another_photo_of_that_name_is_told(done, refused_among_others):
    Path("day2").mkdir()
    Image.fromarray(255 - done).save("day2/holiday.png")
    error = refused_among_others("model=mine", "input=day2/holiday.png", "output=out", "strength=0")
    assert "out/holiday_enhanced.png is of another photo" in error and "overwrite=true" in error
    np.testing.assert_array_equal(enhanced(), done)


def test_results_without_an_index_are_kept_and_told(done, command):
    Path("out", INDEX).unlink()
    assert "their photo and settings are not known" in command(*SAME, "strength=1")[1]
    np.testing.assert_array_equal(enhanced(), done)


def test_a_line_that_was_cut_off_is_passed_over(done, command):
    path = Path("out", INDEX)
    path.write_bytes(path.read_bytes() + b'{"result": "holi')
    assert "already" in command(*SAME, "strength=0")[0]


def test_a_changed_photo_that_cannot_be_read_does_not_end_the_work(
    photos, command, refused_among_others, monkeypatch
):
    def digest_of_others(*paths):
        if "photos/1.png" in paths:
            raise PermissionError(13, "Permission denied")
        return digest(*paths)

    arguments = ("model=mine", "input=photos", "output=out", "strength=0")
    command(*arguments)
    Path("out/day2/1_enhanced.png").unlink()
    Image.fromarray(255 - photos["1"]).save("photos/1.png")
    monkeypatch.setattr(origins, "digest", digest_of_others)
    errors = refused_among_others(*arguments)
    assert "error: photos/1.png: cannot be read (Permission denied)" in errors
    assert Path("out/day2/1_enhanced.png").exists()
