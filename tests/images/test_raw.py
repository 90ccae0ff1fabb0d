"""Cameras' raw files: developed where rawpy is installed, refused as such where it is not."""

import sys

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.images.photo_files import XYZ_TO_SRGB, linear
from tests.images.test_tiff import UPRIGHT, tiff
from wespe_tf.data.folders import find_pictures
from wespe_tf.images.opening import UnreadablePicture
from wespe_tf.images.photo import pixel_bytes, read_photo, write_photo
from wespe_tf.images.picture import picture_size, read_picture
from wespe_tf.images.raw import is_raw

# What four parts of the scene reflect, and how a sensor sees white.
WHITE, RED, GRAY, BLUE = (0.8, 0.8, 0.8), (0.5, 0.2, 0.1), (0.2, 0.2, 0.2), (0.1, 0.2, 0.4)
NEUTRAL = (0.5, 1.0, 0.8)
SHORT, RATIONAL, SIGNED_RATIONAL = 3, 5, 10


def rationals(values):
    return [number for value in values for number in (round(value * 100_000), 100_000)]


def dng(path, orientation=1):
    """A raw file of 60×40 pixels behind red, green, green and blue filters."""
    scene = np.empty((40, 60, 3))
    scene[:20, :30], scene[:20, 30:], scene[20:, :30], scene[20:, 30:] = WHITE, RED, GRAY, BLUE
    seen = np.rint(scene * NEUTRAL * 10_000 + 100).astype(np.uint16)
    sensor = seen[..., 1].copy()
    sensor[::2, ::2], sensor[1::2, 1::2] = seen[::2, ::2, 0], seen[1::2, 1::2, 2]
    tags = [
        (274, SHORT, 1, orientation, True),
        (271, 2, 0, "Maker", True),
        (33421, SHORT, 2, (2, 2), True),
        (33422, 1, 4, bytes([0, 1, 1, 2]), True),
        (50706, 1, 4, bytes([1, 4, 0, 0]), True),
        (50708, 2, 0, "Maker Model", True),
        (50714, SHORT, 1, 100, True),
        (50717, SHORT, 1, 10_100, True),
        (50721, SIGNED_RATIONAL, 9, rationals(XYZ_TO_SRGB.ravel()), True),
        (50728, RATIONAL, 3, rationals(NEUTRAL), True),
        (50778, SHORT, 1, 21, True),
    ]
    tifffile.imwrite(path, sensor, photometric="cfa", extratags=tags, software="a program")
    return path


@pytest.fixture
def without_rawpy(monkeypatch):
    monkeypatch.setitem(sys.modules, "rawpy", None)


