"""check: every fault is named, whole folders pass, and the page shows both."""

import shutil

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("imagehash", reason="ImageHash is missing: pip install -e '.[align]'")

from tests.shared import SHARED, needs_shared  # noqa: E402
from wespe_tf.config.loading import load  # noqa: E402
from wespe_tf.config.schema import TrainConfig  # noqa: E402
from wespe_tf.data.check import main  # noqa: E402
from wespe_tf.data.inspection import flat_share, inspect, look_of  # noqa: E402
from wespe_tf.data.sample import build_sample  # noqa: E402
from wespe_tf.data.settings import CheckConfig  # noqa: E402
from wespe_tf.data.shots import read_shot  # noqa: E402
from wespe_tf.errors import UserError  # noqa: E402

SIDE = 128


@pytest.fixture
def phone(tmp_path, make_photo, monkeypatch):
    """A folder of twelve good photos below the current folder, `phone`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "phone").mkdir()
    for k in range(12):
        save(tmp_path / "phone" / f"{k}.jpg", make_photo(SIDE, SIDE + 32, k))
    return tmp_path / "phone"


def save(path, photo, camera="Pixel", software=None, taken="2024:05:01 12:00:00", comment=None):
    exif = Image.Exif()
    if camera:
        exif[0x010F], exif[0x0110] = "Maker", camera
    if software:
        exif[0x0131] = software
    details = exif.get_ifd(0x8769)
    details[0x9003] = taken
    if comment:
        details[0x9286] = b"ASCII\0\0\0" + comment.encode()
    Image.fromarray(photo).save(path, quality=95, exif=exif)


def checked(capsys, *arguments):
    """What check prints, and whether all is well."""
    capsys.readouterr()
    try:
        main([str(argument) for argument in arguments])
        good = True
    except SystemExit as exit:
        assert exit.code == 1
        good = False
    return capsys.readouterr().out, good


def test_good_photos_need_no_mending(phone, capsys):
    text, good = checked(capsys, phone)
    assert good and "nothing to mend" in text and "mend:" not in text
    assert "12 photos" in text and "160×128" in text and "Maker Pixel" in text
    assert "2024-05-01" in text
    assert (phone.parent / "check.html").is_file()


def broken(folder, make_photo):
    save(folder / "bad.jpg", make_photo(SIDE, SIDE, 50))
    content = (folder / "bad.jpg").read_bytes()
    (folder / "bad.jpg").write_bytes(content[: len(content) // 2])


def small(folder, make_photo):
    save(folder / "bad.jpg", make_photo(SIDE, 63, 50))


def converted_first(folder, make_photo):
    (folder / "bad.HEIC").write_bytes(b"a format that is not read")


def same_file(folder, make_photo):
    shutil.copy(folder / "3.jpg", folder / "bad.jpg")


def screenshot_by_name(folder, make_photo):
    save(folder / "Screenshot_bad.jpg", make_photo(SIDE, SIDE, 50))


def screenshot_by_comment(folder, make_photo):
    save(folder / "bad.jpg", make_photo(SIDE, SIDE, 50), comment="Screenshot")


def screenshot_by_flatness(folder, make_photo):
    screen = np.full((200, 120, 3), 240, np.uint8)
    screen[20:40, 10:110] = (30, 90, 200)
    screen[60:160:8, 10:100:3] = 20
    Image.fromarray(screen).save(folder / "bad.png")


def edited(folder, make_photo):
    save(folder / "bad.jpg", make_photo(SIDE, SIDE, 50), software="Adobe Photoshop 25.0")


def enhanced(folder, make_photo):
    save(folder / "bad_enhanced.jpg", make_photo(SIDE, SIDE, 50))


@pytest.mark.parametrize(
    "fault, named",
    [
        (broken, "1 broken: "),
        (small, "1 smaller than 64 pixels: "),
        (converted_first, "1 in a format that is not read"),
        (same_file, "1 the same file again: "),
        (screenshot_by_name, "1 screenshots: "),
        (screenshot_by_comment, "its EXIF comment says so"),
        (screenshot_by_flatness, "like their neighbors"),
        (edited, "written by Adobe Photoshop 25.0"),
        (enhanced, "1 edited or enhanced already: "),
    ],
)
def test_every_fault_is_named(phone, make_photo, capsys, fault, named):
    fault(phone, make_photo)
    text, good = checked(capsys, phone)
    (line,) = [line for line in text.splitlines() if line.startswith("mend: ")]
    assert named in line and "bad" in line
    assert not good and "1 thing to mend" in text
    page = (phone.parent / "check.html").read_text("utf-8")
    assert "to mend" in page and "bad" in page.split("</table>")[1]


@pytest.mark.parametrize("name", ["a.hif", "a.jxl", "a.cr3", "a.RWL", "a.x3f", "a.gif"])
def test_formats_of_photos_are_known_where_they_are_not_read(phone, capsys, name):
    (phone / name).write_bytes(b"a format that is not read")
    text, good = checked(capsys, phone)
    (line,) = [line for line in text.splitlines() if line.startswith("mend: ")]
    assert not good and "1 in a format that is not read" in line and name in line


def test_near_duplicates_are_worth_knowing(phone, capsys):
    photo = Image.open(phone / "5.jpg").resize((140, 112)).point(lambda value: 0.8 * value)
    photo.save(phone / "again.jpg", quality=80)
    text, good = checked(capsys, phone)
    assert good and "note: " in text
    assert "1 near duplicates: " in text and "again.jpg (like 5.jpg)" in text


def test_several_cameras_are_worth_knowing(phone, make_photo, capsys):
    save(phone / "other.jpg", make_photo(SIDE, SIDE, 60), camera="Galaxy")
    text, good = checked(capsys, phone)
    assert good and "2 cameras: Maker Pixel (12), Maker Galaxy (1)" in text


def test_photos_that_both_folders_have(phone, make_photo, capsys):
    other = phone.parent / "good"
    other.mkdir()
    for k in range(10):
        save(other / f"{k}.jpg", make_photo(SIDE, SIDE, 100 + k), software="Lightroom 7")
    text, good = checked(capsys, phone, other)
    # Good photos may be edited.
    assert good and "10 edited or enhanced already, as good photos may be" in text
    brighter = Image.open(phone / "7.jpg").point(lambda value: min(255, 1.1 * value))
    brighter.save(other / "twin.png")
    text, good = checked(capsys, phone, other)
    assert not good
    assert "1 in both folders, which must not show the same photos: " in text
    assert f"7.jpg (like {other}/twin.png)" in text


def test_statistics_are_those_of_the_pixels():
    photo = np.zeros((10, 20, 3), np.uint8)
    photo[:, :10] = (200, 100, 50)
    look = look_of(photo)
    gray = 0.2125 * 200 + 0.7154 * 100 + 0.0721 * 50  # ITU-R BT.709, as scikit-image has it
    assert look.brightness == pytest.approx(gray / 2, rel=1e-3)
    assert look.contrast == pytest.approx(gray / 2, rel=1e-3)
    assert look.saturation == pytest.approx(0.75 / 2)  # HSV: 1 - 50 / 200
    assert (look.red, look.blue) == pytest.approx((2, 0.5))
    assert (look.dark, look.bright) == (0.5, 0)


def test_flatness_counts_equal_neighbors(rng):
    noise = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert flat_share(noise) == 0
    noise[:, 32:] = 9
    assert flat_share(noise) == pytest.approx(31 / 63)


def test_a_dped_folder_that_is_whole_and_one_that_is_not(tmp_path, make_photo, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for part in ("training_data", "test_data/patches"):
        for side in ("iphone", "canon"):
            folder = tmp_path / "dped" / "iphone" / part / side
            folder.mkdir(parents=True)
            for k in range(3):
                Image.fromarray(make_photo(100, 100, k)).save(folder / f"{k}.jpg")
    text, good = checked(capsys, "dped_dir=dped")
    assert good and "iphone: 3 training pairs" in text and "iphone: 3 test pairs" in text
    assert "no blackberry" in text
    (tmp_path / "dped/iphone/training_data/canon/2.jpg").unlink()
    (tmp_path / "dped/iphone/test_data/patches/iphone/1.jpg").unlink()
    text, good = checked(capsys, "dped_dir=dped")
    assert not good
    assert "1 training patch without a partner: dped/iphone/training_data/iphone/2.jpg" in text
    assert "1 test patch without a partner: dped/iphone/test_data/patches/canon/1.jpg" in text
    shutil.rmtree(tmp_path / "dped/iphone/test_data")
    text, good = checked(capsys, "dped_dir=dped")
    assert not good and "no folder test_data/patches" in text


def test_the_sample_needs_no_mending(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = build_sample(tmp_path / "sample")
    text, good = checked(capsys, folders.source, folders.target)
    assert good and text.count("note: ") == 2  # Both are small.


def test_the_smallest_size_is_that_of_the_recommended_patches():
    assert CheckConfig().patch_size == load(TrainConfig, ["preset=recommended"]).patch_size


def test_hidden_folders_are_left_out(phone, capsys):
    (phone / ".trash").mkdir()
    (phone / ".trash" / "old.gif").write_bytes(b"GIF89a")
    text, good = checked(capsys, phone)
    assert good and "old.gif" not in text
    (phone / "new.gif").write_bytes(b"GIF89a")
    text, good = checked(capsys, phone)
    assert not good and "1 in a format that is not read" in text


@needs_shared
@pytest.mark.slow
def test_phone_bench_needs_no_mending(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bench = SHARED / "phone_bench"
    text, good = checked(capsys, bench / "source", bench / "target")
    assert good and "note: " not in text and "Apple iPhone 3GS" in text
    text, good = checked(capsys, bench / "val_phone", bench / "val_enhanced")
    assert not good and "3 in both folders" in text


def test_what_a_file_says(tmp_path, make_photo):
    save(tmp_path / "0.jpg", make_photo(SIDE, SIDE), camera="Maker 7", software="7.1.2")
    found = inspect(str(tmp_path / "0.jpg"))
    assert found.shot.camera == "Maker 7"  # not "Maker Maker 7"
    assert (found.shot.program, found.edited, found.screenshot) == ("7.1.2", "", "")
    assert found.shot.taken.isoformat() == "2024-05-01T12:00:00"


@pytest.mark.parametrize(
    "xmp, program",
    [
        (b'<x xmp:CreatorTool="Tool 1.0"/>', "Tool 1.0"),
        (b"<xmp:CreatorTool>Tool 1.0</xmp:CreatorTool>", "Tool 1.0"),
        (b"<xmp:CreatorTool>Tool", "Tool"),
        (b"<x/>", ""),
    ],
)
def test_the_program_that_xmp_names(tmp_path, make_photo, xmp, program):
    """Also if the packet ends within its name."""
    Image.fromarray(make_photo(SIDE, SIDE)).save(tmp_path / "0.jpg", xmp=xmp)
    assert read_shot(str(tmp_path / "0.jpg")).program == program


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "check: expected folders"),
        (["nowhere"], "check: no folder nowhere"),
        (["dped_dir=nowhere"], "dped_dir=nowhere: no folder <phone>/training_data"),
        (["phone", "output=nowhere/page.html"], "nowhere/page.html: cannot be written"),
    ],
)
def test_mistakes_are_named(phone, arguments, message):
    with pytest.raises(UserError, match=message):
        main(arguments)
