"""Files of kinds that were once handled wrongly, with what is right for each."""

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.shared import SHARED, needs_shared
from wespe_tf import Generator
from wespe_tf.enhance.cli import main as enhance
from wespe_tf.errors import UserError
from wespe_tf.images import read_picture
from wespe_tf.images.photo import read_photo
from wespe_tf.training.cli import main as train

INPUTS = SHARED / "failing_inputs"
pytestmark = needs_shared


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Function that enhances files with a tiny model, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    generator = Generator(width=4, blocks=1)
    generator.build((None, None, None, 3))
    generator.save("tiny.keras")
    # It is there already: reading it takes a process each time.
    monkeypatch.setattr("wespe_tf.enhance.cli.load_generator", lambda path: generator)

    def call(source, *arguments):
        given = "model=tiny.keras", "runtime=keras", "output=out", "strength=0"
        # Of equal keys the later counts.
        enhance([*given, f"input={source}", *arguments])
        return {path.name: path for path in sorted(Path("out").rglob("*_enhanced.*"))}

    return call


def tiny_run(target, *more):
    shape = "patch_size=32", "batch_size=2", "generator_width=4", "generator_blocks=1"
    train(
        [
            *("preset=recommended", "num_train_iters=2", "eval_step=2", "border=0", *shape),
            *(
                "discriminator_width=0.05",
                "run=x",
                "source_dir=photos",
                f"target_dir={target}",
                *more,
            ),
        ]
    )


def test_profiles(call, capsys):
    call(INPUTS / "01_icc" / "adobe", f"target={INPUTS / '01_icc' / 'adobe'}")
    assert "PSNR inf dB" in capsys.readouterr().out
    for path in (INPUTS / "01_icc" / "adobe").iterdir():
        twin = read_picture(INPUTS / "01_icc" / "srgb" / path.name)
        difference = np.abs(read_picture(path).astype(int) - twin)
        assert np.percentile(difference, 99) <= 2


@pytest.mark.slow
@pytest.mark.usefixtures("eagerly")
def test_portrait_tiffs_train_and_are_pairs(tmp_path, monkeypatch, make_folder):
    monkeypatch.chdir(tmp_path)
    make_folder(tmp_path / "photos")
    folder = INPUTS / "02_tiff_orientation"
    pairs = (f"val_{side}_dir={folder / f'val_{side}'}" for side in ("source", "target"))
    tiny_run(folder / "target", *pairs)
    assert (tmp_path / "models" / "x" / "generator.keras").is_file()


@pytest.mark.parametrize("folder", ["03_broken_exif_refused", "04_orientation_type"])
def test_sound_photos_with_odd_metadata(call, folder):
    found = call(INPUTS / folder, "format=same")
    assert len(found) == len(list((INPUTS / folder).iterdir()))
    for path in found.values():
        with Image.open(path) as picture:
            assert picture.getexif().get(0x0112, 1) == 1


def test_twelve_bits(call):
    (path,) = call(INPUTS / "05_12_bit_tiff").values()
    assert read_picture(path).max() == 255


def test_texts_stay_byte_for_byte(call):
    (path,) = call(INPUTS / "06_tiff_texts", "format=same").values()
    content = path.read_bytes()
    assert "Żółć".encode() in content


def test_planar_16_bits(call, capsys):
    call(INPUTS / "07_planar_16_bit", f"target={INPUTS / '07_planar_16_bit'}")
    assert "PSNR inf dB" in capsys.readouterr().out


@pytest.mark.parametrize("folder", ["08_thumbnail_page", "12_exif_over_64k"])
def test_is_done(call, folder):
    assert len(call(INPUTS / folder, "format=same")) == 1


def test_hidden_profiles_of_png(call):
    found = call(INPUTS / "09_png_raw_profiles")
    assert b"xpacket" in read_photo(found["raw_xmp_enhanced.png"]).xmp


def test_a_stale_interoperability_mark(call):
    (path,) = call(INPUTS / "10_interop").values()
    with Image.open(INPUTS / "10_interop" / "iop_1_R03.jpg") as picture:
        np.testing.assert_array_equal(read_picture(path), np.asarray(picture.convert("RGB")))


def test_a_raw_file(call, monkeypatch):
    pytest.importorskip("rawpy")
    (path,) = call(INPUTS / "11_raw_file" / "raw.dng").values()
    assert read_picture(path).shape == (150, 200, 3)
    monkeypatch.setitem(sys.modules, "rawpy", None)
    with pytest.raises(UserError, match=r"a camera's raw file needs .*wespe_tf\[raw\]"):
        call(INPUTS / "11_raw_file" / "raw.dng", "output=other")


def test_claims_of_what_is_gone(call):
    (path,) = call(INPUTS / "13_gain_map_claim", "format=same").values()
    xmp = read_photo(path).xmp
    assert b"hdrgm:Version" not in xmp and b"MotionPhoto" not in xmp
    assert b"HasExtendedXMP" not in xmp and b"GainMap" not in xmp


def test_no_blocks(call, make_photo):
    Image.fromarray(make_photo(60, 70)).save("photo.png")
    model = f"model={INPUTS / '15_no_blocks' / 'no_blocks.keras'}"
    whole = read_picture(call("photo.png", model, "strength=1", "mode=whole")["photo_enhanced.png"])
    parts = call("photo.png", model, "strength=1", "mode=streamed", "output=parts", "format=png")
    streamed = read_picture(Path("parts") / next(iter(parts)))
    assert np.abs(whole.astype(int) - streamed).max() <= 1


def test_hidden_folders(call):
    folder = Path("DCIM")
    shutil.copytree(INPUTS / "16_hidden_folder" / "DCIM", folder)
    (folder / ".thumbnails").mkdir(exist_ok=True)
    shutil.copy(folder / "Camera" / "a.jpg", folder / ".thumbnails" / "1.jpg")
    assert list(call(folder)) == ["a_enhanced.png"]


def test_other_suffixes(call, caplog):
    assert sorted(call(INPUTS / "17_other_suffixes"))[:3] == [
        *("IMG_1_enhanced.png", "IMG_2_enhanced.png", "IMG_3_enhanced.png")
    ]
    assert "1 file left out" in caplog.text and ".heic" in caplog.text


def test_another_photo_of_one_name(call, capsys):
    first, second = (INPUTS / "18_same_name_other_photo" / f"day{k}" / "IMG_1.jpg" for k in (1, 2))
    (path,) = call(first).values()
    before = path.read_bytes()
    with pytest.raises(SystemExit):
        call(second)
    assert "of another photo" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_transparency_of_few_bits(call):
    for path in call(INPUTS / "19_grey_4_bit_transparency").values():
        alpha = read_photo(path).alpha
        assert alpha is not None and alpha.min() == 0


def test_pipes_are_left_out(call, make_photo):
    Path("d").mkdir()
    os.mkfifo("d/x.jpg")
    Image.fromarray(make_photo(40, 50)).save("d/y.jpg")
    assert list(call("d")) == ["y_enhanced.png"]


def test_names_that_are_no_text(call, make_photo):
    Path("d").mkdir()
    Image.fromarray(make_photo(40, 50)).save("d/y.jpg")
    os.rename(b"d/y.jpg", b"d/latin\xe9.jpg")
    call("d", "report=true")
    assert Path("out/report.html").is_file()
