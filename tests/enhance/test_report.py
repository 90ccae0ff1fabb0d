"""report.html: everything in one file, and a slider that mouse, touch and keyboard move."""

import io
import re
import subprocess
import sys
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from tests.enhance.photos import PLAIN
from wespe_tf.enhance import cli as module
from wespe_tf.enhance.memory import COPIES
from wespe_tf.enhance.report import LONGEST_SIDE, pictures_of, write_report


@pytest.fixture
def page(tmp_path):
    """A page of two photos: all black before, all white after."""
    both = np.zeros((60, 160, 3), np.uint8)
    both[:, 80:] = 255
    entries = [(f"<{k}>.jpg", "80×60   whole", *pictures_of(both)) for k in range(2)]
    write_report(tmp_path / "report.html", iter(entries), len(entries))
    return tmp_path / "report.html"


def test_nothing_is_loaded_from_elsewhere(page):
    text = page.read_text()
    assert len(re.findall(r'src="data:image/jpeg;base64,', text)) == 4
    assert not re.search(r"(src|href)=\"(?!data:)|https?://|@import|url\(", text)
    assert "&lt;0&gt;.jpg" in text and "<0>" not in text and "2 photos" in text


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pictures_are_bounded(dtype, tmp_path):
    both = np.zeros((300, 2 * 3700, 3), dtype)
    both[:, 3700:] = np.iinfo(dtype).max
    for k, (content, value) in enumerate(zip(pictures_of(both), (0, 255))):
        (tmp_path / f"{k}.jpg").write_bytes(content)
        with Image.open(tmp_path / f"{k}.jpg") as picture:
            assert picture.size[0] == LONGEST_SIDE and abs(picture.size[1] - 130) <= 1
            assert np.abs(np.asarray(picture).astype(int) - value).max() <= 2


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells the peak there")
def test_reading_takes_about_as_much_memory_as_a_photo(tmp_path):
    """In a process of its own. Its peak is VmHWM; ru_maxrss begins with the peak of its parent."""
    size = 3 * 4000 * 5000
    path = tmp_path / "both.png"
    path.write_bytes(imagecodecs.png_encode(np.zeros((4000, 2 * 5000, 3), np.uint8), level=1))
    code = f"""if True:
        import re
        from pathlib import Path
        from wespe_tf.enhance.report import _before_and_after, pictures_of

        def peak():
            status = Path("/proc/self/status").read_text()
            return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", status)[1])

        before = peak()
        pictures_of(_before_and_after(Path({str(path)!r})))
        print(peak() - before)"""
    taken = int(subprocess.run([sys.executable, "-c", code], capture_output=True).stdout)
    # Pillow keeps four bytes for each pixel of the half that is shrunk.
    assert size < taken < (COPIES + 0.5) * size


