"""The command `test_model.py`: whole photos in, enhanced photos out."""

import errno
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np
import pytest
import skimage.metrics
from PIL import Image, ImageCms

from tests.enhance.photos import expected_result, read
from tests.shared import ROOT
from wespe_tf.enhance.blend import blend
from wespe_tf.enhance.origins import INDEX
from wespe_tf.enhance.runtimes import choose_runtime
from wespe_tf.enhance.tiles import enhance
from wespe_tf.errors import UserError
from wespe_tf.images.photo import Photo, read_photo, write_photo
from wespe_tf.weights.generator import SHIPPED_MODEL, load_generator


class TestResults:
    @pytest.mark.parametrize("model", ["mine", "models/mine", "models/mine/generator.keras"])
    def test_one_photo(self, command, generator, photo, model):
        name, picture = photo
        lines = command(f"model={model}", f"input={name}", "output=deep/out")
        assert {p.name for p in Path("deep/out").iterdir()} == {
            "holiday_enhanced.png",
            "holiday_before_after.png",
            INDEX,
        }
        enhanced = read("deep/out/holiday_enhanced.png")
        np.testing.assert_array_equal(enhanced, expected_result(generator, picture))
        both = read("deep/out/holiday_before_after.png")
        np.testing.assert_array_equal(both, np.concatenate([picture, enhanced], axis=1))
        assert lines[0].startswith("holiday.png: 83×61")
        assert lines[-1] == "results are in deep/out"

    def test_folder_keeps_sub_folders(self, command, generator, photos):
        command("model=mine", "input=photos", "output=out")
        written = {p.relative_to("out").as_posix() for p in Path("out").rglob("*.png")}
        assert written == {
            f"{name}_{kind}.png" for name in photos for kind in ("enhanced", "before_after")
        }
        for name, picture in photos.items():
            expected = expected_result(generator, picture)
            np.testing.assert_array_equal(read(f"out/{name}_enhanced.png"), expected)

    def test_results_of_two_photos_of_one_name_are_named_apart(self, command, photos, run):
        """1.png and 1.jpg would both become 1_enhanced.png."""
        Image.fromarray(photos["1"]).save("photos/1.jpg")
        command("model=mine", "input=photos", "output=out")
        found = {p.relative_to("out").as_posix() for p in Path("out").rglob("*_enhanced.png")}
        assert found == {"1.png_enhanced.png", "1.jpg_enhanced.png", "day2/1_enhanced.png"}

    def test_exif_orientation_is_honored(self, command, photo):
        _, picture = photo
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(picture).save("turned.png", exif=exif)
        command("model=mine", "input=turned.png", "output=out")
        both = read("out/turned_before_after.png")
        np.testing.assert_array_equal(both[:, :61], np.rot90(picture, -1))

    @pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK", "P", "I;16"])
    def test_other_kinds_of_pictures_are_converted(self, command, photo, mode):
        _, picture = photo
        if mode == "I;16":
            Image.fromarray(picture[..., 0].astype(np.uint16) * 257).save("other.tif")
        else:
            Image.fromarray(picture).convert(mode).save("other.tif")
        command("model=mine", "input=other.tif", "output=out")
        channels = {"L": (), "I;16": (), "RGBA": (4,)}.get(mode, (3,))
        assert read("out/other_enhanced.png").shape == (61, 83, *channels)