class TestDeveloped:
    @pytest.fixture(autouse=True)
    def needs_rawpy(self):
        pytest.importorskip("rawpy")

    def test_white_as_measured_in_srgb(self, tmp_path):
        """The light of each part is to that of white as in the scene."""
        photo = read_photo(dng(tmp_path / "a.dng"))
        assert photo.pixels.dtype == np.uint16 and photo.pixels.shape == (40, 60, 3)
        light = linear(photo.pixels / 65535.0)
        for part, (top, left) in ((RED, (0, 30)), (GRAY, (20, 0)), (BLUE, (20, 30))):
            middle = light[top + 6 : top + 14, left + 8 : left + 22].mean((0, 1))
            np.testing.assert_allclose(middle, np.divide(part, WHITE), atol=0.01)
        assert light[6:14, 8:22].min() > 0.99

    @pytest.mark.parametrize("orientation", [1, 3, 6, 8])
    def test_upright(self, tmp_path, orientation):
        stored = read_photo(dng(tmp_path / "a.dng")).pixels
        path = dng(tmp_path / "b.dng", orientation)
        upright = UPRIGHT[orientation](stored)
        np.testing.assert_array_equal(read_photo(path).pixels, upright)
        assert read_picture(path).shape == upright.shape
        assert picture_size(path) == upright.shape[:2]
        assert pixel_bytes(path) == upright.nbytes

    @pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
    def test_what_it_says_is_kept_and_the_result_is_not_raw(self, tmp_path, suffix):
        written = tmp_path / f"b{suffix}"
        write_photo(written, read_photo(dng(tmp_path / "a.dng", 6)))
        with Image.open(written) as picture:
            exif = picture.getexif()
            assert exif[271] == "Maker" and exif[305] == "a program"
            assert exif.get(274, 1) == 1 and not {33421, 50706, 50721} & set(exif)
        assert read_photo(written).pixels.shape == (60, 40, 3)

    def test_names_do_not_matter(self, tmp_path):
        np.testing.assert_array_equal(
            read_picture(dng(tmp_path / "a.dng")), read_picture(dng(tmp_path / "a.tif"))
        )

    def test_damage_is_one_line(self, tmp_path):
        content = dng(tmp_path / "a.dng").read_bytes()
        (tmp_path / "a.dng").write_bytes(content[:1000])
        with pytest.raises(UnreadablePicture, match="a.dng: not a readable picture") as caught:
            read_photo(tmp_path / "a.dng")
        assert "\n" not in str(caught.value)

    def test_values_above_white(self, tmp_path):
        """As of film scanners, whose files LibRaw takes for those of cameras."""
        content = dng(tmp_path / "a.dng").read_bytes()
        low = content.replace((10_100).to_bytes(2, "little"), (120).to_bytes(2, "little"))
        (tmp_path / "a.dng").write_bytes(low)
        with pytest.raises(UnreadablePicture, match="LibRaw cannot develop this kind of file"):
            read_photo(tmp_path / "a.dng")

    def test_in_folders(self, tmp_path, caplog):
        path = dng(tmp_path / "a.dng")
        assert find_pictures(tmp_path, "input") == [str(path)] and not caplog.messages


class TestRefused:
    """Never is a thumbnail taken for the photo."""

    def test_with_the_command_that_installs_what_reads_it(self, tmp_path, without_rawpy):
        path = dng(tmp_path / "a.dng")
        for read in (read_photo, read_picture, picture_size, pixel_bytes):
            with pytest.raises(UnreadablePicture) as caught:
                read(path)
            assert str(caught.value) == (
                f'{path}: a camera\'s raw file needs the package rawpy: pip install "wespe_tf[raw]"'
            )

    def test_folders_say_so(self, tmp_path, caplog, make_photo, without_rawpy):
        dng(tmp_path / "a.dng")
        Image.fromarray(make_photo(20, 30)).save(tmp_path / "b.png")
        assert find_pictures(tmp_path, "input") == [str(tmp_path / "b.png")]
        (warning,) = caplog.messages
        assert "1 file left out" in warning and 'pip install "wespe_tf[raw]"' in warning

    @pytest.mark.parametrize(
        "head",
        [b"FUJIFILMCCD-RAW 0201", b"IIRO\x08\0\0\0", b"IIU\0\x18\0\0\0", b"\0MRM", b"FOVb"]
        + [b"\0\0\0\x18ftypcrx \0\0\0\1", b"II*\0\x10\0\0\0CR\2\0", b"II\x1a\0\0\0HEAPCCDR"],
    )
    def test_by_how_they_begin(self, tmp_path, without_rawpy, head):
        (tmp_path / "a").write_bytes(head + bytes(100))
        with pytest.raises(UnreadablePicture, match="a camera's raw file"):
            read_photo(tmp_path / "a")

    def test_a_tiff_file_that_is_raw_by_its_name(self, tmp_path, rng, without_rawpy):
        (tmp_path / "a.NEF").write_bytes(tiff(rng.integers(0, 256, (6, 8, 3)), 8))
        with pytest.raises(UnreadablePicture, match="a camera's raw file"):
            read_photo(tmp_path / "a.NEF")

    def test_no_others(self, tmp_path, rng, make_photo):
        (tmp_path / "a.tif").write_bytes(tiff(rng.integers(0, 256, (6, 8, 3)), 8))
        Image.fromarray(make_photo(20, 30)).save(tmp_path / "b.nef", "JPEG")
        for name in ("a.tif", "b.nef"):
            with open(tmp_path / name, "rb") as file:
                assert not is_raw(tmp_path / name, file)