@pytest.mark.slow
class TestInABrowser:
    @pytest.fixture
    def tab(self, chromium, page):
        context = chromium.new_context(
            viewport={"width": 800, "height": 700}, has_touch=True, offline=True
        )
        tab = context.new_page()
        tab.errors = []
        tab.on("pageerror", lambda error: tab.errors.append(error))
        tab.goto(page.as_uri())
        yield tab
        assert tab.errors == []
        context.close()

    @staticmethod
    def white_share(tab):
        """Share of white columns of the first view, in a row without handle and labels."""
        view = tab.locator(".view").first
        content = view.screenshot()
        with Image.open(io.BytesIO(content)) as picture:
            row = np.asarray(picture.convert("L"))[picture.size[1] // 5]
        return (row > 128).mean()

    @staticmethod
    def box(tab):
        return tab.locator(".view").first.bounding_box()

    @staticmethod
    def place(tab):
        """Scale and place, in pixels, of the first photo in its view."""
        pair = tab.locator(".pair").first
        return tuple(
            pair.evaluate(f"e => new DOMMatrix(e.style.transform).{key}") for key in ("a", "e", "f")
        )

    def touch(self, tab, moments):
        """Fingers on the first view, moment after moment: (x, y) of each, in the view."""
        box = self.box(tab)
        devtools = tab.context.new_cdp_session(tab)
        for k, fingers in enumerate([*moments, []]):
            kind = "touchEnd" if not fingers else "touchMove" if k else "touchStart"
            points = [
                {"x": box["x"] + x, "y": box["y"] + y, "id": n} for n, (x, y) in enumerate(fingers)
            ]
            devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    def test_starts_in_the_middle_with_before_on_the_left(self, tab):
        assert self.white_share(tab) == pytest.approx(0.5, abs=0.02)

    def test_mouse(self, tab):
        box = self.box(tab)
        tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + 50)
        tab.mouse.down()
        tab.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + 60)
        tab.mouse.up()
        assert self.white_share(tab) == pytest.approx(0.2, abs=0.02)

    def test_touch(self, tab):
        box = self.box(tab)
        tab.touchscreen.tap(box["x"] + box["width"] * 0.25, box["y"] + 80)
        assert self.white_share(tab) == pytest.approx(0.75, abs=0.02)

    def test_keyboard(self, tab):
        tab.locator(".view").first.focus()
        for _ in range(5):
            tab.keyboard.press("ArrowRight")
        assert self.white_share(tab) == pytest.approx(0.4, abs=0.02)
        tab.keyboard.press("End")
        assert tab.locator(".view").first.get_attribute("aria-valuenow") == "100"

    def test_larger_steps_by_keyboard(self, tab):
        tab.locator(".view").first.focus()
        tab.keyboard.press("PageUp")
        tab.keyboard.press("PageUp")
        assert self.white_share(tab) == pytest.approx(0.3, abs=0.02)
        tab.keyboard.press("PageDown")
        assert self.white_share(tab) == pytest.approx(0.4, abs=0.02)

    def test_a_zoomed_photo_is_moved_by_keyboard(self, tab):
        """Its middle is seen first; it stops at its edge; the line stays."""
        width = self.box(tab)["width"]
        tab.locator(".view").first.focus()
        for _ in range(2):
            tab.keyboard.press("+")
        scale, x, y = self.place(tab)
        tab.keyboard.press("Shift+ArrowRight")
        tab.keyboard.press("Shift+ArrowUp")
        _, x_after, y_after = self.place(tab)
        assert x_after == pytest.approx(x - width / 10, abs=1) and y_after > y
        for _ in range(20):
            tab.keyboard.press("Shift+ArrowRight")
        assert self.place(tab)[1] == pytest.approx(width * (1 - scale), abs=1)
        assert tab.locator(".view").first.get_attribute("aria-valuenow") == "50"

    def test_dragging_by_touch(self, tab):
        """Near the line the line goes along; in a zoomed photo elsewhere the photo."""
        box = self.box(tab)
        middle = box["width"] / 2
        self.touch(tab, [[(middle, 60)], [(middle + 60, 70)], [(box["width"] * 0.8, 80)]])
        assert self.white_share(tab) == pytest.approx(0.2, abs=0.02)
        tab.locator(".view").first.focus()
        tab.keyboard.press("+")
        _, x, y = self.place(tab)
        self.touch(tab, [[(100, 100)], [(120, 110)], [(150, 130)]])
        _, x_after, y_after = self.place(tab)
        assert (x_after - x, y_after - y) == pytest.approx((50, 30), abs=1)
        assert self.white_share(tab) == pytest.approx(0.2, abs=0.02)

    def test_pinching(self, tab):
        """Two fingers twice as far apart show the photo twice as large."""
        self.touch(
            tab, [[(200, 100), (300, 100)], [(175, 100), (325, 100)], [(150, 100), (350, 100)]]
        )
        assert self.place(tab)[0] == pytest.approx(2, rel=0.02)
        assert self.white_share(tab) == pytest.approx(0.5, abs=0.02)

    def test_zoom_keeps_the_line_where_it_is(self, tab):
        box = self.box(tab)
        tab.mouse.move(box["x"] + 100, box["y"] + 100)
        tab.mouse.wheel(0, -400)
        assert self.white_share(tab) == pytest.approx(0.5, abs=0.02)
        assert self.place(tab)[0] == pytest.approx(np.e, rel=0.05)
        tab.locator(".view").first.focus()
        tab.keyboard.press("0")
        assert self.place(tab)[0] == 1


@pytest.mark.usefixtures("loaded")
class TestOfTheCommand:
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