@pytest.mark.usefixtures("loaded")
class TestFiles:
    def test_16_bits_transparency_and_metadata_come_through(self, command, generator, photo):
        _, picture = photo
        wide = picture.astype(np.uint16) * 256 + 77
        alpha = wide[..., 0]
        write_photo("deep.png", Photo(wide, alpha, icc=b""))
        command("model=mine", "input=deep.png", "output=out")
        enhanced = read_photo("out/deep_enhanced.png")
        np.testing.assert_array_equal(enhanced.alpha, alpha)
        expected = expected_result(generator, picture)
        assert enhanced.pixels.dtype == np.uint16
        assert np.abs(enhanced.pixels / 257 - expected).max() < 3
        assert len(np.unique(enhanced.pixels % 256)) > 100

    def test_format_same_keeps_the_inputs(self, command, photo):
        _, picture = photo
        Image.fromarray(picture).save("a.webp")
        Image.fromarray(picture).save("b.jpg")
        for name in ("a.webp", "b.jpg"):
            command("model=mine", f"input={name}", "output=out", "format=same", "quality=30")
            with Image.open(Path("out") / name.replace(".", "_enhanced.")) as result:
                assert result.format == {"a.webp": "WEBP", "b.jpg": "JPEG"}[name]
        coarse = Path("out/b_enhanced.jpg").stat().st_size
        command("model=mine", "input=b.jpg", "output=out", "format=same", "overwrite=true")
        assert Path("out/b_enhanced.jpg").stat().st_size > 1.5 * coarse

    @pytest.mark.parametrize("strength", [0.0, 0.4])
    def test_strength_blends_with_the_input(self, command, generator, photo, strength):
        name, picture = photo
        command("model=mine", f"input={name}", "output=out", f"strength={strength}")
        blend = strength * expected_result(generator, picture) + (1 - strength) * picture
        assert np.abs(read("out/holiday_enhanced.png") - blend).max() <= 1

    def test_strength_in_16_bits(self, command, generator, photo):
        wide = photo[1].astype(np.uint16) * 256 + 77
        write_photo("deep.png", Photo(wide))
        command("model=mine", "input=deep.png", "output=all")
        command("model=mine", "input=deep.png", "output=half", "strength=0.5")
        full, half = (read_photo(f"{out}/deep_enhanced.png").pixels for out in ("all", "half"))
        assert half.dtype == np.uint16
        assert np.abs(half - (full / 2 + wide / 2)).max() <= 1

    def test_metadata_come_through(self, command, photo):
        """Into PNG, read by other means than they are written."""
        block = Image.Exif()
        block.update({0x010F: "Maker", 0x0112: 6})
        icc, xmp = (
            ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
            b"<x:xmpmeta/>",
        )
        Image.fromarray(photo[1]).save("a.jpg", exif=block, icc_profile=icc, xmp=xmp)
        command("model=mine", "input=a.jpg", "output=out")
        with Image.open("out/a_enhanced.png") as result:
            assert result.size == (61, 83) and result.info["icc_profile"] == icc
            assert result.info["xmp"] == xmp.decode() or result.info["xmp"] == xmp
            assert (result.getexif()[0x010F], result.getexif()[0x0112]) == ("Maker", 1)


@pytest.mark.usefixtures("loaded")
class TestChoices:
    def test_are_printed(self, command, photo):
        line = command("model=mine", "input=holiday.png", "output=out")[0]
        assert re.fullmatch(r"holiday.png: 83×61   whole   keras, float32   \d+\.\d s", line)

    def test_parts(self, command, generator, run, make_photo):
        picture = make_photo(150, 190)
        Image.fromarray(picture).save("photo.png")
        line = command("model=mine", "input=photo.png", "output=out", "mode=streamed")[0]
        assert re.search(r"   streamed, strips of \d+ rows   keras", line)
        off = read("out/photo_enhanced.png") - expected_result(generator, picture).astype(int)
        assert np.abs(off).max() <= 1

    @pytest.mark.parametrize("mode", ["fast", "exact"])
    def test_modes_of_earlier_versions(self, refused, photo, mode):
        line = refused("model=mine", "input=holiday.png", f"mode={mode}")
        assert line.startswith(f"mode={mode}: expected one of auto, whole, streamed")

    def test_too_little_memory(self, refused, photo):
        """For the photo itself, and for strips of it."""
        line = refused("model=mine", "input=holiday.png", "mode=streamed", "memory_limit=0.5")
        assert line == "holiday.png: memory_limit=0.5 is too little, expected at least 0.81"
        line = refused("model=mine", "input=holiday.png", "mode=streamed", "memory_limit=0.8005")
        assert line.startswith("holiday.png: memory_limit=0.8005: too little for 83×61 pixels, exp")

    @pytest.mark.parametrize("limit", ["half", "0.05", "nan", "-3"])
    def test_limits_that_are_none(self, refused, photo, limit):
        line = refused("model=mine", "input=holiday.png", f"memory_limit={limit}")
        assert line == f"memory_limit={limit}: expected auto, or GB of at least 0.1"

    @pytest.mark.parametrize("tone, detail", [(0, 0), (1, 1), (0.5, 1.5)])
    def test_tone_and_detail(self, command, generator, photo, tone, detail):
        name, picture = photo
        numbers = (f"tone={tone}", f"detail={detail}")
        command("model=mine", f"input={name}", "output=out", *numbers)
        expected = expected_result(generator, picture)
        blend(picture, expected, 1.0, tone, detail)
        np.testing.assert_array_equal(read("out/holiday_enhanced.png"), expected)

    def test_tflite_runs_its_own_files(self, refused, photo):
        line = refused("model=mine", "input=holiday.png", "runtime=tflite")
        assert line == "runtime=tflite: expected a .tflite file, such as export_tflite.py writes"

    @pytest.mark.parametrize("key", ["tone", "detail"])
    def test_at_most_twice_the_tone_or_detail(self, refused, photo, key):
        line = refused("input=holiday.png", f"{key}=2.5")
        assert line == f"{key}=2.5: expected at least 0 and at most 2"

    @pytest.mark.parametrize("strength", [-0.1, 1.1, 2, "nan"])
    def test_strength_is_a_share(self, refused, photo, strength):
        line = refused("input=holiday.png", f"strength={strength}")
        number = float(strength)
        assert line == f"strength={number}: expected at least 0 and at most 1"

    def test_keras_has_no_bfloat16(self, refused, photo):
        line = refused("model=mine", "input=holiday.png", "precision=bfloat16")
        assert line.startswith("runtime=keras: computes in float32")

    @pytest.mark.slow
    def test_openvino_by_default(self, command, generator, photo):
        arguments = ["runtime=auto", "mode=auto", "precision=float32"]
        line = command("model=mine", "input=holiday.png", "output=out", *arguments)[0]
        assert "   openvino, float32   " in line or "   keras, float32   " in line
        expected = expected_result(generator, photo[1])
        assert np.abs(read("out/holiday_enhanced.png") - expected.astype(int)).max() <= 1

    @pytest.mark.slow
    def test_bfloat16(self, command, run, make_photo):
        """From file to file, where the processor has it."""
        try:
            choose_runtime("openvino", "bfloat16")
        except UserError:
            pytest.skip("this processor has no bfloat16")
        picture = make_photo(150, 190)
        Image.fromarray(picture).save("photo.png")
        command("model=mine", "input=photo.png", "output=plain")
        arguments = ["runtime=openvino", "precision=bfloat16"]
        line = command("model=mine", "input=photo.png", "output=out", *arguments)[0]
        assert "   whole   openvino, bfloat16   " in line
        plain, found = (read(f"{folder}/photo_enhanced.png") for folder in ("plain", "out"))
        assert skimage.metrics.peak_signal_noise_ratio(plain, found) > 50


