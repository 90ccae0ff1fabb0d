"""The command `export_tflite.py`: files for phones, verified."""

import contextlib
import io
import json
import shutil
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.tools import flatbuffer_utils
from PIL import Image

from tests.shared import SHARED, needs_shared
from wespe_tf import Discriminator, Generator
from wespe_tf.enhance import cli as enhance
from wespe_tf.enhance.litert import LiteRTEnhancer, LiteRTModel
from wespe_tf.enhance.memory import limit_needed
from wespe_tf.enhance.runtimes import choose_runtime
from wespe_tf.enhance.tiles import Enhancer
from wespe_tf.errors import UserError
from wespe_tf.export import cli, photos, verification
from wespe_tf.export import export as module
from wespe_tf.export.conversion import FORMATS, Converter
from wespe_tf.export.graph import Graph
from wespe_tf.export.portable import portable
from wespe_tf.models.staged import Staged, affine, norms
from wespe_tf.weights.generator import load_generator

LIVE = ("export_norm=live",)
MEASURED = ("format", "bytes", "psnr", "difference", "seconds", "multiply_adds", "operators", "gpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make_folder):
    """A tiny generator `mine`, photos to calibrate and other photos to verify."""
    keras.utils.set_random_seed(1)
    model = Generator(width=8, blocks=1, init="identity")
    model.build((None, None, None, 3))
    kernel = model.to_rgb.kernel
    kernel.assign(kernel + np.random.default_rng(0).normal(0, 2e-3, kernel.shape))
    root = tmp_path_factory.mktemp("export")
    (root / "models" / "mine").mkdir(parents=True)
    model.save(root / "models" / "mine" / "generator.keras")
    make_folder(root / "calibration", 2, (50, 64), seed=1)
    make_folder(root / "val", 2, (60, 70), seed=2)
    make_folder(root / "good", 2, (60, 70), seed=3)
    return root


@pytest.fixture(autouse=True)
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(module, "SIZES", ((48, 64), (37, 51)))


def export(monkeypatch, *arguments):
    own = ("model=mine", "calibration_dir=calibration", "val_dir=val")
    monkeypatch.setattr(sys, "argv", ["export_tflite.py", *own, *arguments])
    cli.command()


@pytest.fixture
def run(monkeypatch, capsys):
    """Function that runs the command and returns its printed lines."""

    def call(*arguments):
        export(monkeypatch, *arguments)
        return capsys.readouterr().out.splitlines()

    return call


@pytest.fixture
def refused(monkeypatch, capsys):
    """Function that runs the command, which fails, and returns its one line of error."""

    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            export(monkeypatch, *arguments)
        assert ended.value.code == 2
        lines = capsys.readouterr().err.splitlines()
        (line,) = [line for line in lines if line.startswith("error: ")]
        return line.removeprefix("error: ")

    return call


def names(folder):
    return {path.name for path in Path(folder).iterdir()}


@pytest.mark.slow
class TestFiles:
    @pytest.fixture(scope="class")
    def printed(self, folder):
        """What exporting all formats, of any size, prints; the files are in `all`."""
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            patch.setattr(module, "SIZES", ((48, 64), (37, 51)))
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                export(patch, "output=all")
        return printed.getvalue()

    def test_every_format_a_description_and_the_table(self, printed):
        assert names("all") == {
            *(f"mine_{form}{suffix}" for form in FORMATS for suffix in (".tflite", ".json")),
            "mine_export.md",
            "mine_export.json",
        }
        sizes = [Path(f"all/mine_{form}.tflite").stat().st_size for form in FORMATS]
        assert sizes[0] > sizes[1] and sizes[0] > sizes[2]
        assert Path("all/mine_export.md").read_text() in printed

    def test_the_table_says_what_was_measured(self, printed):
        report = json.loads(Path("all/mine_export.json").read_text())
        assert [entry["format"] for entry in report["files"]] == list(FORMATS)
        for entry in report["files"]:
            assert all(entry[key] for key in MEASURED), entry
            assert entry["psnr"] >= verification.BOUNDS[entry["format"]]
            assert entry["failures"] == []
            assert "GPU" in entry["gpu"]
            assert f"| {entry['format']} | " in printed
            assert entry["multiply_adds"] == 1e6 * (2 * 81 * 3 * 8 + 4 * 9 * 8 * 8)

    @pytest.mark.parametrize("form", FORMATS)
    def test_files_compute_what_they_are_said_to(self, printed, form, make_photo):
        """Measured again here, with another photo of another size."""
        described = json.loads(Path(f"all/mine_{form}.json").read_text())
        assert described["input"]["shape"] == [1, None, None, 3]
        interpreter = Interpreter(f"all/mine_{form}.tflite")
        picture = make_photo(45, 59, 9).astype(np.float32)[None] / 255
        (details,) = interpreter.get_input_details()
        assert details["name"] == described["input"]["name"] == "photo"
        interpreter.resize_tensor_input(details["index"], picture.shape)
        interpreter.allocate_tensors()
        call = interpreter.get_signature_runner(described["signature"])
        found = call(photo=picture)[described["output"]["name"]]
        expected = keras.ops.convert_to_numpy(load_generator("mine")(picture))
        psnr = -10 * np.log10(np.mean((found - expected) ** 2))
        assert psnr >= verification.BOUNDS[form]

    def test_says_what_takes_the_graph_whole(self, printed):
        files = json.loads(Path("all/mine_export.json").read_text())["files"]
        assert {entry["format"]: entry["in_browser"] for entry in files} == {
            **{"float32": True, "float16": False, "dynamic": True, "int8": True}
        }
        assert all(entry["delegated"] for entry in files)
        assert printed.count("takes every operator, in LiteRT.js too") == 3
        assert printed.count("takes every operator, but not in LiteRT.js") == 1

    @pytest.mark.parametrize("form", FORMATS)
    def test_weights_lie_where_the_format_wants_them(self, printed, form):
        """At multiples of 16 bytes; the ends of 8-bit files are in float32."""
        content = np.fromfile(f"all/mine_{form}.tflite", np.uint8)
        model = schema.Model.GetRootAs(content)
        held = [model.Buffers(k).DataAsNumpy() for k in range(model.BuffersLength())]
        held = [values for values in held if isinstance(values, np.ndarray)]
        assert all((values.ctypes.data - content.ctypes.data) % 16 == 0 for values in held)
        ends = [values.size for values in held if values.size >= 81 * 3 * 8]
        if form != "float32":  # whose other kernels are as large
            assert ends == [81 * 3 * 8 * (2 if form == "float16" else 4)] * 2

    def test_int8_computes_in_8_bits(self, printed):
        interpreter = Interpreter("all/mine_int8.tflite")
        kinds = [tensor["dtype"] for tensor in interpreter.get_tensor_details()]
        weights = [t for t in interpreter.get_tensor_details() if tuple(t["shape"]) == (8, 3, 3, 8)]
        # The last two kernels are equal: without what passes through, nothing is left of them.
        assert kinds.count(np.int8) >= 8 and len(weights) == 3
        for tensor in weights:
            assert tensor["dtype"] == np.int8
            assert len(tensor["quantization_parameters"]["scales"]) == 8

    def test_photos_enhanced_with_a_file(self, printed, monkeypatch, capsys, make_photo):
        photo = make_photo(45, 59, 9)
        Image.fromarray(photo).save("photo.png")
        arguments = ["model=all/mine_float32.tflite", "input=photo.png", "output=out"]
        monkeypatch.setattr(sys, "argv", ["test_model.py", "runtime=tflite", *arguments])
        enhance.command()
        assert "photo.png: 59×45   whole   tflite   " in capsys.readouterr().out
        with Image.open("out/photo_enhanced.png") as picture:
            found = np.asarray(picture).astype(int)
        expected = Enhancer(load_generator("mine"), choose_runtime("keras"), reflect=False)(photo)
        assert np.abs(found - expected).max() <= 1 and (found != expected).mean() < 0.01

    def test_what_is_there_is_kept(self, printed, run, refused):
        shutil.copytree("all", "kept")
        before = Path("kept/mine_float32.tflite").stat().st_mtime_ns
        line = refused("output=kept", "formats=float32")
        assert line == (
            "kept/mine_export.md: exists already and was kept; overwrite=true replaces it"
        )
        assert Path("kept/mine_float32.tflite").stat().st_mtime_ns == before
        run("output=kept", "formats=float32", "overwrite=true")
        assert Path("kept/mine_float32.tflite").stat().st_mtime_ns > before


@pytest.mark.slow
class TestAdaptive:
    """The default of a fixed shape: tiles, and norms that are told of the whole photo."""

    @pytest.fixture(scope="class")
    def report(self, folder):
        """The report of all formats with bytes in and out, and how often a graph was converted."""
        conversions, convert = [], tf.lite.TFLiteConverter.from_saved_model

        def counted(*arguments, **options):
            conversions.append(options["signature_keys"])
            return convert(*arguments, **options)

        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            patch.setattr(tf.lite.TFLiteConverter, "from_saved_model", counted)
            with contextlib.redirect_stdout(io.StringIO()):
                export(patch, "output=adaptive", "io=uint8", "height=64", "width=56")
            done = len(conversions)
            twin = Converter(portable(load_generator("mine")), (64, 56), adaptive=True)
            Path("adaptive/twin.tflite").write_bytes(twin("float32"))
            shutil.copy("adaptive/mine_float32.json", "adaptive/twin.json")
        return json.loads(Path(folder / "adaptive/mine_export.json").read_text()), conversions[
            :done
        ]

    def test_three_conversions_for_all_formats(self, report):
        """Of bytes, of floats to compare with, and of free shape to calibrate."""
        assert report[1] == [["enhance", "measure"]] * 3

    def test_whole_photos_are_part_of_the_verdict(self, report):
        assert report[0]["norm"] == "adaptive"
        for entry in report[0]["files"]:
            assert entry["whole"] >= verification.WHOLE_BOUNDS[entry["format"]]
            assert entry["multiply_adds"] == 1e6 * (2 * 81 * 3 * 8 + 4 * 9 * 8 * 8)
            # XNNPACK has no conversions from and to bytes.
            assert not entry["delegated"] and not entry["in_browser"]
            assert entry["rounded"] >= 0.999

    def test_weights_are_there_once(self, report):
        model = flatbuffer_utils.read_model("adaptive/mine_float32.tflite")
        kernels = [bytes(b.data) for b in model.buffers if b.data is not None and len(b.data) > 999]
        # The last two kernels are equal: without what passes through, nothing is left of them.
        assert len(kernels) == len(set(kernels)) == 5

    def test_the_steps_of_an_app(self, report, make_photo):
        """Those of docs/PHONES.md and its listings; no code of ours runs the file."""
        photo = make_photo(150, 130, 5)
        described = json.loads(Path("adaptive/mine_float16.json").read_text())
        interpreter = Interpreter("adaptive/mine_float16.tflite")
        measure = interpreter.get_signature_runner(described["measure"]["signature"])
        count, side = described["measure"]["input"]["shape"][:2]
        corners = [
            (int(down * (150 - side + 1)), int(right * (130 - side + 1)))
            for down, right in described["measure"]["places"]
        ]
        found = [
            measure(
                patches=np.stack(
                    [photo[y : y + side, x : x + side] for y, x in corners[k:][:count]]
                )
            )
            for k in range(0, len(corners), count)
        ]
        means, variances = (np.stack([f[name] for f in found]) for name in ("mean", "variance"))
        mean, variance = means.mean(axis=0), variances.mean(axis=0) + means.var(axis=0)
        enhance_tile = interpreter.get_signature_runner(described["signature"])
        _, height, width, _ = described["input"]["shape"]
        margin, result = described["margin"], np.zeros_like(photo)
        for top in [*range(0, 150 - height, height - 2 * margin), 150 - height]:
            for left in [*range(0, 130 - width, width - 2 * margin), 130 - width]:
                tile = photo[None, top : top + height, left : left + width]
                enhanced = enhance_tile(photo=tile, mean=mean, variance=variance)["enhanced"][0]
                y, x = margin * (top > 0), margin * (left > 0)
                result[top + y : top + height, left + x : left + width] = enhanced[y:, x:]
        Image.fromarray(photo).save("steps.png")
        enhance.main(["model=adaptive/mine_float16.tflite", "input=steps.png", "output=steps"])
        with Image.open("steps/steps_enhanced.png") as picture:
            assert np.abs(np.asarray(picture).astype(int) - result).max() <= 1
        whole = Enhancer(load_generator("mine"), choose_runtime("keras"), reflect=False)(photo)
        error = (result.astype(float) - whole) / 255
        assert -10 * np.log10(np.mean(error**2)) > 38

    @pytest.mark.parametrize("size", [(20, 30), (64, 56), (50, 200)])
    def test_photos_smaller_than_a_tile_are_continued(self, report, make_photo, size):
        model = LiteRTModel("adaptive/mine_float32.tflite")
        photo = make_photo(*size, 6)
        result = np.empty_like(photo)
        enhancer = LiteRTEnhancer("adaptive/mine_float32.tflite")
        enhancer(photo, enhancer.plan(photo, "auto", 1.5), result)
        expected = Enhancer(load_generator("mine"), choose_runtime("keras"))(photo)
        assert np.abs(result.astype(int) - expected).mean() < 3
        assert model.adaptive and model.shape == (64, 56)

    def test_a_tile_is_all_that_must_fit(self, report, make_photo):
        """The patches of `measure` have more pixels than this tile, but take less memory."""
        photo = make_photo(150, 130, 5)
        enhancer = LiteRTEnhancer("adaptive/mine_float32.tflite")
        enough = limit_needed(photo.nbytes, 64 * 56 * enhancer.bytes_per_pixel)
        assert enhancer.plan(photo, "auto", enough + 1e-6).mode == "streamed"
        with pytest.raises(UserError, match="too little for 130×150 pixels"):
            enhancer.plan(photo, "auto", enough - 1e-3)

    def test_no_seams(self, report, make_photo):
        """Tiles are what one pass with the same moments gives, by the Keras model."""
        photo = make_photo(90, 200, 7).astype(np.float32) / 255
        model, generator = LiteRTModel("adaptive/twin.tflite"), load_generator("mine")
        moments = [m[0, :, 0] for m in model.measure(photo)]
        affines = np.stack([affine(*each) for each in zip(norms(generator), *moments)])
        expected = Staged(generator)([photo[None], affines[None]])
        np.testing.assert_allclose(model(photo[None]), expected, atol=2e-5)

    def test_without_its_description(self, report, tmp_path, refused_to_run):
        shutil.copy("adaptive/mine_float32.tflite", tmp_path / "a.tflite")
        assert refused_to_run(tmp_path / "a.tflite") == (
            f"{tmp_path}/a.json: missing; it says how a.tflite measures a photo"
        )
        (tmp_path / "a.json").write_text('{"tiles_exact": true, "margin": 12}')
        assert refused_to_run(tmp_path / "a.tflite") == (
            f"{tmp_path}/a.json: expected tiles_exact and margin of a.tflite, and where its "
            "patches lie"
        )

    @pytest.fixture
    def refused_to_run(self):
        def call(path):
            with pytest.raises(UserError) as caught:
                LiteRTModel(path)
            return str(caught.value)

        return call

    def test_tiles_that_are_all_margin(self, refused):
        line = refused("height=24", "width=64", "output=bad")
        assert line.startswith("height=24 width=64: expected tiles of at least 25 pixels")

    def test_norms_that_do_not_look_at_the_photo(self, refused):
        model = Generator(width=8, blocks=1, norm="none")
        model.build((None, None, None, 3))
        model.save("local.keras")
        line = refused("model=local.keras", "export_norm=adaptive", "output=bad")
        assert line.endswith("expected export_norm=live, which works in tiles")


@pytest.mark.slow
class TestBytes:
    def test_a_bitmap_in_and_a_bitmap_out(self, run, make_photo):
        run("output=app", "formats=float16", "io=uint8", "height=48", "width=64", *LIVE)
        described = json.loads(Path("app/mine_float16.json").read_text())
        _, height, width, _ = described["input"]["shape"]
        bitmap = make_photo(height, width, 4)
        interpreter = Interpreter("app/mine_float16.tflite")
        interpreter.allocate_tensors()
        index = interpreter.get_input_details()[0]["index"]
        interpreter.set_tensor(
            index,
            np.frombuffer(bitmap.tobytes(), np.uint8)[None].reshape(described["input"]["shape"]),
        )
        interpreter.invoke()
        found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        assert found.dtype == np.uint8
        expected = Enhancer(load_generator("mine"), choose_runtime("keras"), reflect=False)(bitmap)
        assert np.abs(found[0].astype(int) - expected).max() <= 1
        assert Image.frombytes("RGB", (width, height), found.tobytes()).size == (64, 48)
        entry = json.loads(Path("app/mine_export.json").read_text())["files"][0]
        assert entry["rounded"] >= 0.999


@pytest.mark.parametrize(
    "norm, blocks, exact",
    [
        ("instance", 1, False),
        ("layer", 1, False),
        ("batch", 1, True),
        ("none", 1, True),
        ("instance", 0, True),
    ],
)
def test_tiles_are_exact_where_no_norm_measures_the_photo(norm, blocks, exact):
    model = Generator(width=8, blocks=blocks, norm=norm)
    described = module.describe("mine", "float32", "live", "float32", None, b"", model)
    assert described["tiles_exact"] is exact


@pytest.mark.slow
class TestNorm:
    def test_frozen_norms_and_what_they_cost(self, run, make_photo):
        lines = run("output=frozen", "formats=float32", "export_norm=frozen", "val_target_dir=good")
        cost = json.loads(Path("frozen/mine_export.json").read_text())["frozen_norm"]
        assert cost["cost"] == pytest.approx(cost["psnr_live"] - cost["psnr_frozen"])
        assert f"it costs {cost['cost']:.2f} dB" in "\n".join(lines)
        described = json.loads(Path("frozen/mine_float32.json").read_text())
        assert described["tiles_exact"] is True and described["margin"] == 12

    def test_the_sample_by_default(self, run, monkeypatch):
        monkeypatch.setattr(photos, "MOST_VAL_PHOTOS", 2)
        monkeypatch.setattr(sys, "argv", ["x", "model=mine", "output=default", "formats=int8"])
        cli.command()
        assert "mine_int8.tflite" in names("default")


class TestVerification:
    @pytest.mark.slow
    def test_below_its_bound_an_export_fails_with_the_table(self, refused, monkeypatch, capsys):
        monkeypatch.setitem(verification.BOUNDS, "float16", 200.0)
        with pytest.raises(SystemExit):
            export(monkeypatch, "output=low", "formats=float16")
        printed = capsys.readouterr()
        assert "| float16 | " in printed.out
        assert "error: float16: PSNR " in printed.err and "expected at least 200" in printed.err
        assert names("low") == set()

    @pytest.mark.slow
    def test_force_writes_all_the_same(self, run, monkeypatch):
        monkeypatch.setitem(verification.BOUNDS, "float16", 200.0)
        run("output=forced", "formats=float16", "force=true")
        (entry,) = json.loads(Path("forced/mine_export.json").read_text())["files"]
        assert len(entry["failures"]) == 1 and "mine_float16.tflite" in names("forced")

    def test_numbers_that_are_none_fail(self):
        bad = np.full((2, 2, 3), np.nan)
        result = verification.Verification(
            "float32", 1, float("nan"), 30.0, 0, None, False, False, 1, 1, 1, {}, "", []
        )
        assert np.isnan(verification.reference_psnr([bad], [bad]))
        graph = Graph({}, 5, ["SHAPE"], 1, False)
        assert verification._failures(result, graph, fixed=True) == [
            "PSNR nan dB, expected at least 90",
            "whole photos 30.0 dB, expected at least 38",
            "a tensor of rank 5, expected at most 4",
            "SHAPE has a dynamic shape, expected a fixed graph",
        ]


class TestBadInput:
    def test_not_a_generator(self, refused):
        discriminator = Discriminator(width_multiplier=0.1)
        discriminator.build((None, 32, 32, 3))
        discriminator.save("judge.keras")
        line = refused("model=judge.keras", "output=bad")
        assert line.startswith("model=judge.keras: holds 'wespe_tf>Discriminator', expected")
        Path("other.tflite").write_bytes(b"x")
        assert "not a readable .keras file" in refused("model=other.tflite", "output=bad")
        assert not Path("bad").exists()

    def test_no_calibration_photos(self, refused):
        Path("empty").mkdir(exist_ok=True)
        line = refused("calibration_dir=empty", "formats=int8", "output=bad")
        assert line.startswith("calibration_dir: no pictures (")
        line = refused("calibration_dir=gone", "export_norm=frozen", "output=bad")
        assert line == "calibration_dir: no folder gone"
        assert not Path("bad").exists()

    def test_photos_that_calibrate_verify_nothing(self, refused):
        line = refused("val_dir=calibration", "formats=int8", "output=bad")
        assert line == (
            "val_dir: calibration/0.png equals calibration/0.png, which is used for calibration"
        )

    @pytest.mark.parametrize(
        "shape, said",
        [
            (["height=48"], "height=48 width=0: expected both, or neither for any size"),
            (["height=-3"], "height=-3: expected at least 0"),
            (
                ["height=90000", "width=90000"],
                "the graph's tensors cannot take more than 268435455",
            ),
        ],
    )
    def test_shapes_that_no_graph_can_take(self, refused, shape, said):
        assert said in refused(*shape, "output=bad")
        assert not Path("bad").exists()

    def test_formats(self, refused):
        line = refused("formats=float32,int4", "output=bad")
        assert line == "formats=float32,int4: expected some of float32,float16,dynamic,int8"

    def test_output_that_cannot_be_made(self, refused):
        Path("taken").write_text("a file")
        assert refused("output=taken").startswith("output=taken: cannot be made (")

    def test_targets_without_photos(self, refused):
        line = refused("val_dir=none", "val_target_dir=good", "output=bad")
        assert line == "val_target_dir: needs val_dir too"
        line = refused("val_target_dir=good", "output=bad")
        assert line == "val_target_dir: needs export_norm=frozen, whose cost it scores"


@pytest.mark.slow
@needs_shared
def test_the_authors_model_on_photos_not_used_to_calibrate(run, monkeypatch):
    bench = SHARED / "phone_bench"
    for folder in ("photos", "others"):
        Path(folder).mkdir()
    with Image.open(bench / "val_phone" / "21.jpg") as photo:
        photo.reduce(3).save("photos/21.png")
    for path in sorted((bench / "source").iterdir())[:5]:
        shutil.copy(path, "others")
    run(
        f"model={SHARED / 'checkpoints' / 'dped' / 'iphone_orig'}",
        "calibration_dir=others",
        "val_dir=photos",
        "output=authors",
        "formats=float16,int8",
        *("height=192", "width=256"),
    )
    sizes = {
        form: Path(f"authors/iphone_orig_{form}.tflite").stat().st_size
        for form in ("float16", "int8")
    }
    assert sizes["float16"] <= 0.9e6 and sizes["int8"] <= 0.55e6


@pytest.mark.slow
def test_the_trained_model_on_the_samples_photos(tmp_path, monkeypatch):
    """Without settings for model and photos. The sample's photos are smaller than two tiles."""
    monkeypatch.chdir(tmp_path)
    settings = ("output=files", "formats=float16", "height=256", "width=256")
    monkeypatch.setattr(sys, "argv", ["export_tflite.py", *settings])
    cli.command()
    assert "phone_bench_float16.tflite" in names("files")
