"""Validation: fixed crops, baselines, metrics."""

import shutil

import numpy as np
import pytest
import skimage.metrics
from PIL import Image

from wespe_tf import Generator
from wespe_tf.data.crops import fixed_crops
from wespe_tf.data.folders import find_pairs
from wespe_tf.data.patches import PatchStream
from wespe_tf.enhance.runtimes import choose_runtime
from wespe_tf.enhance.tiles import Enhancer, enhance
from wespe_tf.errors import UserError
from wespe_tf.training.validation import Validation


def darker(picture, exponent=2.0):
    return np.rint(255 * (picture / 255) ** exponent).astype(np.uint8)


@pytest.fixture(scope="module")
def folders(tmp_path_factory, make_photo):
    """Folders of dark photos, of other photos, and of pairs of both kinds."""
    root = tmp_path_factory.mktemp("photos")
    for number in range(3):
        for side, photo in (
            ("source", darker(make_photo(60, 70, number))),
            ("target", make_photo(60, 70, 10 + number)),
            ("val_source", darker(make_photo(40, 50, 20 + number))),
            ("val_target", make_photo(40, 50, 20 + number)),
        ):
            (root / side).mkdir(exist_ok=True)
            Image.fromarray(photo).save(root / side / f"{number}.png")
    return root


@pytest.fixture
def data(folders, tmp_path):
    """A copy of these folders, to change at will."""
    return shutil.copytree(folders, tmp_path / "photos")


def read_streams(root):
    return tuple(PatchStream(root / side, 32, 0, side) for side in ("source", "target"))


@pytest.fixture
def streams(data):
    return read_streams(data)


@pytest.fixture(scope="module")
def paired(folders):
    return Validation(*read_streams(folders), folders / "val_source", folders / "val_target")


@pytest.fixture
def unpaired(streams):
    return Validation(*streams)


def mean_psnr(pictures, references):
    return np.mean(
        [
            skimage.metrics.peak_signal_noise_ratio(b, a, data_range=255)
            for a, b in zip(pictures, references)
        ]
    )


