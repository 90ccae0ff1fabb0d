"""The page that enhances photos, in a browser: it shows what Python makes of the same file."""

import functools
import hashlib
import http.server
import io
import json
import shutil
import subprocess
import threading

import numpy as np
import pytest
from PIL import Image

from tests.generators import save_as_run, toned_generator
from tests.shared import SHARED, needs_shared
from wespe_tf.enhance.litert import LiteRTEnhancer
from wespe_tf.errors import UserError
from wespe_tf.export import cli as export
from wespe_tf.export.conversion import FORMATS, Converter
from wespe_tf.export.export import describe
from wespe_tf.export.portable import portable
from wespe_tf.web import __main__ as module
from wespe_tf.weights.generator import SHIPPED_MODEL, load_generator

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
# Of Chromium, which then computes itself what a GPU would compute.
WEBGPU = [
    *("--no-sandbox", "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"),
    *("--enable-features=Vulkan", "--use-vulkan=swiftshader"),
]
TRY_AGAIN = "Check the connection and try again."


@pytest.fixture(scope="module")
def built(tmp_path_factory, make_folder):
    """A folder: `site`, which the command built of a tiny generator; `files` of all formats.

    Without npm's packages there is no page, and nothing to test.
    """
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    root = tmp_path_factory.mktemp("web")
    save_as_run(toned_generator(0), root)
    photos = [
        f"{name}_dir={make_folder(root / name, 2, seed=seed)}"
        for seed, name in enumerate(("calibration", "val"))
    ]
    model = f"model={root / 'models' / 'mine'}"
    tiles = ("height=256", "width=256")
    try:
        module.main([model, f"output={root / 'site'}", "format=float32", photos[1]])
    except UserError:
        if subprocess.run(["npm", "ping"], capture_output=True, timeout=60).returncode:
            pytest.skip("npm's packages cannot be had")
        raise
    export.main([model, f"output={root / 'files'}", *photos, *tiles, "force=true"])
    return root


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """The model that comes with the project as files for the page; their path without suffix."""
    generator = load_generator(SHIPPED_MODEL)
    content = Converter(portable(generator), (256, 256), adaptive=True)("float32")
    described = ("float32", "adaptive", "float32", (256, 256), content, generator)
    path = tmp_path_factory.mktemp("shipped") / "shipped"
    path.with_suffix(".tflite").write_bytes(content)
    path.with_suffix(".json").write_text(json.dumps(describe("shipped", *described)))
    return path


@pytest.fixture
def site(built, tmp_path):
    """A copy of the page's folder, and nothing else, to change at will."""
    return shutil.copytree(built / "site", tmp_path / "site")


def use(site, source):
    """Puts another model into the page: `source` without its suffix."""
    for suffix in (".tflite", ".json"):
        shutil.copy(f"{source}{suffix}", site / "model" / f"wasm{suffix}")


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder as the page's README says; of the file named `cut` half only, as when a
    connection breaks."""

    cut = "none"

    def end_headers(self):
        self.send_header("Content-Security-Policy", "connect-src 'self'")
        super().end_headers()

    def log_message(self, *_):
        pass

    def copyfile(self, source, target):
        content = source.read()
        half = len(content) // 2 if self.path.endswith(self.cut) else len(content)
        target.write(content[:half])


@pytest.fixture
def serve(site, monkeypatch):
    """Address at which the page is served."""
    handler = functools.partial(Handler, directory=site)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def tab(chromium, serve):
    """The page on a phone."""
    context = chromium.new_context(**PHONE)
    tab = context.new_page()
    tab.errors = []
    tab.on("pageerror", lambda error: tab.errors.append(error))
    tab.goto(serve)
    yield tab
    assert tab.errors == []
    context.close()


def enhance(tab, path, milliseconds=240_000):
    """Chooses a photo and waits until it is enhanced, or refused; the message of that."""
    tab.set_input_files("#file", path)
    tab.wait_for_selector("#png:visible, #message:visible", timeout=milliseconds)
    message = tab.locator("#message")
    return message.inner_text() if message.is_visible() else None


def saved(tab, button):
    """The picture that a button saves, and its file's name."""
    with tab.expect_download() as waited:
        tab.click(button)
    with Image.open(waited.value.path()) as picture:
        return np.asarray(picture.convert("RGB")), waited.value.suggested_filename


def by_python(path, photo):
    """What `test_model.py model=FILE.tflite` makes of a photo."""
    enhancer = LiteRTEnhancer(path)
    return enhancer(photo, enhancer.plan(photo))


def psnr(found, expected):
    return 10 * np.log10(255**2 / np.mean((found.astype(float) - expected) ** 2))


