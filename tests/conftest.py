"""What all tests share: quiet TensorFlow, fixed seeds, small folders of pictures."""

import contextlib
import gc
import io
import os
import shutil

import numpy as np
import pytest
from PIL import Image

# Before anything loads Keras. This file itself does not: pytest's first process, which only hands
# out tests, would load it, too, before the others begin.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# A browser that draws by itself and talks to nobody.
CHROMIUM = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]

# The files whose slow tests take longest, in this order. They begin first: of two processes, none
# begins one of them when the other one is about to end.
LONGEST = (
    "tests/training/test_distribution.py",
    "tests/models/test_report_code.py",
    "tests/web/test_page.py",
    "tests/models/test_dped.py",
    "tests/test_examples.py",
    "tests/export/test_cli.py",
    "tests/models/test_wespe_tf1.py",
    "tests/training/test_train.py",
    "tests/training/test_resume.py",
    "tests/test_documents.py",
    "tests/training/test_cli.py",
    "tests/data/test_align.py",
    "tests/training/test_loop.py",
    "tests/data/test_batches.py",
    "tests/test_reproduce.py",
)


def pytest_collection_finish():
    """What is there by now stays: Python need not look through all of it for garbage again."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items):
    """Slow tests run after all fast ones, those of the longest files first."""

    def place(item):
        file, _, _ = item.nodeid.partition("::")
        rank = LONGEST.index(file) if file in LONGEST else len(LONGEST)
        return item.get_closest_marker("slow") is not None, rank

    items.sort(key=place)


@pytest.fixture(autouse=True)
def fresh_keras():
    """Every test starts from the same seeds, and in float32 whatever the one before chose."""
    import keras

    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def policy():
    """Function that sets Keras's dtype policy for this test."""
    import keras

    return keras.config.set_dtype_policy


def draw_nothing(patch):
    """Figures of runs are made, but one white pixel is written instead of them."""
    png = io.BytesIO()
    Image.new("RGB", (1, 1), "white").save(png, "PNG")
    patch.setattr("wespe_tf.training.figures.to_png", lambda figure: png.getvalue())


@pytest.fixture
def undrawn(monkeypatch):
    """Runs of this test write one white pixel instead of figures."""
    draw_nothing(monkeypatch)


@pytest.fixture(scope="session")
def eager():
    """Context of short runs, for tests that ask what happens around the steps.

    Functions run as they are, as tracing a step takes longer than some of them do; evaluations
    look at 8 crops; figures are not drawn. That steps can be traced, and are traced once, is asked
    in `tests/training/test_loop.py`, `test_train.py` and `test_distribution.py`; figures are looked
    at in `test_train.py` and `tests/test_plots.py`.
    """
    import tensorflow as tf

    from wespe_tf.training import validation

    @contextlib.contextmanager
    def context():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(validation, "CROPS", 8)
            draw_nothing(patch)
            tf.config.run_functions_eagerly(True)
            try:
                yield
            finally:
                tf.config.run_functions_eagerly(False)

    return context


@pytest.fixture
def eagerly(eager):
    """The whole test runs in that context."""
    with eager():
        yield


@pytest.fixture
def float64(policy):
    """This test computes in double precision."""
    policy("float64")


@pytest.fixture(scope="session")
def make_photo():
    """Function of (height, width, seed): a uint8 photo of soft color blobs with some texture."""

    def make(height, width, seed=0):
        rng = np.random.default_rng((seed, height, width))
        coarse = rng.uniform(0, 255, (height // 16 + 1, width // 16 + 1, 3)).astype(np.uint8)
        smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        return np.clip(smooth + rng.normal(0, 8, (height, width, 3)), 0, 255).astype(np.uint8)

    return make


@pytest.fixture(scope="session")
def make_folder(make_photo):
    """Function that fills a folder with PNG photos `0.png`, `1.png`, … and returns it."""

    def make(folder, count=3, size=(48, 56), seed=0):
        folder.mkdir(parents=True, exist_ok=True)
        for k in range(count):
            Image.fromarray(make_photo(*size, seed=1000 * seed + k)).save(folder / f"{k}.png")
        return folder

    return make


@pytest.fixture(scope="session")
def make_truncated(make_photo):
    """Function that writes a JPEG whose header is whole and whose second half is missing."""

    def make(path, height=48, width=56):
        Image.fromarray(make_photo(height, width, seed=99)).save(path, "JPEG", quality=95)
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        return path

    return make


@pytest.fixture(scope="session")
def snapshot():
    """Function of a folder: all its files and folders, with the files' contents."""

    def take(folder):
        return {
            path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
            for path in folder.rglob("*")
        }

    return take


@pytest.fixture(scope="module")
def open_chromium():
    """Function that opens a headless Chromium, Playwright's own or the system's, with options."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    with playwright.sync_playwright() as driver, contextlib.ExitStack() as stack:

        def call(options):
            for path in (None, shutil.which("chromium"), shutil.which("google-chrome")):
                try:
                    browser = driver.chromium.launch(executable_path=path, args=options)
                except playwright.Error:
                    continue
                stack.callback(browser.close)
                return browser
            pytest.skip("no Chromium: playwright install chromium")

        yield call


@pytest.fixture(scope="module")
def chromium(open_chromium):
    """A headless Chromium without a GPU."""
    return open_chromium(CHROMIUM)
