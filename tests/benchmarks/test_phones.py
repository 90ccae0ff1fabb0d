"""The table of exported files: latest rows, and times over those of float32 at the same size."""

from benchmarks.phones import KEYS, lines


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
