"""The comparison with the authors' code, as far as it goes without their code."""

import types

import numpy as np
import pytest
from PIL import Image

from benchmarks import compare_reference
from benchmarks.public_codes import dped, report_code_theirs, vgg19, wespe_tf1_theirs
from benchmarks.public_codes.processes import check_checkout
from wespe_tf.data.dped import dped_folders
from wespe_tf.data.pairs import PairedPatches
from wespe_tf.errors import UserError, run_command
from wespe_tf.images.picture import to_uint8
from wespe_tf.models.discriminator import Discriminator
from wespe_tf.models.generator import Generator
from wespe_tf.weights.vgg import load_vgg

MODEL = "iphone_orig"


@pytest.fixture
def checkout(tmp_path):
    """A folder with the names of the authors' files."""
    folder = tmp_path / "checkout"
    (folder / "models_orig").mkdir(parents=True)
    weights = [f"models_orig/{MODEL}{end}" for end in (".index", ".data-00000-of-00001")]
    for name in (*dped.FILES, *weights):
        (folder / name).touch()
    return folder


class TestOneLine:
    def fail(self, monkeypatch, capsys, *arguments):
        """What the command prints on stderr."""
        monkeypatch.setattr("sys.argv", ["compare_reference.py", *arguments])
        with pytest.raises(SystemExit) as stop:
            run_command(compare_reference.main)
        assert stop.value.code == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        return printed.err

    def test_no_checkout(self, monkeypatch, capsys):
        line = self.fail(monkeypatch, capsys)
        assert line.startswith("error: reference=: missing") and line.count("\n") == 1

    def test_no_photos(self, monkeypatch, capsys, checkout):
        line = self.fail(monkeypatch, capsys, f"reference={checkout}", "photos=nowhere")
        assert line == "error: photos: no folder nowhere\n"

    @pytest.mark.parametrize(
        "key, theirs", [("report_code", report_code_theirs), ("wespe_tf1", wespe_tf1_theirs)]
    )
    def test_another_checkout(self, monkeypatch, capsys, checkout, key, theirs):
        line = self.fail(monkeypatch, capsys, f"{key}={checkout}")
        expected = f"error: {key}={checkout}: no checkout of github.com/{theirs.REPOSITORY}: no "
        assert line.startswith(f"{expected}{theirs.FILES[0]}, ") and line.count("\n") == 1

    @pytest.mark.parametrize(
        "key, theirs, package",
        [
            ("report_code", report_code_theirs, "torch"),
            ("wespe_tf1", wespe_tf1_theirs, "tf_keras"),
        ],
    )
    def test_missing_package(self, monkeypatch, capsys, tmp_path, key, theirs, package):
        for name in theirs.FILES:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        line = self.fail(monkeypatch, capsys, f"{key}={tmp_path}")
        assert f"{key}={tmp_path}: needs {package}; run: pip install " in line
        assert f'"{package}' in line and line.count("\n") == 1

    def test_too_short_a_training(self, monkeypatch, capsys):
        line = self.fail(monkeypatch, capsys, "iterations=3")
        assert line == "error: iterations=3: expected at least 4\n"


def test_checkout_without_a_file(checkout):
    check_checkout("reference", checkout, dped.REPOSITORY, dped.files_of(MODEL))
    (checkout / "ssim.py").unlink()
    with pytest.raises(UserError, match=r"DPED: no ssim\.py$"):
        check_checkout("reference", checkout, dped.REPOSITORY, dped.files_of(MODEL))


def test_checkout_without_the_model(checkout):
    with pytest.raises(UserError, match=r"no models_orig/sony_orig\.index, models_orig/sony"):
        check_checkout("reference", checkout, dped.REPOSITORY, dped.files_of("sony_orig"))


def test_unround_undoes_float16():
    values = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(dped.unround(np.float16(values) / 255), values)


def test_difference():
    one = np.zeros((2, 2, 3), np.float32)
    other = one.copy()
    other[0, 0, 1] = 0.5
    other[0, 1, 2] = 0.001  # not seen in 8 bits
    assert dped.difference(one, other) == pytest.approx((0.5, 0.501 / 12, 0.75))


def test_scratch_folder_and_patches(tmp_path, checkout, make_photo):
    photos = [tmp_path / name for name in ("b.jpg", "a.png")]
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    for photo in photos:
        Image.fromarray(make_photo(110, 130)).save(photo)
    dped.prepare(scratch, checkout, MODEL, photos)
    links = scratch / "dped" / "iphone" / "test_data" / "full_size_test_images"
    assert {link.name: link.resolve() for link in links.iterdir()} == {
        "0.jpg": photos[0].resolve(),
        "1.png": photos[1].resolve(),
    }

    for k in range(2):
        photo = np.float16(make_photo(110, 130, seed=k)) / 255
        both = np.hstack([photo, 1 - photo.astype(np.float32)])
        np.save(scratch / "visual_results" / f"{MODEL}_{k}_before_after.npy", both)
    pairs = [dped.load_theirs(scratch, MODEL, k) for k in range(2)]
    dped.make_patches(scratch, MODEL, [(photo, to_uint8(made)) for photo, made in pairs])
    assert dped_folders(scratch / "dped", "iphone").val_source is not None
    data = PairedPatches(scratch / "dped", "iphone", dped.PATCH_SIZE)
    assert len(data.train) == dped.TRAINING_PATCHES
    assert len(data.test) == dped.TEST_PATCHES
    phone, dslr = data.load(data.train[:4])
    # The same place of a picture and its negative, up to what JPEG does to them.
    apart = np.abs(phone.astype(int) + dslr.astype(int) - 255)
    assert apart.mean() < 5


