"""Measures exported files on whole photos: size, PSNR, memory and time, by format, norm and tile.

    python -m benchmarks.phones data=FOLDER calibration_dir=OTHER [model=MODEL] [key=value …]

The first `photos=` photos of the folder are resized to `megapixels=`. PSNR compares with float32
Keras on the whole photo, with zeros beyond its edges, as in the files.
`runtimes=interpreter` runs the whole command `test_model.py` with `memory_limit=1.5` on a 16-bit
PNG file. Memory is that of its process. Seconds are its processor time, minus that of its start.
`browser` runs the page in headless Chromium on 8 bits, with one thread. Memory is WebAssembly's.
Seconds are the clock time that the page takes from the photo to the result. Results are appended to
a CSV file, and the table in a document is replaced. It runs on Linux only. The browser needs npm
and Playwright.
"""

import contextlib
import dataclasses
import functools
import hashlib
import http.server
import json
import os
import resource
import shutil
import tempfile
import threading
from datetime import date
from pathlib import Path

import numpy as np
from imagecodecs import png_decode, png_encode
from PIL import Image

from benchmarks.photo_memory import LIMIT, run
from benchmarks.photos import errors, resized
from wespe_tf.config.command import as_command
from wespe_tf.config.schema import ExportConfig, setting
from wespe_tf.data.folders import find_pictures
from wespe_tf.data.sources import sample_folders
from wespe_tf.enhance.runtimes import choose_runtime
from wespe_tf.enhance.tiles import Enhancer
from wespe_tf.errors import UserError
from wespe_tf.export.conversion import FORMATS, Converter
from wespe_tf.export.export import describe
from wespe_tf.export.graph import measure, read_graph
from wespe_tf.export.photos import find_photos
from wespe_tf.export.portable import frozen_affines, portable
from wespe_tf.files import digest
from wespe_tf.images.photo import read_photo
from wespe_tf.tables import append_row, read_rows, replace_tables
from wespe_tf.training.summary import processor
from wespe_tf.web.__main__ import bundle
from wespe_tf.weights.generator import find_model, load_generator

HERE = Path(__file__).resolve().parent
USAGE = "usage: python -m benchmarks.phones data=FOLDER calibration_dir=OTHER [key=value …]"
CHOICES = {
    "norms": ("adaptive", "live", "frozen"),
    "formats": tuple(FORMATS),
    "runtimes": ("interpreter", "browser"),
}
KEYS = ("model", "norm", "format", "tile", "runtime", "megapixels")
COLUMNS = (
    *("date", "processor", "cores", *KEYS, "photos", "bytes", "psnr", "seconds_per_megapixel"),
    *("peak_memory", "tile_memory", "whole", "rank", "dynamic"),
)


@dataclasses.dataclass
class Settings:
    """Settings of this script."""

    data: str = setting("", "folder of photos")
    calibration_dir: str | None = setting(None, "other photos, for int8 and frozen norms")
    model: str = setting("", "the same as for export_tflite.py")
    models_orig_dir: str = setting("models_orig", "folder of the authors' trained models")
    norms: str = setting("adaptive", "some of adaptive, live, frozen, with commas")
    formats: str = setting(",".join(FORMATS), "formats of the files, with commas")
    tiles: str = setting("256", "sides of the tiles, with commas; 0: any size", "pixels")
    runtimes: str = setting("interpreter", "interpreter, browser or both")
    megapixels: str = setting("3", "sizes of the photos, with commas")
    photos: int = setting(
        1, "photos of each size; the lowest PSNR and the highest memory count", at_least=1
    )
    files: str = setting("", "folder that keeps exported files and Keras's results for later runs")
    csv: str = setting(str(HERE / "phones.csv"), "results are appended to it")
    document: str = setting(str(HERE.parent / "docs" / "PHONES.md"), "its table is replaced")


