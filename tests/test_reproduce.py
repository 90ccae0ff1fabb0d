"""The list of the report's experiments: what runs, what a row holds, what the tables say."""

import csv
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wespe_tf import reproduce
from wespe_tf.config.loading import load
from wespe_tf.config.schema import TrainConfig
from wespe_tf.errors import UserError

ALL = {name: changes for named in reproduce.LISTS.values() for name, changes in named.items()}
TINY = ["scale=small", "patch_size=17", "batch_size=2", "num_train_iters=4", "eval_step=2"]
TINY += ["generator_width=4", "generator_blocks=1", "discriminator_width=0.05", "border=0"]


def row(**cells):
    found = dict.fromkeys(reproduce.COLUMNS, "")
    found |= {"data": "sample", "scale": "small", "seed": "0", "collapsed": "False"}
    found |= {"red": "0.5", "green": "0.25", "blue": "0.75", "iterations": "200"}
    return found | cells


def rows_of(table):
    with open(table, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("scale", ["full", "small"])
def test_every_experiment_is_a_set_of_settings(name, scale):
    config = load(TrainConfig, [f"scale={scale}", *ALL[name]])
    assert config.method == "wespe"
    if scale == "small":
        asked_for = f"batch_size={config.batch_size}" in ALL[name]
        assert (config.batch_size <= 8 or asked_for) and config.num_train_iters <= 400
        assert config.content_layer == "relu3_4"


def test_names_of_experiments_are_names_of_different_folders():
    assert len({reproduce._file_name(name) for name in ALL}) == len(ALL)
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", reproduce._file_name(name)) for name in ALL)
    assert not any("," in name for name in ALL)  # it parts them on the command line


def test_repairs_change_the_final_code_alone():
    final = load(TrainConfig, reproduce.FINAL)
    for name, changes in reproduce.REPAIRS.items():
        repaired = load(TrainConfig, changes)
        different = {key for key in vars(final) if getattr(final, key) != getattr(repaired, key)}
        assert bool(different) == (name != "final code"), name
        if "small steps" in name:
            different -= {"learning_rate", "texture_norm"}
            assert repaired.texture_layers == "dped"
        if "guide" in name:
            different -= {"w_guide", "warm_start_iters", "warm_start_learning_rate"}
        assert different <= {
            "content_pair",
            "content_extra_division",
            "content_normalise",
            "vgg_preprocessing",
            "blur",
            "color_layers",
            "texture_layers",
            "color_norm",
            "generator_init",
            "schedule",
        }


def test_exposure_is_asked_of_two_color_discriminators_alone():
    blind, sees = (load(TrainConfig, changes) for changes in reproduce.EXPOSURE.values())
    different = {key for key in vars(blind) if getattr(blind, key) != getattr(sees, key)}
    assert different == {"color_layers", "color_norm", "blur"}


def test_the_reports_table_links_to_the_figures():
    lines = reproduce.tables([row(experiment="report_fig5"), row(experiment="report_fig6")])
    linked = [line.split(" |")[0] for line in lines if "losses](docs" in line]
    assert linked == ["| report_fig5", "| report_fig6"]


def test_what_the_report_says_is_at_full_scale():
    def of(name):
        return load(TrainConfig, ALL[name])

    assert (of("report_fig2").batch_size, of("report_fig2").num_train_iters) == (30, 2000)
    assert of("report_fig3").num_train_iters == 30
    assert (of("report_fig4").batch_size, of("report_fig4").num_train_iters) == (44, 12000)
    for name in ("content", "tv"):
        assert of("report_fig2").weights[name] == 0 < of("report_all_losses").weights[name]
    assert of("report_all_losses").generator_norm == "batch"
    assert of("report_fig5").generator_norm == of("report_fig5").color_norm == "instance"
    assert 24 <= of("report_fig6").batch_size <= 30
    assert of("report_fig7").generator_width == 2 * of("report_fig5").generator_width
    assert of("report_fig7_2to1").ratio == "2:1"
    assert of("report_unfrozen").unfreeze_discriminators
    for name in reproduce.REPORT:
        if name != "report_fig8":
            assert (of(name).label_smoothing, of(name).schedule) == (0, "alternating")
            assert of(name).discriminator_head == "two_class_sigmoid"
    assert of("report_fig7").discriminator_width == 2 * of("report_fig5").discriminator_width
    final, code = of("report_fig8"), load(TrainConfig, ["preset=report_code"])
    different = {key for key in vars(code) if getattr(code, key) != getattr(final, key)}
    assert different == {"preset", "num_train_iters", "eval_step"}


class TestTables:
    def test_a_line_for_each_experiment_with_means_and_spread(self):
        rows = [
            row(experiment="report_fig5", collapsed="True", uniform_since="40", color_disc="0.25"),
            row(
                experiment="report_fig5",
                seed="1",
                color_disc="0.75",
                psnr_enhanced="12.5",
                iterations="400",
            ),
            row(experiment="final code", psnr_enhanced="9.5", correlation="-0.5"),
        ]
        lines = reproduce.tables(rows)
        (line,) = [line for line in lines if line.startswith("| report_fig5")]
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        told = reproduce.SETTING_AND_SAW["report_fig5"]
        assert cells[:6] == ["report_fig5", *told, "2", "200, 400", "1"]
        assert (
            cells[6] == "40"
            and "0.50 ± 0.35" in cells
            and "12.50" in cells
            and "0.50 0.25 0.75" in cells
        )
        assert cells[-1] == "[losses](docs/figures/report_fig5.png)"
        (line,) = [line for line in lines if line.startswith("| final code")]
        assert "9.50" in line and "-0.50" in line and "±" not in line
        for header, rule in zip(lines, lines[1:]):
            if rule.startswith("|---"):
                assert header.count("|") == rule.count("|")

    def test_heads_are_compared_seed_by_seed(self):
        one, two, _ = reproduce.HEADS
        scores = {one: ("15.0", "17.0", ""), two: ("15.5", "17.1", "19.0")}
        rows = [
            row(experiment=name, seed=str(seed), psnr_enhanced=psnr)
            for name, found in scores.items()
            for seed, psnr in enumerate(found)
        ]
        told = [line for line in reproduce.tables(rows) if line.startswith("PSNR of")]
        assert told == [f"PSNR of {two} minus that of one class, over 2 seeds: +0.30 ± 0.28 dB."]

    def test_those_of_the_report_hold_the_rows_that_are_committed(self):
        root = Path(__file__).resolve().parent.parent
        lines = reproduce.tables(reproduce.read_rows(root / "reproduction.csv"))
        text = (root / "REPRODUCTION.md").read_text(encoding="utf-8")
        assert "\n".join(lines) in text
        for link in re.findall(r"docs/figures/\w+\.png", text):
            assert (root / link).exists()

    def test_they_stand_between_the_marks(self, tmp_path):
        document = tmp_path / "REPRODUCTION.md"
        document.write_text("before\n<!-- tables -->\nold\n<!-- tables -->\nafter\n")
        reproduce.replace_tables(document, ["| a |"])
        text = document.read_text()
        assert text.startswith("before\n") and text.endswith("\nafter\n")
        assert "| a |" in text and "old" not in text and text.count("<!-- tables -->") == 2
        document.write_text("no marks")
        with pytest.raises(UserError, match="expected a file with two lines <!-- tables -->"):
            reproduce.replace_tables(document, [])
        assert document.read_text() == "no marks"
        with pytest.raises(UserError, match="expected a file with two lines"):
            reproduce.replace_tables(tmp_path, [])
        reproduce.replace_tables(Path(""), [])  # `document=` asks for none.


class TestFigures:
    def test_of_the_latest_run_that_came_to_its_end(self, tmp_path):
        for age, (name, ended) in enumerate(
            [("a_b-0", True), ("a_b-0.2", True), ("a_b-0.3", False), ("a_b-1", True)]
        ):
            (tmp_path / name / "figures").mkdir(parents=True)
            (tmp_path / name / "figures" / "losses.png").touch()
            if ended:
                (tmp_path / name / "summary.json").touch()
                os.utime(tmp_path / name / "summary.json", (age, age))
        wanted = tmp_path / "a_b-0.2" / "figures" / "losses.png"
        assert reproduce.find_figure(tmp_path, "a b", 0) == wanted
        assert reproduce.find_figure(tmp_path, "a b", 7) is None

    def test_small_copies_for_the_document(self, tmp_path, make_photo):
        figures = tmp_path / "report_fig3-0" / "figures"
        figures.mkdir(parents=True)
        Image.fromarray(make_photo(60, 90)).save(figures / "losses.png")
        (tmp_path / "report_fig3-0" / "summary.json").touch()
        reproduce.copy_figures(tmp_path, ["report_fig3", "final code"], 0, tmp_path / "docs")
        (copied,) = (tmp_path / "docs").iterdir()
        with Image.open(copied) as small:
            assert (copied.name, small.size) == ("report_fig3.png", (60, 40))


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["experiments=report_fig1"], "experiments=report_fig1: expected one of report, repairs"),
        (["seeds=0,x"], "seeds=0,x: expected numbers such as 0,1,2"),
        (["preset=wespe"], "preset=wespe: set by the experiments"),
        (["w_colour=1"], "unknown setting 'w_colour'; did you mean 'w_color'"),
    ],
)
def test_mistakes_end_the_list_before_it_begins(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        reproduce.main(arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("argument", ["output=file", "csv=file/rows.csv"])
def test_folders_that_cannot_be_made_end_the_list_before_it_begins(tmp_path, monkeypatch, argument):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(reproduce, "run_experiment", None)
    Path("file").touch()
    with pytest.raises(UserError, match=f"{argument.split('/')[0]}: cannot be made"):
        reproduce.main(["experiments=report_fig3", argument])


def test_the_folder_of_the_rows_is_made_before_the_first_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    there = []
    monkeypatch.setattr(reproduce, "run_experiment", lambda *_: there.append(Path("new").is_dir()))
    reproduce.main(["experiments=report_fig3", "csv=new/rows.csv"])
    assert there == [True]


def test_arguments_may_begin_with_dashes_as_those_of_train():
    options, settings = reproduce.settings_of_runs(["--seeds=1,2", "--source_dir=photos"])
    assert (options["seeds"], settings) == ("1,2", ["source_dir=photos"])
    assert reproduce._absolute(*settings) == f"source_dir={Path('photos').absolute()}"


@pytest.mark.slow
def test_runs_a_list_and_goes_on(tmp_path, monkeypatch, make_folder, capfd):
    """One run of the list fails for want of weights; the other has its row and figure."""
    monkeypatch.chdir(tmp_path)
    make_folder(tmp_path / "photos" / "source")
    make_folder(tmp_path / "photos" / "target", seed=1)
    bad = tmp_path / "vgg.npz"
    np.savez(bad, nothing=np.zeros(1))
    settings = [*TINY, "source_dir=photos/source", "target_dir=photos/target"]
    settings += [f"vgg_weights={bad.name}"]
    command = ["experiments=report_fig5,report_fig3", "output=out", *settings]
    reproduce.main(command)
    (first,) = rows_of("reproduction.csv")
    assert (first["experiment"], first["seed"]) == ("report_fig3", "0")
    assert (first["data"], first["scale"], first["iterations"]) == ("photos", "small", "4")
    assert 0 <= float(first["red"]) <= 1 and float(first["color_disc"]) > 0
    assert first["psnr_input"] == ""  # no pairs
    assert "report_fig5, seed 0: failed" in capfd.readouterr().out
    picture = np.asarray(Image.open("out/overview.png"))
    assert picture.std() > 5
    before = Path("reproduction.csv").read_bytes()
    Path("text.md").write_text("<!-- tables -->\n<!-- tables -->\n")
    reproduce.main(["experiments=report_fig3", "output=out", "document=text.md", *settings])
    assert Path("reproduction.csv").read_bytes() == before
    assert (
        "not run again, reproduction.csv has its row (4 iterations, float32)"
        in capfd.readouterr().out
    )
    assert "| recognizable pictures | 1 | 4 |" in Path("text.md").read_text()
    # Figures of other photos than the sample's are not for the document.
    assert not Path("docs").exists()