def test_drawn_vgg_is_what_our_reader_reads(tmp_path, monkeypatch):
    monkeypatch.setattr(vgg19, "BLOCKS", vgg19.BLOCKS[:2])
    dped.provide_vgg(tmp_path / "vgg.mat", "")
    vgg = load_vgg("relu2_2", str(tmp_path / "vgg.mat"))
    kernel, bias = vgg.conv_layers()[-1].get_weights()
    assert kernel.shape == (3, 3, 128, 128) and not bias.any()
    assert np.std(kernel) == pytest.approx(np.sqrt(2 / 9 / 128), rel=0.01)


def test_assign_values_follows_the_order_in_which_the_authors_make_variables():
    generator = Generator(width=4, blocks=1)
    generator.build((None, None, None, 3))
    discriminator = Discriminator(width_multiplier=0.1, head="two_class_softmax")
    discriminator.build((None, 36, 36, 1))
    model = types.SimpleNamespace(generator=generator, discriminator=discriminator)
    values = {}
    for name, variable in compare_names(model):
        values[name] = np.full(variable.shape, len(values), np.float32)
    dped.assign_values(model, values)
    for name, variable in compare_names(model):
        np.testing.assert_array_equal(variable, values[name], err_msg=name)


def compare_names(model):
    """The authors' names of some variables at both ends, and all that `assign_values` needs."""
    convs, norms, denses = (getattr(model.discriminator, k) for k in ("convs", "norms", "denses"))
    (conv1, norm1, conv2, norm2), *_ = model.generator.residuals
    own = [model.generator.head, conv1, conv2, *model.generator.tail, model.generator.to_rgb]
    named = []
    for k, conv in enumerate(own, 1):
        named += [(f"generator/W{k}", conv.kernel), (f"generator/b{k}", conv.bias)]
    named += [("generator/Variable", norm1.shift), ("generator/Variable_1", norm1.scale)]
    named += [("generator/Variable_2", norm2.shift), ("generator/Variable_3", norm2.scale)]
    named += [
        ("discriminator/Variable", convs[0].kernel),
        ("discriminator/Variable_1", convs[0].bias),
    ]
    for k in range(1, 5):
        parts = (convs[k].kernel, convs[k].bias, norms[k].shift, norms[k].scale)
        named += [(f"discriminator/Variable_{4 * k - 2 + j}", v) for j, v in enumerate(parts)]
    for k, dense in enumerate(denses):
        named.append((f"discriminator/Variable_{18 + 2 * k}", dense.kernel))
        named.append((f"discriminator/Variable_{19 + 2 * k}", dense.bias))
    return named


def test_iterations_of():
    calls = []
    for k in range(2):
        calls.append({"name": "train_step_gen", "end": k, "losses": [k, 1, 2, 3, 4]})
        calls.append({"name": "train_step_disc", "end": k + 0.5, "losses": [5]})
        calls.append({"name": "enhanced", "end": k + 0.7, "losses": []})
    assert dped.iterations_of(calls) == {
        "losses": [[0, 1, 2, 3, 4, 5], [1, 1, 2, 3, 4, 5]],
        "ends": [0.5, 1.5],
    }


class TestTables:
    def test_photos(self):
        runs = (
            {"seconds": [3.0, 1.0, 2.0], "peak_memory": 4.0},
            {"seconds": [5.0], "peak_memory": 1.5},
        )
        differences = {
            "ours_float16": [(1e-6, 1e-7, 1.0), (2e-6, 3e-7, 0.5)],
            "ours": [(1e-3, 1e-4, 0.99), (5e-4, 2e-4, 0.99)],
        }
        assert dped.photo_table(*runs, differences)[2:] == [
            "| largest absolute difference |  | 2.00e-06 | 1.00e-03 |",
            "| mean absolute difference |  | 2.00e-07 | 1.50e-04 |",
            "| identical 8-bit pixels |  | 75.000% | 99.000% |",
            "| seconds, first photo | 3.0 |  | 5.0 |",
            "| seconds, median of others | 1.5 |  | – |",
            "| peak memory, GB | 4.00 |  | 1.50 |",
        ]

    def test_losses(self):
        lines = dped.loss_table([[2.0] * 6, [0.0] * 6], [[2.5] * 6, [0.0] * 6])
        assert len(lines) == 2 + 2 * len(dped.LOSSES)
        assert lines[2] == "| generator | 0 | 2 | 2.5 | 2.5e-01 |"
        assert lines[-1] == "| discriminator | 1 | 0 | 0 | 0.0e+00 |"

    def test_seconds_are_the_median_after_the_first_two_iterations(self):
        assert dped.seconds_per_iteration([0, 100, 101, 103, 106]) == 2.0