@pytest.fixture
def photo(tmp_path, make_photo):
    """Function of (height, width): path of a photo of that size, and its pixels."""

    def call(height, width):
        pixels = make_photo(height, width, 4)
        Image.fromarray(pixels).save(tmp_path / "photo.png")
        return tmp_path / "photo.png", pixels

    return call


@pytest.mark.slow
class TestResult:
    @pytest.mark.parametrize("size", [(300, 501), (20, 30), (90, 400)])
    def test_is_what_python_makes(self, tab, site, photo, size):
        """Of several tiles, and of photos smaller than a patch and than a tile."""
        path, pixels = photo(*size)
        assert enhance(tab, path) is None
        found, name = saved(tab, "#png")
        assert name == "photo_enhanced.png" and found.shape == pixels.shape
        expected = by_python(site / "model" / "wasm.tflite", pixels)
        assert psnr(found, expected) >= 60 and psnr(pixels, expected) < 40

    def test_is_saved_as_jpeg_too(self, tab, photo):
        path, pixels = photo(120, 90)
        enhance(tab, path)
        found, name = saved(tab, "#jpeg")
        assert name == "photo_enhanced.jpg"
        assert found.shape == pixels.shape and psnr(found, saved(tab, "#png")[0]) > 30

    def test_photos_are_turned_as_their_file_says(self, tab, photo, tmp_path):
        _, pixels = photo(60, 100)
        exif = Image.Exif()
        exif[0x0112] = 6  # the camera was held upright
        Image.fromarray(pixels).save(tmp_path / "turned.jpg", exif=exif)
        enhance(tab, tmp_path / "turned.jpg")
        assert saved(tab, "#png")[0].shape == (100, 60, 3)

    @pytest.mark.parametrize("form", FORMATS)
    def test_the_browser_takes_the_files_that_the_export_says(self, tab, built, site, photo, form):
        use(site, built / "files" / f"mine_{form}")
        path, pixels = photo(60, 80)
        assert enhance(tab, path) is None
        files = json.loads((built / "files" / "mine_export.json").read_text())["files"]
        (told,) = [entry["in_browser"] for entry in files if entry["format"] == form]
        assert tab.evaluate("document.body.dataset.accelerated") == str(told).lower()
        expected = by_python(site / "model" / "wasm.tflite", pixels)
        assert psnr(saved(tab, "#png")[0], expected) >= 55

    @needs_shared
    def test_of_the_shipped_model_on_a_real_photo(self, tab, site, shipped, tmp_path):
        use(site, shipped)
        with Image.open(SHARED / "phone_bench" / "val_phone" / "21.jpg") as picture:
            picture.resize((333, 250)).save(tmp_path / "real.png")
            pixels = np.asarray(picture.resize((333, 250)))
        assert enhance(tab, tmp_path / "real.png", 900_000) is None
        assert tab.evaluate("document.body.dataset.accelerated") == "true"
        assert int(tab.evaluate("document.body.dataset.heap")) < 300e6
        assert psnr(saved(tab, "#png")[0], by_python(f"{shipped}.tflite", pixels)) >= 60


@pytest.mark.slow
class TestWebGPU:
    @pytest.fixture(scope="class")
    def browser(self, open_chromium):
        return open_chromium(WEBGPU)

    @pytest.fixture
    def tab(self, browser, serve):
        """The page, and in `asked` the names of the model's files that it loads."""
        with browser.new_context() as context:
            tab = context.new_page()
            tab.goto(serve)
            if not tab.evaluate("navigator.gpu?.requestAdapter().then(Boolean)"):
                pytest.skip("this Chromium has no WebGPU")
            tab.asked = []
            context.on("request", lambda request: tab.asked.append(request.url.split("/")[-1]))
            yield tab

    def test_is_what_python_makes(self, tab, site, photo):
        path, pixels = photo(90, 200)
        (site / "model" / "wasm.tflite").unlink()
        assert enhance(tab, path) is None
        expected = by_python(site / "model" / "webgpu.tflite", pixels)
        assert psnr(saved(tab, "#png")[0], expected) >= 60

    def test_if_it_does_not_take_the_whole_model_the_processor_runs_its_own_file(
        self, tab, site, photo
    ):
        """Without JSPI, LiteRT.js then gives the same file to the processor."""
        worker = site / "worker.js"
        text, takes = worker.read_text(), "this.liteRtCompiledModel.isFullyAccelerated()"
        assert takes in text
        text = text.replace(takes, '(this.options.accelerator === "wasm")')
        worker.write_text(f"delete WebAssembly.Suspending; delete WebAssembly.promising; {text}")
        assert enhance(tab, photo(40, 50)[0]) is None
        assert [n for n in tab.asked if n.endswith("tflite")] == ["webgpu.tflite", "wasm.tflite"]


