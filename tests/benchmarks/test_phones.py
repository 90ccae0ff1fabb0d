"""Measuring exported files: the table, what is kept for later runs, and wrong settings."""

import numpy as np
import pytest

from benchmarks import phones
from benchmarks.phones import KEYS, Exported, Settings, lines
from tests.generators import save_as_run, toned_generator
from wespe_tf.errors import UserError


def row(form, runtime, megapixels, seconds, psnr="50.0"):
    values = ("m", "adaptive", form, "256", runtime, megapixels)
    figures = {"bytes": "547200", "psnr": psnr, "seconds_per_megapixel": seconds}
    return dict(zip(KEYS, values)) | figures | {"peak_memory": "1.2"}


def test_the_latest_row_of_every_way_with_times_of_its_own_runtime_and_size():
    rows = [
        row("int8", "interpreter", "12", "4"),
        row("int8", "interpreter", "3", "9", "40.0"),
        row("int8", "interpreter", "3", "5"),
        row("float32", "interpreter", "3", "10"),
        row("int8", "browser", "3", "6"),
    ]
    assert list(lines(rows))[2:] == [
        "| m | adaptive | float32 | 256 | interpreter | 3 | 0.547 | 50.0 | 1.2 | 1.00 |",
        "| m | adaptive | int8 | 256 | browser | 3 | 0.547 | 50.0 | 1.2 |  |",
        "| m | adaptive | int8 | 256 | interpreter | 3 | 0.547 | 50.0 | 1.2 | 0.50 |",
        "| m | adaptive | int8 | 256 | interpreter | 12 | 0.547 | 50.0 | 1.2 |  |",
    ]


@pytest.mark.parametrize(
    "key, values",
    [
        ("norms", "adaptive,live,frozen"),
        ("formats", "float32,float16,dynamic,int8"),
        ("runtimes", "interpreter,browser"),
    ],
)
def test_an_unknown_way_is_refused(key, values):
    with pytest.raises(UserError, match=f"^{key}=int4: expected some of {values}$"):
        phones.main(["data=photos", f"{key}=int4"])


@pytest.mark.parametrize(
    "asked, message",
    [
        ("tiles=abc", "tiles=abc: expected int numbers of at least 0, with commas between them"),
        ("megapixels=0", "megapixels=0: expected float numbers of at least 0.01, with commas"),
        ("megapixels=3,inf", "megapixels=3,inf: expected float numbers"),
        ("photos=2", "photos=2: .*photos has only 1"),
    ],
)
def test_a_wrong_number_is_refused(tmp_path, make_folder, asked, message):
    save_as_run(toned_generator(0), tmp_path)
    data = make_folder(tmp_path / "photos", 1)
    model = tmp_path / "models" / "mine"
    with pytest.raises(UserError, match=f"^{message}"):
        phones.main([f"data={data}", f"model={model}", asked, "document="])


def test_what_is_kept_is_of_the_same_photos(tmp_path, make_folder, monkeypatch):
    save_as_run(toned_generator(0), tmp_path)
    monkeypatch.setattr(Exported, "converter", lambda *_: lambda form: b"")
    folders = [str(make_folder(tmp_path / f"photos{seed}", 1, seed=seed)) for seed in range(3)]
    results, files = [], set()
    for data, calibration in (folders[:2], [folders[2], folders[1]], [folders[0], folders[2]]):
        config = Settings(data=data, calibration_dir=calibration)
        exported = Exported(config, tmp_path / "models" / "mine" / "generator.keras", tmp_path)
        results.append(exported.expected(0, 0.0005))
        files.add(exported.file("adaptive", 256, "int8").name)
    assert np.array_equal(results[0], results[2]) and not np.array_equal(*results[:2])
    assert len(list(tmp_path.glob("*.npy"))) == 2 and len(files) == 2