class TestPaired:
    def test_64_crops_of_pairs(self, paired):
        assert paired.paired
        assert paired.source.shape == paired.target.shape == (64, 40, 40, 3)
        np.testing.assert_array_equal(paired.source, darker(paired.target))

    def test_crops_are_the_same_whatever_the_training_seed(self, data, streams, paired):
        other = [PatchStream(data / side, 16, 5, side) for side in ("source", "target")]
        again = Validation(*other, data / "val_source", data / "val_target")
        np.testing.assert_array_equal(again.source, paired.source)

    @pytest.mark.parametrize("norm", ["instance", "none"])
    def test_crops_are_enhanced_like_their_photos(self, data, norm):
        """With other crops of the photo as context, a crop comes nearer to the whole photo's."""
        for path in (data / "val_source").iterdir():
            photo = np.asarray(Image.open(path)).copy()
            photo = np.tile(photo, (8, 10, 1))
            photo[:, 250:] //= 3
            Image.fromarray(photo).save(path)
            Image.fromarray(photo).save(data / "val_target" / path.name)
        folders = data / "val_source", data / "val_target"
        generator = Generator(width=6, norm=norm, init="glorot")
        generator.build((None, None, None, 3))
        alone, like_photos = (
            Validation(*read_streams(data), *folders, context) for context in (0, 16)
        )
        np.testing.assert_array_equal(like_photos.source, alone.source)
        found = [v.enhance(generator).astype(float) for v in (alone, like_photos)]
        if norm == "none":
            np.testing.assert_array_equal(*found)
            return
        paths = [path for path, _ in find_pairs(*folders)]
        enhancer = Enhancer(generator, choose_runtime("keras"))
        wholes = {path: enhance(enhancer, np.asarray(Image.open(path))) for path in paths}
        (expected,) = fixed_crops([(p,) for p in paths], 64, 100, read=wholes.__getitem__)
        errors = [np.abs(enhanced - expected).mean() for enhanced in found]
        assert errors[1] < 0.5 * errors[0]

    def test_baselines(self, paired):
        assert set(paired.baselines) == {
            "psnr_input",
            "ssim_input",
            "psnr_histogram_match",
            "ssim_histogram_match",
        }
        expected = mean_psnr(paired.source, paired.target)
        assert paired.baselines["psnr_input"] == pytest.approx(expected)

    def test_histogram_match_is_fitted_from_source_to_target(self, data, paired):
        """Quantiles of all training photos, looked up by interpolation."""
        pixels = {
            side: np.concatenate(
                [np.asarray(Image.open(p)).reshape(-1, 3) for p in (data / side).iterdir()]
            )
            for side in ("source", "target")
        }
        share = np.linspace(0, 1, 400)
        expected = np.empty(paired.source.shape)
        for c in range(3):
            source, target = (np.quantile(pixels[s][:, c], share) for s in ("source", "target"))
            expected[..., c] = np.interp(paired.source[..., c], source, target)
        matched = 255 * paired.curve(paired.source)
        assert np.abs(matched - expected).mean() < 1.5
        scored = mean_psnr(np.rint(matched).astype(np.uint8), paired.target)
        assert paired.baselines["psnr_histogram_match"] == pytest.approx(scored)

    def test_perfect_and_idle_enhancers(self, paired):
        idle = paired.evaluate(paired.source)
        assert idle["psnr"] == pytest.approx(paired.baselines["psnr_input"])
        assert idle["ssim"] == pytest.approx(paired.baselines["ssim_input"])
        assert idle["collapse_score"] == pytest.approx(1)
        assert idle["correlation"] == pytest.approx(1)
        perfect = paired.evaluate(paired.target)
        assert perfect["psnr"] == float("inf") and perfect["ssim"] == pytest.approx(1)
        assert perfect["correlation"] > 0.9

    def test_uniform_and_negative_enhancers(self, paired):
        red = np.broadcast_to(np.array([255, 0, 0], np.uint8), paired.source.shape)
        values = paired.evaluate(red)
        assert values["collapse_score"] == 0
        color = (values["mean_red"], values["mean_green"], values["mean_blue"])
        assert color == (1, 0, 0)
        assert paired.evaluate(255 - paired.source)["correlation"] == pytest.approx(-1)

    def test_distance_to_the_target_domain_looks_at_no_pairs(self, data, paired):
        """1 for doing nothing, 0 for the target's own crops, less for undoing the darkening."""
        assert paired.distance(paired.source) == pytest.approx(1)
        assert paired.distance(paired.wanted) == 0
        undone = np.rint(255 * (paired.source / 255) ** 0.5).astype(np.uint8)
        assert paired.distance(undone) < 0.7
        assert paired.evaluate(undone)["distance"] == paired.distance(undone)
        for path in (data / "val_target").iterdir():
            Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
        other = Validation(*read_streams(data), data / "val_source", data / "val_target")
        assert other.distance(undone) == paired.distance(undone)

    def test_names_that_do_not_match(self, data, streams):
        (data / "val_target" / "1.png").rename(data / "val_target" / "one.png")
        with pytest.raises(UserError, match="val_target_dir: .* has no partner for .*1.png"):
            Validation(*streams, data / "val_source", data / "val_target")

    def test_broken_pair_is_named(self, data, streams, make_truncated):
        """Scores must not quietly rest on fewer pictures."""
        (data / "val_source" / "1.png").unlink()
        make_truncated(data / "val_source" / "1.jpg", 40, 50)
        with pytest.raises(UserError, match="1.jpg: not a readable picture"):
            Validation(*streams, data / "val_source", data / "val_target")


class TestUnpaired:
    def test_source_crops_stand_in_and_nothing_is_compared(self, unpaired):
        assert not unpaired.paired and unpaired.baselines == {}
        assert unpaired.source.shape == unpaired.target.shape == (64, 60, 60, 3)
        values = unpaired.evaluate(unpaired.source)
        assert set(values) == {
            "distance",
            "collapse_score",
            "correlation",
            "mean_red",
            "mean_green",
            "mean_blue",
            "detail_ratio",
            "flat_noise_ratio",
        }
        assert values["mean_red"] == pytest.approx(unpaired.source[..., 0].mean() / 255)

    def test_broken_training_photos_are_left_out(self, data, make_truncated):
        make_truncated(data / "source" / "half.jpg", 60, 70)
        assert Validation(*read_streams(data)).source.shape == (64, 60, 60, 3)


class TestEnhance:
    def test_runs_the_generator_on_every_crop(self, paired):
        generator = Generator(width=4, blocks=1, init="identity")
        generator.build((None, None, None, 3))
        enhanced = paired.enhance(generator)
        assert enhanced.dtype == np.uint8 and enhanced.shape == paired.source.shape
        for answer, crop in list(zip(enhanced, paired.source))[::16]:
            np.testing.assert_array_equal(answer, enhance(generator, crop))

    def test_traces_the_generator_once(self, paired, monkeypatch):
        generator = Generator(width=4, blocks=1, init="identity")
        generator.build((None, None, None, 3))
        traced, call = [], Generator.call

        def noted(self, *args, **kwargs):
            traced.append(self)
            return call(self, *args, **kwargs)

        monkeypatch.setattr(Generator, "call", noted)
        before = paired.enhance(generator)
        for variable in generator.trainable_variables:
            variable.assign(0 * variable)
        after = paired.enhance(generator)
        assert traced == [generator]
        # And sees what has been learnt in between.
        assert (after != before).any()
