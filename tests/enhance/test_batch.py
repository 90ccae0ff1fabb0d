"""Photos one after another: what is read meanwhile, what fails, what is scored."""

import re
import shutil
import sys
import threading
import weakref
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import skimage.metrics
import tensorflow as tf
from PIL import Image

from tests.enhance.photos import PLAIN, read
from wespe_tf.enhance import batch
from wespe_tf.enhance import cli as module
from wespe_tf.enhance.tiles import Enhancer
from wespe_tf.errors import UserError
from wespe_tf.images.opening import limit_megapixels
from wespe_tf.images.photo import read_photo, write_photo


@pytest.mark.usefixtures("loaded")
class TestBatch:
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

    def test_progress_of_several_is_shown_on_a_terminal(self, photos, run, capsys, monkeypatch):
        module.main([*PLAIN, "model=mine", "input=photos", "output=piped"])
        assert capsys.readouterr().err == ""
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        module.main([*PLAIN, "model=mine", "input=photos", "output=out"])
        assert re.search(r"photos 100% .* 2/2, 00:00 left", capsys.readouterr().err)
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
        module.main([*PLAIN, "mode=streamed", "model=mine", "input=photos", "output=out"])

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


class TestMemory:
    def test_photos_that_do_not_fit_are_not_read(self, photos, command, monkeypatch, capsys):
        """One of 60 megapixels takes 4·180 MB beside what the process takes anyway."""
        sizes = {"photos/1.png": 180_000_000, "photos/day2/1.png": 1000}
        monkeypatch.setattr(batch, "pixel_bytes", sizes.get)
        with pytest.raises(SystemExit):
            command("model=mine", "input=photos", "output=out", "mode=auto", "memory_limit=1.5")
        errors = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
        assert errors == [
            "error: photos/1.png: memory_limit=1.5 is too little, expected at least 1.52"
        ]
        assert not Path("out/1_enhanced.png").exists() and Path("out/day2/1_enhanced.png").exists()
        command("model=mine", "input=photos", "output=out", "mode=auto", "memory_limit=1.52")
        assert Path("out/1_enhanced.png").exists()


@pytest.mark.usefixtures("loaded")
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

    def test_a_photo_that_is_too_small_for_ssim_ends_only_its_own_work(
        self, photos, run, capsys, make_photo
    ):
        Image.fromarray(make_photo(10, 40)).save("photos/1.png")
        shutil.copytree("photos", "targets")
        with pytest.raises(SystemExit) as ended:
            module.main([*PLAIN, "model=mine", "input=photos", "output=out", "target=targets"])
        printed = capsys.readouterr()
        assert ended.value.code == 1 and "mean of 1: PSNR" in printed.out
        assert printed.err.splitlines()[-1] == (
            "error: photos/1.png: too small for SSIM, expected at least 11×11 pixels"
        )

    def test_without_target_nothing_is_scored(self, command, photo):
        assert "PSNR" not in "\n".join(command("model=mine", "input=holiday.png", "output=out"))
