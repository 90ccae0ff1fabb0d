"""The command `test_model.py`: whole photos in, enhanced photos out."""

import contextlib
import errno
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import weakref
import zipfile
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import skimage.metrics
import tensorflow as tf
from PIL import Image, ImageCms

from wespe_tf import Discriminator, Generator
from wespe_tf.config.loading import load
from wespe_tf.config.schema import TrainConfig
from wespe_tf.enhance import batch
from wespe_tf.enhance import cli as module
from wespe_tf.enhance.runtimes import choose_runtime
from wespe_tf.enhance.tiles import Enhancer, Plan, enhance
from wespe_tf.errors import UserError
from wespe_tf.images.photo import Photo, read_photo, write_photo
from wespe_tf.images.picture import limit_megapixels
from wespe_tf.weights.generator import SHIPPED_MODEL, load_generator

ROOT = Path(__file__).parents[2]


# Half the view of the generator below: 9×9, twice 3×3 in a block, twice 3×3, 9×9.
REACH = 4 + 2 + 2 + 4
# The numbers of one pass in Keras.
PLAIN = ("runtime=keras", "mode=whole")


def array(tensor):
    return keras.ops.convert_to_numpy(tensor)


def read(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


@pytest.fixture(scope="module")
def generator():
    """A tiny generator that changes tone and texture."""
    keras.utils.set_random_seed(1)
    model = Generator(width=8, blocks=1, init="identity")
    model.build((None, None, None, 3))
    kernel = model.to_rgb.kernel
    kernel.assign(kernel + np.random.default_rng(0).normal(0, 2e-3, kernel.shape))
    return model


@pytest.fixture
def run(tmp_path, generator, monkeypatch):
    """A run folder `models/mine` in the working folder, and photos of odd size."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "mine").mkdir(parents=True)
    generator.save(tmp_path / "models" / "mine" / "generator.keras")
    return tmp_path


@pytest.fixture
def photo(run, make_photo):
    """A photo of odd height and width: its file and its pixels."""
    picture = make_photo(61, 83)
    Image.fromarray(picture).save(run / "holiday.png")
    return "holiday.png", picture


@pytest.fixture
def photos(run, make_photo):
    """A folder of two photos of different size, one of them in a sub-folder."""
    (run / "photos" / "day2").mkdir(parents=True)
    pictures = {"1": make_photo(40, 53, 1), "day2/1": make_photo(55, 38, 2)}
    for name, picture in pictures.items():
        Image.fromarray(picture).save(run / "photos" / f"{name}.png")
    return pictures


@pytest.fixture
def command(monkeypatch, capsys):
    """Function that runs `test_model.py` with arguments and returns its printed lines."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["test_model.py", *PLAIN, *arguments])
        module.command()
        return capsys.readouterr().out.splitlines()

    return call


@pytest.fixture
def without_rights(tmp_path, generator, monkeypatch):
    """Function that gives up root's rights for a while, where it is root who runs the tests.

    The model is there already: the process that reads one might not be startable without them.
    """
    enhancer = Enhancer(generator, choose_runtime("keras"))
    monkeypatch.setattr(module, "make_enhancer", lambda config: enhancer)

    @contextlib.contextmanager
    def give_up():
        user = os.geteuid()
        for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
            if user == 0:
                folder.chmod(0o755)
        try:
            os.seteuid(65534 if user == 0 else user)
            yield
        finally:
            os.seteuid(user)

    return give_up


@pytest.fixture
def refused(monkeypatch, capsys):
    """Function that runs the command, which fails, and returns its one line of error."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["test_model.py", *PLAIN, *arguments])
        with pytest.raises(SystemExit) as ended:
            module.command()
        assert ended.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        return line.removeprefix("error: ")

    return call


def expected_result(generator, picture):
    """The photo continued by its mirror image, through the generator, cut, as 8 bits."""
    tall = np.concatenate([picture[REACH - 1 :: -1], picture, picture[: -REACH - 1 : -1]])
    framed = np.concatenate([tall[:, REACH - 1 :: -1], tall, tall[:, : -REACH - 1 : -1]], axis=1)
    output = array(generator(framed[None].astype(np.float32) / 255))[0]
    inner = output[REACH : REACH + picture.shape[0], REACH : REACH + picture.shape[1]]
    return np.rint(255 * np.clip(inner, 0, 1)).astype(np.uint8)


class TestEnhance:
    def test_mirrors_the_edge(self, generator, make_photo):
        picture = make_photo(61, 83)
        enhanced = enhance(generator, picture)
        assert enhanced.dtype == np.uint8 and enhanced.shape == picture.shape
        np.testing.assert_array_equal(enhanced, expected_result(generator, picture))
        assert (enhanced != picture).mean() > 0.5

    def test_an_enhancer_does_the_same(self, generator, make_photo):
        picture = make_photo(30, 41)
        enhancer = Enhancer(generator, choose_runtime("keras"))
        np.testing.assert_array_equal(enhance(enhancer, picture), enhance(generator, picture))

    def test_large_photos_are_done_in_tiles(self, generator, make_photo, monkeypatch):
        """As the plan says, which keeps within 1.5 GB."""
        picture = make_photo(100, 130)
        plans = [Plan("exact", 40)]
        monkeypatch.setattr(Enhancer, "plan", lambda self, photo: plans.pop())
        whole = Enhancer(generator, choose_runtime("keras"))(picture)
        assert np.abs(enhance(generator, picture).astype(int) - whole).max() <= 1
        assert plans == []

    @pytest.mark.parametrize("size", [(1, 1), (5, 30), (17, 17)])
    def test_photos_smaller_than_the_margin(self, generator, make_photo, size):
        assert enhance(generator, make_photo(*size)).shape == (*size, 3)


class TestResults:
    @pytest.mark.parametrize("model", ["mine", "models/mine", "models/mine/generator.keras"])
    def test_one_photo(self, command, generator, photo, model):
        name, picture = photo
        lines = command(f"model={model}", f"input={name}", "output=deep/out")
        assert {p.name for p in Path("deep/out").iterdir()} == {
            "holiday_enhanced.png",
            "holiday_before_after.png",
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

    def test_two_photos_of_one_name_are_refused(self, refused, photos, run):
        """1.png and 1.jpg would both become 1_enhanced.png."""
        Image.fromarray(photos["1"]).save("photos/1.jpg")
        assert "1.jpg and photos/1.png" in refused("model=mine", "input=photos", "output=out")
        assert not Path("out").exists()

    def test_exif_orientation_is_honoured(self, command, photo):
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
        channels = 4 if mode == "RGBA" else 3
        assert read("out/other_enhanced.png").shape == (61, 83, channels)


@pytest.fixture
def loaded(generator, monkeypatch):
    """The model `mine` is there already: reading it takes a process each time."""
    monkeypatch.setattr(module, "load_generator", lambda path: generator)


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

    def test_results_that_are_there_are_kept(self, command, photo):
        command("model=mine", "input=holiday.png", "output=out")
        Path("out/holiday_enhanced.png").write_bytes(b"mine")
        lines = command("model=mine", "input=holiday.png", "output=out")
        assert lines[0] == "1 of 1 are in out already; overwrite=true"
        assert Path("out/holiday_enhanced.png").read_bytes() == b"mine"
        command("model=mine", "input=holiday.png", "output=out", "overwrite=true")
        assert read("out/holiday_enhanced.png").shape == (61, 83, 3)

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

    def test_a_format_that_cannot_be_kept(self, refused, photo):
        """Is told before anything is computed."""
        Image.fromarray(photo[1]).save("a.bmp")
        line = refused("model=mine", "input=a.bmp", "output=out", "format=same")
        assert line.startswith("format=same: a.bmp: expected one of the formats .jpg")
        assert not Path("out").exists()

    def test_of_several_those_that_are_there_are_kept(self, command, photos):
        command("model=mine", "input=photos", "output=out")
        made = {path: path.stat().st_mtime_ns for path in Path("out").rglob("*.png")}
        Path("out/day2/1_enhanced.png").unlink()
        lines = command("model=mine", "input=photos", "output=out")
        assert lines[0] == "1 of 2 are in out already; overwrite=true"
        assert Path("out/day2/1_enhanced.png").is_file()
        # Not asked for, no file is replaced.
        again = Path("out/day2/1_enhanced.png")
        assert all(p.stat().st_mtime_ns == time for p, time in made.items() if p != again)
        command("model=mine", "input=photos", "output=out", "overwrite=true")
        assert all(path.stat().st_mtime_ns > time for path, time in made.items())

    @pytest.mark.parametrize("failing", ["before_after", "enhanced"])
    def test_what_failed_is_made_by_the_next_run(self, command, photo, monkeypatch, failing):
        def full(path, *rest):
            if str(path).endswith(f"{failing}.png"):
                raise UserError(f"{path}: cannot be written")
            write_photo(path, *rest)

        with monkeypatch.context() as patch, pytest.raises(SystemExit):
            patch.setattr(batch, "write_photo", full)
            command("model=mine", "input=holiday.png", "output=out")
        command("model=mine", "input=holiday.png", "output=out")
        assert read("out/holiday_enhanced.png").shape == (61, 83, 3)
        assert read("out/holiday_before_after.png").shape == (61, 166, 3)

    @pytest.mark.parametrize(
        "source, output, count", [(".", "visual_results", 4), ("photos/**/*.png", "photos", 6)]
    )
    def test_results_are_no_input(self, command, photos, source, output, count):
        """Where the output lies within the input, or is the same folder."""
        for _ in range(2):
            command("model=mine", f"input={source}", f"output={output}", "overwrite=true")
            assert len(list(Path(output).rglob("*.png"))) == count

    def test_results_of_elsewhere_may_be_input(self, command, photos):
        command("model=mine", "input=photos", "output=out")
        command("model=mine", "input=out", "output=twice")
        assert Path("twice/1_enhanced_enhanced.png").is_file()

    def test_a_folder_that_leads_to_itself(self, command, photos):
        Path("photos/loop").symlink_to(".")
        Path("photos/day2/back").symlink_to("..")
        command("model=mine", "input=photos", "output=out")
        assert len(list(Path("out").rglob("*_enhanced.png"))) == 2

    def test_progress_of_several_is_shown(self, photos, run, capsys):
        module.main([*PLAIN, "model=mine", "input=photos", "output=out"])
        assert "2/2" in capsys.readouterr().err
        module.main([*PLAIN, "model=mine", "input=photos/1.png", "output=one"])
        assert "photo" not in capsys.readouterr().err

    def test_the_next_photo_is_read_meanwhile(self, photos, run, monkeypatch):
        """While one is enhanced; two of 12 megapixels fit the default limit."""
        begun = {name: threading.Event() for name in ("photos/1.png", "photos/day2/1.png")}

        def read(path):
            begun[path].set()
            return read_photo(path)

        def enhanced(enhancer, *arguments):
            assert begun["photos/day2/1.png"].wait(20)
            return real(enhancer, *arguments)

        real = Enhancer.__call__
        monkeypatch.setattr(batch, "read_photo", read)
        monkeypatch.setattr(Enhancer, "__call__", enhanced)
        monkeypatch.setattr(batch, "pixel_bytes", lambda path: 3 * 4032 * 3024)
        module.main([*PLAIN, "mode=exact", "model=mine", "input=photos", "output=out"])

    @pytest.mark.parametrize("error", [RuntimeError, tf.errors.ResourceExhaustedError])
    def test_what_a_runtime_raises_ends_one_photo(self, photos, monkeypatch, capsys, error):
        def enhanced(enhancer, photo, *arguments):
            if photo.shape[:2] == (40, 53):
                raise RuntimeError("no\nroom") if error is RuntimeError else error(None, None, "no")
            return real(enhancer, photo, *arguments)

        real = Enhancer.__call__
        monkeypatch.setattr(Enhancer, "__call__", enhanced)
        with pytest.raises(SystemExit) as ended:
            module.main([*PLAIN, "model=mine", "input=photos", "output=out"])
        errors = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
        assert ended.value.code == 1
        assert errors == ["error: photos/1.png: cannot be enhanced (no)"]
        assert Path("out/day2/1_enhanced.png").is_file()

    def test_a_report_shows_what_was_there_too(self, command, photos):
        Path("out").mkdir()
        command("model=mine", "input=photos/1.png", "output=out", "report=true")
        (line,) = [x for x in Path("out/report.html").read_text().splitlines() if "53×40" in x]
        assert "keras" in line
        command("model=mine", "input=photos", "output=out", "report=true")
        page = Path("out/report.html").read_text()
        assert "2 photos" in page and "53×40   from an earlier run" in page
        command("model=mine", "input=photos", "output=out", "report=true")
        assert Path("out/report.html").read_text().count("from an earlier run") == 2

    def test_no_report_of_nothing(self, photos, run):
        Path("out").mkdir()
        Path("out/report.html").write_text("mine")
        for path in ("photos/1.png", "photos/day2/1.png"):
            Path(path).write_text("no photo")
        with pytest.raises(SystemExit):
            module.main([*PLAIN, "model=mine", "input=photos", "output=out", "report=true"])
        assert Path("out/report.html").read_text() == "mine"

    def test_report(self, command, photos):
        lines = command("model=mine", "input=photos", "output=out", "report=true")
        assert "out/report.html shows them" in lines
        page = Path("out/report.html").read_text()
        assert all(f"photos/{name}.png" in page for name in photos) and "53×40   whole" in page

    def test_patterns(self, command, refused, photos, run):
        command("model=mine", "input=photos/**/*.png", "output=out")
        found = {p.relative_to("out").as_posix() for p in Path("out").rglob("*_enhanced.png")}
        assert found == {"1_enhanced.png", "day2/1_enhanced.png"}
        assert refused("model=mine", "input=photos/*.gif") == "input=photos/*.gif: no picture fits"

    def test_one_bad_photo_does_not_end_the_work(self, photos, monkeypatch, capsys):
        Path("photos/bad.jpg").write_text("no photo")
        monkeypatch.setattr(
            sys, "argv", ["test_model.py", *PLAIN, "model=mine", "input=photos", "output=o"]
        )
        with pytest.raises(SystemExit) as ended:
            module.command()
        assert ended.value.code == 1
        errors = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
        assert len(errors) == 1 and errors[0].startswith("error: photos/bad.jpg: not a readable")
        assert {p.name for p in Path("o").rglob("*_enhanced.png")} == {"1_enhanced.png"}
        assert len(list(Path("o").rglob("*_enhanced.png"))) == 2

    def test_of_forty_photos_one_is_broken(self, run, make_photo, monkeypatch, capsys):
        """The others are done, and what is held of them is given back."""
        Path("photos").mkdir()
        for number in range(40):
            Image.fromarray(make_photo(24, 32, number)).save(f"photos/{number}.png")
        Path("photos/17.png").write_bytes(Path("photos/17.png").read_bytes()[:700])
        batches, real = [], module.Batch
        monkeypatch.setattr(
            module, "Batch", lambda *given: batches.append(real(*given)) or batches[0]
        )
        arguments = [*PLAIN, "model=mine", "input=photos", "output=o"]
        monkeypatch.setattr(sys, "argv", ["test_model.py", *arguments])
        with pytest.raises(SystemExit) as ended:
            module.command()
        assert ended.value.code == 1
        errors = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
        assert len(errors) == 1 and errors[0].startswith("error: photos/17.png: not a readable")
        assert len(list(Path("o").glob("*_enhanced.png"))) == 39
        assert len(batches[0].records) == 39 and batches[0].budget.held == 0

    def test_photos_are_not_kept(self, run, make_photo, monkeypatch):
        """When one is read, of those before it at most two are there: enhanced, and written."""
        Path("photos").mkdir()
        for number in range(9):
            Image.fromarray(make_photo(24, 32, number)).save(f"photos/{number}.png")
        there, seen = [], []

        def read(path):
            seen.append(sum(pixels() is not None for pixels in there))
            return read_photo(path)

        def empty(*arguments):
            there.append(weakref.ref(pixels := np.empty(*arguments)))
            return pixels

        monkeypatch.setattr(batch, "read_photo", read)
        monkeypatch.setattr(batch, "np", SimpleNamespace(empty=empty))
        module.main([*PLAIN, "model=mine", "input=photos", "output=o"])
        assert len(seen) == len(there) == 9 and max(seen) <= 2

    def test_more_than_the_allowed_megapixels(self, refused, photo):
        line = refused("model=mine", "input=holiday.png", "max_megapixels=0.002", "output=out")
        limit_megapixels(400)
        assert line == "holiday.png: larger than max_megapixels=0.002"
        assert not list(Path("out").iterdir())


class TestChoices:
    def test_are_printed(self, command, photo):
        line = command("model=mine", "input=holiday.png", "output=out")[0]
        assert re.fullmatch(r"holiday.png: 83×61   whole   keras, float32   \d+\.\d s", line)

    @pytest.mark.parametrize("mode", ["fast", "exact"])
    def test_tiles(self, command, generator, run, make_photo, mode):
        picture = make_photo(150, 190)
        Image.fromarray(picture).save("photo.png")
        line = command("model=mine", "input=photo.png", "output=out", f"mode={mode}")[0]
        assert f"   {mode}, tiles of " in line
        off = read("out/photo_enhanced.png") - expected_result(generator, picture).astype(int)
        assert np.abs(off).max() <= (1 if mode == "exact" else 12)

    def test_too_little_memory(self, refused, photo):
        """For the photo itself, and for tiles of it."""
        line = refused("model=mine", "input=holiday.png", "mode=fast", "memory_limit=0.5")
        assert line == "holiday.png: memory_limit=0.5 is too little, expected at least 0.81"
        line = refused("model=mine", "input=holiday.png", "mode=fast", "memory_limit=0.81")
        assert line.startswith(
            "memory_limit=0.81: too little for 83×61 pixels, expected at least 0."
        )

    def test_photos_that_do_not_fit_are_not_read(self, photos, command, monkeypatch, capsys):
        """One of 60 megapixels takes 4·180 MB beside what the process takes anyway."""
        sizes = {"photos/1.png": 180_000_000, "photos/day2/1.png": 1000}
        monkeypatch.setattr(batch, "pixel_bytes", sizes.get)
        with pytest.raises(SystemExit):
            command("model=mine", "input=photos", "output=out", "mode=auto")
        errors = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
        assert errors == [
            "error: photos/1.png: memory_limit=1.5 is too little, expected at least 1.52"
        ]
        assert not Path("out/1_enhanced.png").exists() and Path("out/day2/1_enhanced.png").exists()
        command("model=mine", "input=photos", "output=out", "mode=auto", "memory_limit=1.52")
        assert Path("out/1_enhanced.png").exists()

    def test_a_hidden_gpu_is_none(self, monkeypatch):
        gpu = SimpleNamespace(device_type="GPU")
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [gpu])
        monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: [])
        assert choose_runtime("auto", "float32").name == "openvino"
        monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: [gpu])
        assert choose_runtime("auto", "float32").name == "keras"

    def test_tflite_runs_its_own_files(self, refused, photo):
        line = refused("model=mine", "input=holiday.png", "runtime=tflite")
        assert line == "runtime=tflite: expected a .tflite file, export_tflite.py writes them"

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


class TestScores:
    def scores(self, enhanced, target):
        return (
            skimage.metrics.peak_signal_noise_ratio(target, enhanced, data_range=255),
            skimage.metrics.structural_similarity(
                target,
                enhanced,
                channel_axis=-1,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
                data_range=255,
            ),
        )

    @staticmethod
    def printed(line):
        found = re.search(r"PSNR (-?[\d.]+) dB   SSIM (-?[\d.]+)", line)
        return float(found[1]), float(found[2])

    def test_of_one_photo(self, command, photo, make_photo):
        name, _ = photo
        target = make_photo(61, 83, seed=5)
        Image.fromarray(target).save("target.png")
        lines = command("model=mine", f"input={name}", "output=out", "target=target.png")
        expected = self.scores(read("out/holiday_enhanced.png"), target)
        assert self.printed(lines[0]) == pytest.approx(expected, abs=6e-3)
        assert lines[1].startswith("mean of 1:") and self.printed(lines[1]) == self.printed(
            lines[0]
        )

    def test_of_a_folder_with_their_mean(self, command, photos):
        for name, picture in photos.items():
            path = Path("targets") / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.clip(picture + 9.0, 0, 255).astype(np.uint8)).save(path)
        lines = command("model=mine", "input=photos", "output=out", "target=targets")
        expected = {
            name: self.scores(read(f"out/{name}_enhanced.png"), read(f"targets/{name}.png"))
            for name in photos
        }
        for name in photos:
            (line,) = [line for line in lines if line.startswith(f"photos/{name}.png: ")]
            assert self.printed(line) == pytest.approx(expected[name], abs=6e-3)
        (mean,) = [line for line in lines if line.startswith("mean of 2:")]
        assert self.printed(mean) == pytest.approx(
            np.mean(list(expected.values()), axis=0), abs=6e-3
        )

    def test_without_target_nothing_is_scored(self, command, photo):
        assert "PSNR" not in "\n".join(command("model=mine", "input=holiday.png", "output=out"))


class TestModels:
    def test_run_folder_file_and_name_give_the_same(self, run, generator, rng):
        pictures = rng.random((1, 20, 21, 3)).astype(np.float32)
        for model in ("mine", "models/mine", str(run / "models/mine/generator.keras")):
            loaded = load_generator(model)
            np.testing.assert_array_equal(array(loaded(pictures)), array(generator(pictures)))

    def test_missing(self, run):
        with pytest.raises(UserError, match="model=gone: no such run folder"):
            load_generator("gone")

    def test_other_keras_models_are_refused(self, run):
        keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save("foreign.keras")
        with pytest.raises(UserError, match="foreign.keras: holds .*expected a wespe_tf Generator"):
            load_generator("foreign.keras")

    def test_our_other_networks_are_refused(self, run):
        discriminator = Discriminator(width_multiplier=0.1)
        discriminator.build((None, 32, 32, 3))
        discriminator.save("judge.keras")
        with pytest.raises(UserError, match="judge.keras: holds 'wespe_tf>Discriminator', exp"):
            load_generator("judge.keras")

    def test_code_in_a_file_is_never_run(self, run):
        """A Lambda layer under a generator's name."""
        keras.Sequential([keras.Input((None, None, 3)), keras.layers.Lambda(lambda x: x)]).save(
            "lambda.keras"
        )
        with pytest.raises(UserError, match="lambda.keras"):
            load_generator("lambda.keras")

    @pytest.mark.parametrize("content", [b"", b"not a zip file" * 50, b"PK\x03\x04" + bytes(99)])
    def test_no_keras_file_at_all(self, run, content):
        Path("bad.keras").write_bytes(content)
        with pytest.raises(UserError, match="model=bad.keras: not a readable .keras file"):
            load_generator("bad.keras")

    @pytest.mark.parametrize("kept", [0.3, 0.9, 0.999])
    def test_truncated_file(self, run, kept):
        content = Path("models/mine/generator.keras").read_bytes()
        Path("bad.keras").write_bytes(content[: int(kept * len(content))])
        with pytest.raises(UserError, match="model=bad.keras: .*.keras file"):
            load_generator("bad.keras")

    def rewrite(self, changes):
        """`bad.keras`: the run's file with some of its members changed or (None) left out."""
        with (
            zipfile.ZipFile("models/mine/generator.keras") as good,
            zipfile.ZipFile("bad.keras", "w") as bad,
        ):
            for name in good.namelist():
                content = changes.get(name, lambda data: data)(good.read(name))
                if content is not None:
                    bad.writestr(name, content)

    @pytest.mark.filterwarnings("ignore:Skipping nested container")
    @pytest.mark.parametrize(
        "changes",
        [
            {"model.weights.h5": lambda data: None},
            {"model.weights.h5": lambda data: data[: len(data) // 2]},
            {"model.weights.h5": lambda data: b"rubbish"},
            {"config.json": lambda data: data.replace(b'"width": 8', b'"width": 9')},
            {"config.json": lambda data: data.replace(b'"blocks": 1', b'"blocks": 2')},
            {"config.json": lambda data: data.replace(b'"width": 8', b'"depth": 8')},
            {"config.json": lambda data: data.replace(b'"identity"', b'"unknown"')},
            {"config.json": lambda data: json.dumps({**json.loads(data), "config": 7})},
            {"config.json": lambda data: data.replace(b'"width": 8', b'"width": "wide"')},
        ],
        ids=[
            "no weights",
            "half the weights",
            "other weights",
            "wider than its weights",
            "deeper than its weights",
            "unknown argument",
            "unknown option",
            "no options",
            "option of another type",
        ],
    )
    def test_damaged_members(self, run, changes):
        self.rewrite(changes)
        with pytest.raises(UserError) as caught:
            load_generator("bad.keras")
        assert str(caught.value).startswith("model=bad.keras: not a readable .keras file (")
        assert "\n" not in str(caught.value)

    def test_damaged_config(self, run):
        self.rewrite({"config.json": lambda data: data[:100]})
        with pytest.raises(UserError, match="model=bad.keras: not a readable .keras file"):
            load_generator("bad.keras")


class TestShippedModel:
    def test_is_used_where_none_is_named(self, command, photo):
        """Photo in, lively photo out: of the input's structure, brighter, not uniform."""
        name, picture = photo
        command(f"input={name}", "output=out")
        enhanced = read("out/holiday_enhanced.png")
        generator = load_generator(SHIPPED_MODEL)
        np.testing.assert_array_equal(enhanced, enhance(generator, picture))
        assert np.corrcoef(enhanced.ravel(), picture.ravel())[0, 1] > 0.8

    def test_is_small_and_can_be_made_again(self):
        assert SHIPPED_MODEL.stat().st_size <= 2 * 2**20
        config = load(TrainConfig, [f"config={SHIPPED_MODEL.with_suffix('.yaml')}"])
        assert (config.preset, config.source_dir) == ("recommended", "phone_bench/source")


class TestBadInput:
    def test_missing_input(self, refused, run):
        assert "input" in refused("model=mine")

    def test_no_model_named_and_none_shipped(self, refused, photo, monkeypatch, tmp_path):
        monkeypatch.setattr("wespe_tf.weights.generator.SHIPPED_MODEL", tmp_path / "gone.keras")
        line = refused("input=holiday.png")
        assert line == f"model=: missing, and {tmp_path / 'gone.keras'} is not there either"

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
        assert line == "target=gone.png: expected a photo, as input is one"
        assert refused("model=mine", "input=photos", "target=gone") == "target: no folder gone"

    def test_target_names_that_do_not_match(self, refused, photos):
        Path("targets").mkdir()
        Image.fromarray(photos["1"]).save("targets/one.png")
        line = refused("model=mine", "input=photos", "target=targets")
        assert line.startswith("target: targets has no partner for photos/1.png")

    def test_foreign_model(self, refused, photo):
        keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save("foreign.keras")
        line = refused("model=foreign.keras", "input=holiday.png", "output=out")
        assert re.fullmatch(r"model=foreign.keras: holds \S+, expected a wespe_tf Generator", line)
        assert not Path("out").exists()


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
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    assert read("visual_results/holiday_enhanced.png").shape == (61, 83, 3)
    result = subprocess.run(
        [sys.executable, str(ROOT / "test_model.py"), "model=gone", "input=holiday.png"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].startswith("error: model=gone: no such run folder")