class TestShippedModel:
    def test_is_used_where_none_is_named(self, command, photo):
        """Photo in, lively photo out: of the input's structure, brighter, not uniform."""
        name, picture = photo
        command(f"input={name}", "output=out")
        enhanced = read("out/holiday_enhanced.png")
        generator = load_generator(SHIPPED_MODEL)
        np.testing.assert_array_equal(enhanced, enhance(generator, picture))
        assert np.corrcoef(enhanced.ravel(), picture.ravel())[0, 1] > 0.8


class TestBadModel:
    def test_no_model_named_and_none_shipped(self, refused, photo, monkeypatch, tmp_path):
        monkeypatch.setattr("wespe_tf.weights.generator.SHIPPED_MODEL", tmp_path / "gone.keras")
        line = refused("input=holiday.png")
        assert line == f"model=: missing, and {tmp_path / 'gone.keras'} is missing, too"

    def test_foreign_model(self, refused, photo):
        keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save("foreign.keras")
        line = refused("model=foreign.keras", "input=holiday.png", "output=out")
        assert re.fullmatch(r"model=foreign.keras: holds \S+, expected a wespe_tf Generator", line)
        assert not Path("out").exists()


@pytest.mark.usefixtures("loaded")
class TestBadInput:
    def test_missing_input(self, refused, run):
        assert "input" in refused("model=mine")

    def test_unknown_key(self, refused, run):
        line = refused("model=mine", "imput=x")
        assert line == "unknown setting 'imput'; did you mean 'input'?"

    def test_missing_photo(self, refused, run):
        line = refused("model=mine", "input=gone.jpg", "output=out")
        assert line == "input=gone.jpg: no such file or folder"
        assert not Path("out").exists()

    def test_folder_without_pictures(self, refused, run):
        Path("empty").mkdir()
        assert refused("model=mine", "input=empty").startswith("input: no pictures (")

    @pytest.mark.parametrize("kind", ["file", "folder"])
    def test_truncated_jpeg_is_named(self, refused, run, make_truncated, kind):
        Path("photos").mkdir()
        make_truncated(Path("photos/half.jpg"))
        source = "photos/half.jpg" if kind == "file" else "photos"
        line = refused("model=mine", f"input={source}", "output=out")
        assert line.startswith("photos/half.jpg: not a readable picture (")
        assert not list(Path("out").rglob("*.png"))

    def test_text_file_as_a_photo(self, refused, run):
        Path("text.jpg").write_text("hello")
        assert refused("model=mine", "input=text.jpg").startswith("text.jpg: not a readable")

    @pytest.mark.parametrize("output", ["taken", "taken/deeper"])
    def test_output_that_cannot_be_made(self, refused, photo, output):
        Path("taken").write_text("a file")
        line = refused("model=mine", "input=holiday.png", f"output={output}")
        assert line.startswith(f"output={output}: cannot be made (")
        assert Path("taken").read_text() == "a file"

    def test_result_that_cannot_be_written(self, refused, photo):
        (Path("out") / "holiday_enhanced.png").mkdir(parents=True)
        line = refused("model=mine", "input=holiday.png", "output=out")
        assert line.startswith("out/holiday_enhanced.png: cannot be written (")
        assert {path.name for path in Path("out").iterdir()} == {
            "holiday_enhanced.png",
            "holiday_before_after.png",
        }

    def test_a_full_disk_leaves_nothing_behind(self, refused, photo, monkeypatch):
        real = tempfile.NamedTemporaryFile

        def full(**options):
            def writelines(content):
                file.write(content[0][:20])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            file = real(**options)
            file.writelines = writelines
            return file

        monkeypatch.setattr("wespe_tf.files.tempfile.NamedTemporaryFile", full)
        line = refused("model=mine", "input=holiday.png", "output=out")
        assert line == "out/holiday_before_after.png: cannot be written (No space left on device)"
        assert list(Path("out").iterdir()) == []

    def test_output_without_rights(self, refused, photo, without_rights):
        Path("out").mkdir(mode=0o500)
        with without_rights():
            line = refused("model=mine", "input=holiday.png", "output=out")
        assert line == "out/holiday_before_after.png: cannot be written (Permission denied)"
        with without_rights():
            line = refused("model=mine", "input=holiday.png", "output=out/deeper")
        assert line == "output=out/deeper: cannot be made (Permission denied)"

    @pytest.mark.parametrize("locked", ["photos", "photos/day2"])
    def test_input_without_rights(self, refused, photos, without_rights, locked):
        """Nothing is left out silently."""
        Path(locked).chmod(0)
        Path("out").mkdir(mode=0o777)
        with without_rights():
            line = refused("model=mine", "input=photos", "output=out")
        Path(locked).chmod(0o755)
        assert line == f"input: {locked} cannot be read (Permission denied)"

    def test_a_photo_without_rights(self, refused, photo, without_rights):
        Path("holiday.png").chmod(0)
        with without_rights():
            line = refused("model=mine", "input=holiday.png", "output=.")
        assert line.startswith("holiday.png: not a readable picture (") and "Permission" in line

    def test_no_bytes(self, refused, run):
        Path("empty.jpg").touch()
        assert refused("model=mine", "input=empty.jpg").startswith("empty.jpg: not a readable")

    def test_target_of_another_size(self, refused, photo, make_photo):
        Image.fromarray(make_photo(83, 61)).save("target.png")
        line = refused("model=mine", "input=holiday.png", "output=out", "target=target.png")
        assert line == "target.png: 61×83 pixels, but holiday.png has 83×61"

    def test_target_that_is_missing(self, refused, photo, photos):
        line = refused("model=mine", "input=holiday.png", "target=gone.png")
        assert line == "target=gone.png: expected a photo, because input is a photo"
        assert refused("model=mine", "input=photos", "target=gone") == "target: no folder gone"

    def test_target_names_that_do_not_match(self, refused, photos):
        Path("targets").mkdir()
        Image.fromarray(photos["1"]).save("targets/one.png")
        line = refused("model=mine", "input=photos", "target=targets")
        assert line.startswith("target: targets has no partner for photos/1.png")


@pytest.mark.parametrize("flag", ["--help", "-h", "help"])
def test_help(flag, command):
    printed = "\n".join(command(flag))
    assert printed.startswith("usage: python test_model.py")
    assert all(f"  {key}=" in printed for key in ("model", "input", "output", "target"))


@pytest.mark.slow
def test_as_a_process(photo):
    """`python test_model.py`, as a user starts it."""
    result = subprocess.run(
        [sys.executable, str(ROOT / "test_model.py"), "model=mine", "input=holiday.png"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    assert read("visual_results/holiday_enhanced.png").shape == (61, 83, 3)
