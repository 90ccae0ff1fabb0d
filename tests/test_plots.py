"""Figures show what they are given."""

import io

import matplotlib.colors
import numpy as np
import pytest
from PIL import Image

from wespe_tf import plots
from wespe_tf.config.loading import load
from wespe_tf.data.folders import find_pairs
from wespe_tf.errors import UserError
from wespe_tf.images.picture import read_picture
from wespe_tf.models.wespe import WESPE
from wespe_tf.plots import main
from wespe_tf.training import figures
from wespe_tf.training.figures import curve_label, loss_figure, row_of, sample_figure, to_png

LOSSES = WESPE.loss_names()


@pytest.fixture
def patches(rng):
    return rng.integers(0, 255, (3, 10, 14, 3)).astype(np.uint8)


@pytest.fixture
def history(rng):
    losses = {name: rng.uniform(0.1, 2, 20).tolist() for name in LOSSES}
    return {"iteration": list(range(1, 21)), "balance": [""] * 20, **losses}


def curves(axes):
    return {line.get_label(): line for line in axes.get_lines()}


class TestRow:
    def test_pictures_stand_side_by_side_on_white(self, patches):
        row = row_of(patches)
        assert row.shape == (10, 3 * 14 + 2 * 2, 3) and row.dtype == np.uint8
        for k in range(3):
            np.testing.assert_array_equal(row[:, 16 * k : 16 * k + 14], patches[k])
        assert (row[:, 14:16] == 255).all() and (row[:, 30:32] == 255).all()

    def test_of_one(self, patches):
        np.testing.assert_array_equal(row_of(patches[:1]), patches[0])


class TestLossFigure:
    def test_curves_are_the_losses(self, history, patches):
        figure = loss_figure(history, patches, patches, "a run")
        discriminators, generator = figure.axes[:2]
        drawn = curves(discriminators)
        np.testing.assert_array_equal(drawn["D color"].get_ydata(), history["color_disc"])
        np.testing.assert_array_equal(drawn["D texture"].get_ydata(), history["texture_disc"])
        mean = (np.array(history["color_disc"]) + history["texture_disc"]) / 2
        np.testing.assert_allclose(drawn["mean"].get_ydata(), mean)
        np.testing.assert_allclose(drawn["random guess, 2·ln 2"].get_ydata(), 2 * np.log(2))
        drawn = curves(generator)
        for name in ("generator", "content", "color", "texture", "tv", "guide"):
            line = drawn[curve_label(name)]
            np.testing.assert_array_equal(line.get_xdata(), history["iteration"])
            np.testing.assert_array_equal(line.get_ydata(), history[name])

    def test_a_discriminator_without_weight_is_neither_drawn_nor_averaged(self, history, patches):
        history["color_disc"] = [0.0, np.nan] * 10
        drawn = curves(loss_figure(history, patches, patches, "a run").axes[0])
        assert set(drawn) == {"D texture", "random guess, 2·ln 2"}
        history["detail_disc"] = [0.7] * 20
        drawn = curves(loss_figure(history, patches, patches, "a run").axes[0])
        mean = (np.array(history["texture_disc"]) + 0.7) / 2
        np.testing.assert_allclose(drawn["mean"].get_ydata(), mean)

    def test_a_loss_of_any_name_is_drawn(self, history, patches):
        history |= {"sharpness": [0.3] * 20, "detail_disc": [0.7] * 20}
        figure = loss_figure(history, patches, patches, "a run")
        np.testing.assert_array_equal(curves(figure.axes[0])["D detail"].get_ydata(), [0.7] * 20)
        np.testing.assert_array_equal(curves(figure.axes[1])["sharpness"].get_ydata(), [0.3] * 20)

    def test_rows_are_the_patches(self, history, patches):
        figure = loss_figure(history, patches, 255 - patches, "a run")
        shown = {axes.get_ylabel(): axes.get_images() for axes in figure.axes}
        np.testing.assert_array_equal(shown["target"][0].get_array(), row_of(patches))
        np.testing.assert_array_equal(shown["enhanced"][0].get_array(), row_of(255 - patches))
        assert figure.get_suptitle() == "a run"

    @pytest.mark.parametrize("iterations", [1, 20])
    def test_losses_that_are_off_or_zero_are_no_trouble(
        self, history, patches, iterations, recwarn
    ):
        history = {name: values[:iterations] for name, values in history.items()}
        history["guide"] = [0.0] * iterations
        history["tv"][0] = 0.0
        png = to_png(loss_figure(history, patches, patches, "a run"))
        assert png.startswith(b"\x89PNG")
        assert [str(w.message) for w in recwarn] == []

    def test_a_loss_is_drawn_where_it_was_computed(self, history, patches):
        """Under a schedule each iteration knows the losses of one side."""
        history["color_disc"][::2] = [np.nan] * 10
        figure = loss_figure(history, patches, patches, "a run")
        line = curves(figure.axes[0])["D color"]
        np.testing.assert_array_equal(line.get_xdata(), history["iteration"][1::2])
        np.testing.assert_array_equal(line.get_ydata(), history["color_disc"][1::2])

    def test_of_a_long_run_means_of_neighbors_are_drawn(self, history, patches, monkeypatch):
        monkeypatch.setattr(figures, "MOST_POINTS", 8)
        figure = loss_figure(history, patches, patches, "a run")
        line = curves(figure.axes[0])["D color"]
        losses = np.array(history["color_disc"])
        wanted = [losses[k : k + 3].mean() for k in range(0, 20, 3)]
        np.testing.assert_allclose(line.get_ydata(), wanted)
        np.testing.assert_allclose(line.get_xdata(), [2, 5, 8, 11, 14, 17, 19.5])

    def test_changes_of_the_balance_and_collapse_are_marked(self, history, patches):
        history["balance"] = ["start"] * 7 + ["generators behind"] * 5 + ["start"] * 8
        figure = loss_figure(history, patches, patches, "a run", collapse=15)
        for axes in figure.axes[:2]:
            colors = [line.get_color() for line in axes.get_lines()]
            marks = [
                line.get_xdata()[0]
                for line, color in zip(axes.get_lines(), colors)
                if color in ("tab:cyan", "red")
            ]
            assert marks == [8, 13, 15]
            assert {"balance changes", "uniform from here on"} <= set(curves(axes))