@pytest.mark.slow
class TestView:
    @staticmethod
    def before_share(tab):
        """Share of the columns that show the photo as it was: black, and enhanced at least gray."""
        content = tab.locator("#view").screenshot()
        with Image.open(io.BytesIO(content)) as picture:
            row = np.asarray(picture.convert("L"))[picture.size[1] // 4]
        return (row < 8).mean()

    @pytest.fixture
    def enhanced(self, tab, tmp_path):
        """The page after a black photo, which is painted white to tell before and after apart."""
        Image.new("RGB", (200, 150)).save(tmp_path / "black.png")
        enhance(tab, tmp_path / "black.png")
        paint = (
            "c => Object.assign(c.getContext('2d'), {fillStyle: '#fff'}).fillRect(0, 0, 999, 999)"
        )
        tab.locator("#after").evaluate(paint)
        return tab

    def test_slider_by_touch_and_by_keyboard(self, enhanced):
        assert self.before_share(enhanced) == pytest.approx(0.5, abs=0.02)
        enhanced.locator("#slider").focus()
        for _ in range(20):
            enhanced.keyboard.press("ArrowRight")
        assert self.before_share(enhanced) == pytest.approx(0.7, abs=0.02)
        enhanced.keyboard.press("Home")
        assert self.before_share(enhanced) == 0
        box = enhanced.locator("#view").bounding_box()
        enhanced.touchscreen.tap(box["x"] + box["width"] * 0.25, box["y"] + 60)
        assert self.before_share(enhanced) == pytest.approx(0.25, abs=0.04)

    def test_fits_a_phone_in_the_dark_and_in_the_light(self, enhanced):
        assert enhanced.evaluate("document.documentElement.scrollWidth") == 390
        for button in ("#jpeg", "#png"):
            box = enhanced.locator(button).bounding_box()
            assert box["height"] >= 44 and box["x"] >= 0 and box["x"] + box["width"] <= 390
        assert enhanced.locator("#camera").get_attribute("capture") == "environment"
        colors = set()
        for scheme in ("dark", "light"):
            enhanced.emulate_media(color_scheme=scheme)
            colors.add(enhanced.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert len(colors) == 2

    def test_cancel(self, tab, photo):
        path, _ = photo(2000, 1500)
        with tab.expect_worker() as begun:
            tab.set_input_files("#file", path)
        tab.wait_for_selector("#view:visible")
        with begun.value.expect_event("close"):
            tab.click("#cancel")
        assert tab.locator("#sources").is_visible() and not tab.locator("#message").is_visible()
        assert enhance(tab, photo(40, 50)[0]) is None

    def test_what_screen_readers_read_aloud_and_where_the_focus_is(self, tab, photo):
        tab.evaluate(
            """() => {
              window.told = [];
              const status = document.querySelector("[role=status]");
              const tell = () => told.push([status.textContent, document.activeElement.id]);
              new MutationObserver(tell).observe(status, { childList: true });
            }"""
        )
        enhance(tab, photo(300, 400)[0])
        told, focus = zip(*tab.evaluate("told"))
        assert told == ("Reading the photo …", "Loading the model …", "The photo is enhanced.")
        assert set(focus[:2]) == {"cancel"}
        assert tab.evaluate("document.activeElement.id") == "slider"
        assert tab.locator("[role=status]").is_visible()

    @pytest.fixture
    def reads(self, tab):
        """Function that lets the page read one of the photos that were chosen, by its number."""
        tab.evaluate(
            """() => {
              const read = createImageBitmap;
              window.go = [];
              window.createImageBitmap = (file) => new Promise(
                (done) => go.push(() => read(file).then(done)));
            }"""
        )
        return lambda number: tab.evaluate("number => go[number]()", number)

    def test_cancel_while_the_photo_is_read(self, tab, photo, reads):
        tab.set_input_files("#file", photo(40, 50)[0])
        tab.click("#cancel")
        reads(0)
        tab.wait_for_timeout(300)
        assert tab.locator("#sources").is_visible() and not tab.locator("#view").is_visible()
        assert tab.workers == []

    def test_of_two_quick_choices_the_last_one_counts(self, tab, photo, reads, tmp_path):
        for size in ((70, 50), (40, 50)):
            path, _ = photo(*size)
            tab.set_input_files("#file", path.rename(tmp_path / f"{size[0]}.png"))
        reads(1)
        tab.wait_for_selector("#png:visible")
        reads(0)
        tab.wait_for_timeout(300)
        assert saved(tab, "#png")[0].shape == (40, 50, 3) and tab.workers == []


@pytest.mark.slow
class TestMessages:
    @pytest.fixture
    def small(self, photo):
        return photo(40, 50)[0]

    def test_no_picture(self, tab, tmp_path):
        (tmp_path / "note.jpg").write_text("no picture")
        assert enhance(tab, tmp_path / "note.jpg").startswith(
            "This file cannot be read as a picture."
        )
        assert tab.locator("#sources").is_visible()

    def test_a_picture_too_large(self, tab, tmp_path):
        Image.new("1", (9000, 6000)).save(tmp_path / "large.png")
        said = enhance(tab, tmp_path / "large.png")
        assert said == "The photo is too large for this device: 9000×6000 pixels."

    def test_an_old_browser(self, tab, small):
        tab.evaluate("WebAssembly.validate = () => false")
        assert "it has no WebAssembly SIMD" in enhance(tab, small)

    def test_no_memory(self, tab, site, small, shipped):
        """A device that gives WebAssembly no more than it begins with."""
        use(site, shipped)
        refuse = "WebAssembly.Memory.prototype.grow = () => { throw new RangeError('no memory') };"
        worker = site / "worker.js"
        worker.write_text(refuse + worker.read_text())
        assert enhance(tab, small).startswith("This device has too little memory.")

    def test_no_model(self, tab, site, small):
        (site / "model" / "wasm.tflite").unlink()
        assert enhance(tab, small) == f"The model could not be loaded (404). {TRY_AGAIN}"

    def test_a_page_for_signing_in_instead_of_the_model(self, tab, site, small):
        (site / "model" / "wasm.json").write_text("<!doctype html>")
        assert enhance(tab, small) == f"The model could not be loaded. {TRY_AGAIN}"

    def test_an_interrupted_download(self, tab, small, monkeypatch):
        monkeypatch.setattr(Handler, "cut", "wasm.tflite")
        assert enhance(tab, small) == f"The download of the model was interrupted. {TRY_AGAIN}"

    def test_a_damaged_model(self, tab, site, small):
        model = site / "model" / "wasm.tflite"
        content = bytearray(model.read_bytes())
        content[len(content) // 2] ^= 1
        model.write_bytes(content)
        assert enhance(tab, small).startswith("The model is damaged")

    @pytest.mark.parametrize(
        "change, said",
        [
            (lambda content: b"no model", ""),
            (lambda content: bytes(5000), ""),
            (
                lambda content: content.replace(b"measure", b"mistake"),
                "it has no signature measure.",
            ),
        ],
    )
    def test_files_that_are_no_such_model(self, tab, site, small, change, said):
        model, described = site / "model" / "wasm.tflite", site / "model" / "wasm.json"
        content = change(model.read_bytes())
        model.write_bytes(content)
        values = json.loads(described.read_text()) | {"sha256": hashlib.sha256(content).hexdigest()}
        described.write_text(json.dumps(values))
        assert enhance(tab, small).startswith(f"The model cannot be used: {said}")


class TestCommand:
    def test_a_folder_that_is_not_empty(self, tmp_path):
        (tmp_path / "mine").write_text("x")
        with pytest.raises(UserError) as caught:
            module.main([f"output={tmp_path}"])
        assert str(caught.value) == (
            f"output={tmp_path}: exists already; expected an empty or a new folder"
        )

    def test_no_folder(self):
        with pytest.raises(UserError, match="^output=: missing; expected a folder to make$"):
            module.main([])

    def test_a_missing_model_ends_it_before_npm_works(self, tmp_path, monkeypatch):
        npm = tmp_path / "npm"
        npm.write_text("#!/bin/sh\n")
        npm.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
        monkeypatch.setattr(module, "bundle", lambda *_: pytest.fail("npm worked"))
        with pytest.raises(UserError, match="^model=gone: "):
            module.main(["model=gone", f"output={tmp_path / 'site'}"])

    def test_without_npm(self, tmp_path, monkeypatch):
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(UserError, match="npm, which is missing: install Node.js 18 or later$"):
            module.main([f"output={tmp_path / 'site'}"])
        assert not (tmp_path / "site").exists()

    def test_npm_that_fails(self, tmp_path, monkeypatch):
        npm = tmp_path / "npm"
        npm.write_text("#!/bin/sh\necho no network >&2\nexit 1\n")
        npm.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
        with pytest.raises(UserError, match="^npm ci .*: no network$"):
            module.main([f"output={tmp_path / 'site'}"])
        assert not (tmp_path / "site").exists()

    @pytest.mark.slow
    def test_what_is_served(self, built):
        served = {
            path.relative_to(built / "site").as_posix() for path in built.rglob("site/**/*.*")
        }
        assert served == {
            *module.SERVED,
            "worker.js",
            *(f"wasm/{name}" for name in module.RUNTIME),
            *(f"model/{name}.{end}" for name in ("wasm", "webgpu") for end in ("tflite", "json")),
        }
