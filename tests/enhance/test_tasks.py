"""Which photos are enhanced, and where their results go."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.enhance.photos import read


@pytest.mark.usefixtures("loaded")
class TestTasks:
    def test_results_that_are_there_are_kept(self, command, photo):
        command("model=mine", "input=holiday.png", "output=out")
        Path("out/holiday_enhanced.png").write_bytes(b"mine")
        lines = command("model=mine", "input=holiday.png", "output=out")
        assert lines[0] == "1 of 1 are in out already; overwrite=true makes them again"
        assert Path("out/holiday_enhanced.png").read_bytes() == b"mine"
        command("model=mine", "input=holiday.png", "output=out", "overwrite=true")
        assert read("out/holiday_enhanced.png").shape == (61, 83, 3)

    def test_formats_that_can_be_kept_and_not(self, command, photo):
        """Which not is told, and PNG takes their place."""
        Path("in").mkdir()
        Image.fromarray(photo[1]).save("in/a.bmp")
        Image.fromarray(photo[1]).save("in/b.heic", quality=-1, chroma=444, matrix_coefficients=0)
        lines = command("model=mine", "input=in", "output=out", "format=same", "strength=0")
        told = [line for line in lines if line.startswith("format=same")]
        assert told == [
            "format=same: in/a.bmp: this format cannot be written, its result is a PNG file"
        ]
        np.testing.assert_array_equal(read("out/a_enhanced.png"), photo[1])
        np.testing.assert_array_equal(
            read("out/b_before_after.png"), np.concatenate([photo[1], photo[1]], axis=1)
        )
        assert np.abs(read("out/b_enhanced.heic").astype(int) - photo[1]).mean() < 4

    def test_gray_stays_gray(self, command, run):
        steps = np.linspace(0, 255, 60 * 40).astype(np.uint8).reshape(40, 60)
        Image.fromarray(steps).save("gray.png")
        Image.fromarray(np.stack([steps] * 3, axis=-1)).save("colorless.tif")
        command("model=mine", "input=*.*", "output=out", "format=same")
        gray, colorless = read("out/gray_enhanced.png"), read("out/colorless_enhanced.tif")
        assert gray.shape == (40, 60) and np.abs(gray.astype(int) - steps).max() > 10
        np.testing.assert_array_equal(colorless, np.stack([gray] * 3, axis=-1))

    def test_of_several_those_that_are_there_are_kept(self, command, photos):
        command("model=mine", "input=photos", "output=out")
        made = {path: path.stat().st_mtime_ns for path in Path("out").rglob("*.png")}
        Path("out/day2/1_enhanced.png").unlink()
        lines = command("model=mine", "input=photos", "output=out")
        assert lines[0] == "1 of 2 are in out already; overwrite=true makes them again"
        assert Path("out/day2/1_enhanced.png").is_file()
        # Not asked for, no file is replaced.
        again = Path("out/day2/1_enhanced.png")
        assert all(p.stat().st_mtime_ns == time for p, time in made.items() if p != again)
        command("model=mine", "input=photos", "output=out", "overwrite=true")
        assert all(path.stat().st_mtime_ns > time for path, time in made.items())

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

    def test_patterns(self, command, refused, photos, run):
        command("model=mine", "input=photos/**/*.png", "output=out")
        found = {p.relative_to("out").as_posix() for p in Path("out").rglob("*_enhanced.png")}
        assert found == {"1_enhanced.png", "day2/1_enhanced.png"}
        assert (
            refused("model=mine", "input=photos/*.gif") == "input=photos/*.gif: no picture matches"
        )
