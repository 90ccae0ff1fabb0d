"""benchmarks/photos.py and photo_memory.py: what they measure, on photos of next to nothing."""

import numpy as np
import pytest
import skimage.metrics
from PIL import Image

from benchmarks import photo_memory, photos
from wespe_tf.errors import UserError
from wespe_tf.weights.generator import SHIPPED_MODEL


class TestWays:
    def test_what_a_processor_cannot_do_is_left_out(self, monkeypatch, capsys):
        def refuse(name, precision):
            if precision == "bfloat16":
                raise UserError("no units for it")

        monkeypatch.setattr(photos, "choose_runtime", refuse)
        ways = photos.able(photos.WAYS)
        assert len(ways) == 4 and all(way[1] == "float32" for way in ways)
        assert "left out: openvino/bfloat16/streamed (no units for it)" in capsys.readouterr().out

    def test_a_way_is_measured(self, tmp_path, make_photo):
        np.save(tmp_path / "photo.npy", make_photo(60, 70))
        found = photos.enhance_twice(tmp_path, SHIPPED_MODEL, "keras", "float32", "whole", 1.5)
        assert found["plan"] == "whole" and found["seconds"] > 0 and 0.1 < found["peak_memory"] < 20
        # One for every weight of the kernels, for a pixel: two of 9×9, ten of 3×3.
        assert found["multiplications"] == 2 * 81 * 3 * 64 + 10 * 9 * 64 * 64
        result = np.load(tmp_path / "result.npy")
        assert result.dtype == np.uint16 and result.shape == (60, 70, 3)

    def test_errors(self, rng):
        one, other = rng.integers(0, 65536, (2, 300, 20, 3)).astype(np.uint16)
        psnr, largest = photos.errors(one, other)
        assert psnr == pytest.approx(skimage.metrics.peak_signal_noise_ratio(one, other))
        assert largest == np.abs(one.astype(int) - other).max() / 65535

    @pytest.mark.parametrize("megapixels", [0.01, 0.3])
    def test_sizes(self, make_photo, megapixels):
        pixels = photos.resized(Image.fromarray(make_photo(60, 80)), megapixels)
        assert pixels.shape[0] * pixels.shape[1] / 1e6 == pytest.approx(megapixels, rel=0.02)


class TestMemory:
    def test_early_and_late(self):
        resident = [9.0] * 5 + [1.0] * 12 + [5.0] * 11 + [2.0] * 12
        assert photo_memory.early_and_late(resident) == ("1.000", "2.000")

    def test_of_this_process(self):
        before = photo_memory.memory("self", "VmRSS")
        held = np.ones(12_500_000)
        after = photo_memory.memory("self", "VmRSS")
        assert after - before == pytest.approx(held.nbytes / 1e9, abs=0.03)
        assert photo_memory.memory("self", "VmHWM") >= after

    @pytest.mark.slow
    def test_several_photos_in_one_command(self, make_photo):
        """Its last line names the broken one, else `measure` would refuse the exit status."""
        photo = Image.fromarray(make_photo(90, 120))
        row = photo_memory.measure(photo, SHIPPED_MODEL, 3, 0.01)
        assert (row["photos"], row["done"], row["status"]) == (3, 2, 1)
        # The peak is rounded to hundredths.
        assert 0.3 < float(row["late"]) <= float(row["peak_memory"]) + 0.005 < 1.5

    def test_the_latest_row_of_a_size_is_shown(self):
        row = {key: key for key in photo_memory.COLUMNS}
        table = list(photo_memory.lines([row, {**row, "peak_memory": "1.25"}]))
        assert len(table) == 3 and "| 1.25 | early | late |" in table[-1]