@as_command(USAGE, Settings)
def main(config):
    """Measures."""
    if not config.data:
        raise UserError("data=: missing; expected a folder of photos")
    norms, formats, runtimes = (chosen(config, key) for key in CHOICES)
    tiles, megapixels = numbers(config, "tiles", 0), numbers(config, "megapixels", 0.01)
    model = Path(find_model(config.model, config.models_orig_dir))
    with contextlib.ExitStack() as stack:
        scratch = Path(config.files or stack.enter_context(tempfile.TemporaryDirectory()))
        scratch.mkdir(exist_ok=True)
        exported = Exported(config, model, scratch)
        browser = None
        for norm, tile, form in (
            (norm, tile, form) for norm in norms for tile in tiles for form in formats
        ):
            path = exported.file(norm, tile, form)
            facts = exported.facts(path, tile)
            for runtime in runtimes:
                if runtime == "browser" and browser is None:
                    browser = stack.enter_context(Browser(scratch))
                for size in megapixels:
                    way = browser if runtime == "browser" else interpreted
                    row = {
                        "date": date.today().isoformat(),
                        "processor": processor(),
                        "cores": os.cpu_count(),
                        **dict(zip(KEYS, (model.stem, norm, form, tile, runtime, f"{size:g}"))),
                        "photos": config.photos,
                        **facts,
                        **whole_photos(config, exported, way, path, size),
                    }
                    append_row(Path(config.csv), COLUMNS, row)
                    print("  ".join(f"{key}={value}" for key, value in row.items()), flush=True)
    replace_tables(Path(config.document), list(lines(read_rows(Path(config.csv)))), "measured")


def chosen(config, key):
    """The values of one of `CHOICES`."""
    text = getattr(config, key)
    values = text.split(",")
    if not set(values) <= set(CHOICES[key]):
        raise UserError(f"{key}={text}: expected some of {','.join(CHOICES[key])}")
    return values


def numbers(config, key, least):
    """The numbers of a setting, of the type of `least`."""
    text = getattr(config, key)
    try:
        values = [type(least)(value) for value in text.split(",")]
    except ValueError:
        values = []
    if not values or not all(least <= value < float("inf") for value in values):
        raise UserError(
            f"{key}={text}: expected {type(least).__name__} numbers of at least {least}, with "
            "commas between them"
        )
    return values


class Exported:
    """Exported files of one model, and Keras's results with it.

    Args:
        config: `Settings`.
        model: path of the model.
        folder: folder for both. Their names have hashes of the model and of the photos.
    """

    def __init__(self, config, model, folder):
        self.config, self.model, self.folder = config, model, folder
        self.generator = load_generator(model)
        weights = b"".join(np.ascontiguousarray(w).tobytes() for w in self.generator.get_weights())
        self.mark = hashlib.sha256(weights).hexdigest()[:8]
        calibration = config.calibration_dir or sample_folders().source
        self.calibration = digest(*find_pictures(calibration, "calibration_dir"))[:8]
        self.paths = find_pictures(config.data, "data")
        if config.photos > len(self.paths):
            raise UserError(f"photos={config.photos}: {config.data} has only {len(self.paths)}")
        self.converters = {}

    def file(self, norm, tile, form):
        """Path of a .tflite file. If it is missing, makes it, with the JSON file beside it."""
        path = self.folder / f"{self.mark}_{self.calibration}_{norm}_{tile}_{form}.tflite"
        if not path.exists():
            if (norm, tile) not in self.converters:
                self.converters[norm, tile] = self.converter(norm, tile)
            content = self.converters[norm, tile](form)
            described = ("float32", self.shape(tile), content, self.generator)
            text = json.dumps(describe(self.model.stem, form, norm, *described))
            path.with_suffix(".json").write_text(text)
            path.write_bytes(content)
        return path

    def converter(self, norm, tile):
        asked = ExportConfig(
            calibration_dir=self.config.calibration_dir, val_dir=self.config.data, export_norm=norm
        )
        calibration, _ = find_photos(asked, quantizes=True)
        affines = frozen_affines(self.generator, calibration) if norm == "frozen" else None
        ready = portable(self.generator, affines)
        return Converter(ready, self.shape(tile), calibration, norm == "adaptive")

    @staticmethod
    def shape(tile):
        return (tile, tile) if tile else None

    @staticmethod
    def facts(path, tile):
        """Columns that need no photo. A graph for any size is measured at 256×256."""
        graph, probed = read_graph(path.read_bytes()), measure(path, tile or 256, tile or 256)
        return {
            "bytes": path.stat().st_size,
            "tile_memory": f"{probed['bytes'] / 1e9:.3f}",
            "whole": probed["delegated"],
            "rank": graph.largest_rank,
            "dynamic": len(graph.dynamic),
        }

    def photo(self, number, size):
        """One photo of the folder, resized to `size` megapixels, (H, W, 3) uint8."""
        return resized(Image.fromarray(read_photo(self.paths[number]).pixels), size)

    def expected(self, number, size):
        """Keras's result for this photo, uint16; in one pass if memory allows."""
        path = self.folder / f"{self.mark}_{digest(self.paths[number])[:8]}_{size:g}.npy"
        if not path.exists():
            enhancer = Enhancer(self.generator, choose_runtime("keras"), reflect=False)
            photo = self.photo(number, size).astype(np.uint16) * 257
            np.save(path, enhancer(photo, enhancer.plan(photo, "auto", "auto")))
        return np.load(path)