class TestSampleFigure:
    def test_rows_have_names_and_pictures(self, patches):
        rows = {"source": patches, "enhanced": 255 - patches, "target": patches // 2}
        figure = sample_figure(rows, "iteration 7")
        assert [axes.get_ylabel() for axes in figure.axes] == list(rows)
        for axes, pictures in zip(figure.axes, rows.values()):
            np.testing.assert_array_equal(axes.get_images()[0].get_array(), row_of(pictures))
        assert figure.get_suptitle() == "iteration 7"

    def test_png_shows_the_colors(self):
        """A red, a green and a blue row are found in the file."""
        rows = {
            name: np.full((2, 20, 20, 3), 255 * np.array(matplotlib.colors.to_rgb(name)), np.uint8)
            for name in ("red", "lime", "blue")
        }
        with Image.open(io.BytesIO(to_png(sample_figure(rows, "colors")))) as picture:
            pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
        for color in ((255, 0, 0), (0, 255, 0), (0, 0, 255)):
            assert (pixels == color).all(axis=1).sum() > 1000


class TestDatasetFigure:
    def test_pairs_of_the_validation_stand_over_each_other(self, tmp_path, make_folder):
        names = ("source_dir", "target_dir", "val_source_dir", "val_target_dir")
        folders = [make_folder(tmp_path / name, seed=k) for k, name in enumerate(names)]
        settings = [f"{name}={folder}" for name, folder in zip(names, folders)]
        output = tmp_path / "figure.png"
        main(["dataset", f"output={output}", *settings[:2]])
        unpaired = np.asarray(Image.open(output))
        main(["dataset", f"output={output}", *settings])
        paired = np.asarray(Image.open(output))
        assert min(unpaired.std(), paired.std()) > 10
        assert unpaired.shape != paired.shape or (unpaired != paired).any()

    def test_other_words_are_one_line(self):
        with pytest.raises(UserError, match="expected: python -m wespe_tf.plots dataset"):
            main(["data"])

    def test_other_formats_are_one_line(self):
        with pytest.raises(UserError, match="output=figure.pdf: expected a .png or .jpg file"):
            main(["dataset", "output=figure.pdf"])


class TestBeforeAfter:
    @pytest.fixture
    def given(self, tmp_path, make_folder):
        names = ("source_dir", "target_dir", "val_source_dir", "val_target_dir")
        return [f"{n}={make_folder(tmp_path / n, seed=k)}" for k, n in enumerate(names)]

    def test_shows_the_middle_of_the_photo_three_times(self, given, tmp_path, monkeypatch):
        """The run is a stand-in that turns the colors over."""
        monkeypatch.setattr(plots, "load_generator", lambda path: None)
        monkeypatch.setattr(plots, "enhance", lambda generator, photo: 255 - photo)
        config = load(plots.PlotConfig, [*given, "side=20"])
        pair = find_pairs(config.val_source_dir, config.val_target_dir)[0]
        phone, good = (middle(read_picture(path), 20) for path in pair)
        shown = [axes.images[0].get_array() for axes in plots.before_after(config).axes]
        for found, expected in zip(shown, (phone, 255 - phone, good), strict=True):
            np.testing.assert_array_equal(found, expected)
        output = tmp_path / "figure.jpg"
        main(["before_after", f"output={output}", *given])
        assert Image.open(output).format == "JPEG"

    @pytest.mark.parametrize(
        "settings, message",
        [
            (["photo=gone"], "photo=gone: expected one of "),
            (["val_source_dir=null", "val_target_dir=null"], "before_after: expected pairs"),
            (["run=gone"], "gone: no such run folder"),
        ],
    )
    def test_mistakes_are_one_line(self, given, settings, message):
        with pytest.raises(UserError, match=message):
            main(["before_after", *given, *settings])


def middle(picture, side):
    top, left = ((length - side) // 2 for length in picture.shape[:2])
    return picture[top : top + side, left : left + side]