def whole_photos(config, exported, way, path, size):
    """Columns that need whole photos."""
    psnrs, peaks, rates = [], [], []
    for number in range(config.photos):
        photo = exported.photo(number, size)
        found, seconds, peak = way(path, photo)
        psnrs.append(errors(found, exported.expected(number, size))[0])
        peaks.append(peak)
        rates.append(seconds / (photo.size / 3e6))
    return {
        "psnr": f"{min(psnrs):.1f}",
        "seconds_per_megapixel": f"{np.mean(rates):.2f}",
        "peak_memory": f"{max(peaks):.3f}",
    }


def interpreted(path, photo):
    """Runs `test_model.py` on a photo. Returns result (uint16), processor seconds, peak GB."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "photo.png")
        file.write_bytes(png_encode(photo.astype(np.uint16) * 257, level=1))
        options = (f"model={path}", f"input={file}", f"output={folder}", f"memory_limit={LIMIT}")
        found, seconds = timed(["test_model.py", *options])
        result = png_decode(Path(folder, "photo_enhanced.png").read_bytes())
    return result, seconds - started(), found["peak"]


@functools.cache
def started():
    """Processor seconds of a `test_model.py` that does nothing."""
    return timed(["test_model.py", "--help"])[1]


def timed(command):
    """What `run` returns for a command, and its processor seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = run(command)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if found["status"]:
        raise UserError(f"test_model.py: {found['errors']}")
    return found, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


class Browser:
    """The page in headless Chromium. A call enhances a photo.

    Args:
        scratch: folder for the page.
    """

    def __init__(self, scratch):
        self.scratch = scratch

    def __enter__(self):
        from playwright.sync_api import sync_playwright

        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=self.scratch)))
            self.site = folder / "site"
            bundle(folder / "npm", self.site)
            (self.site / "model").mkdir()
            handler = functools.partial(Silent, directory=self.site)
            server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
            driver = stack.enter_context(sync_playwright())
            options = ["--no-sandbox", "--disable-gpu"]
            chromium = driver.chromium.launch(
                executable_path=shutil.which("chromium"), args=options
            )
            self.tab = chromium.new_page()
            self.address = f"http://127.0.0.1:{server.server_port}/"
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self.stack.close()

    def __call__(self, path, photo):
        for suffix in (".tflite", ".json"):
            shutil.copy(path.with_suffix(suffix), self.site / "model" / f"wasm{suffix}")
        file = self.site.parent / "photo.png"
        file.write_bytes(png_encode(photo, level=1))
        tab = self.tab
        tab.goto(self.address)
        tab.set_input_files("#file", file)
        tab.wait_for_selector("#png:visible, #message:visible", timeout=0)
        if tab.locator("#message").is_visible():
            raise UserError(f"the page: {tab.locator('#message').inner_text()}")
        told = tab.evaluate("({...document.body.dataset})")
        if told["accelerated"] != "true":
            print(f"{path.name}: the browser's fast kernels do not take all of it")
        with tab.expect_download(timeout=0) as waited:
            tab.click("#png")
        with Image.open(waited.value.path()) as picture:
            found = np.asarray(picture.convert("RGB")).astype(np.uint16) * 257
        return found, float(told["seconds"]), int(told["heap"]) / 1e9


class Silent(http.server.SimpleHTTPRequestHandler):
    """Serves a folder without log messages."""

    def log_message(self, *_):
        pass


def lines(rows):
    """Lines of Markdown: the latest row of every way. Times are relative to float32's."""
    latest = {tuple(row[key] for key in KEYS): row for row in rows}
    seconds = {
        key: float(row["seconds_per_megapixel"])
        for key, row in latest.items()
        if row["seconds_per_megapixel"]
    }
    yield "| model | norm | format | tile | runtime | MP | MB | PSNR dB | peak GB | time |"
    yield "|---|---|---|---:|---|---:|---:|---:|---:|---:|"
    for key, row in sorted(latest.items(), key=lambda item: (*item[0][:5], float(item[0][5]))):
        plain = (key[0], "adaptive", "float32", "256", *key[4:])
        time = f"{seconds[key] / seconds[plain]:.2f}" if {key, plain} <= seconds.keys() else ""
        cells = (*key, f"{int(row['bytes']) / 1e6:.3f}", row["psnr"], row["peak_memory"], time)
        yield f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main.run()
