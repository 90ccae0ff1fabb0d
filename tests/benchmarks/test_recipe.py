"""benchmarks/recipe.py: its recipes are settings, its tables are its CSV file's numbers."""

import csv
import dataclasses
from pathlib import Path

import pytest
from PIL import Image

from benchmarks import recipe
from wespe_tf.config.loading import load
from wespe_tf.config.schema import TrainConfig
from wespe_tf.data.patches import PatchStream
from wespe_tf.errors import UserError


@pytest.mark.parametrize("name", recipe.RECIPES)
def test_a_recipe_changes_the_recommended_preset(name):
    base = load(TrainConfig, ["preset=recommended"])
    changed = load(TrainConfig, ["preset=recommended", *recipe.RECIPES[name]])
    assert (changed == base) == (name == "recommended")
    assert "," not in name  # it parts them on the command line


def test_tables_hold_means_over_seeds_and_leave_the_text_alone(tmp_path):
    rows = [
        {
            **{"data": "set", "recipe": "nothing", "psnr": 16, "ssim": 0.5},
            **{
                "psnr_tone_corrected": 28,
                "ssimulacra2": 31,
                "detail": 0.7,
                "flat_noise": 2,
                "niqe": "",
            },
        },
        *(
            {
                "data": "set",
                "recipe": "recommended",
                "budget": "short",
                "seed": seed,
                "psnr": psnr,
                "ssim": 0.8,
                "psnr_tone_corrected": 6 + psnr,
                "ssimulacra2": 2 * psnr,
                "detail": 0.9,
                "flat_noise": 1.5,
                "niqe": 4 + seed,
                "drop": drop,
                "collapsed": collapsed,
                "seconds": 200,
            }
            for seed, psnr, drop, collapsed in ((0, 23, 0.1, False), (1, 22, 0.4, True))
        ),
    ]
    with open(tmp_path / "rows.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, recipe.COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    document = tmp_path / "text.md"
    document.write_text("before\n<!-- tables -->\nold\n<!-- tables -->\nafter\n")
    for _ in range(2):
        recipe.write_tables(tmp_path / "rows.csv", document)
        text = document.read_text()
        assert (
            "| nothing |  | 16.00 | 16.00 | 0.5000 | 28.00 | 28.00 | 31.0 | 0.70 | 2.00 |  |  |"
            in text
        )
        assert (
            "| recommended | 2 | 22.50 | 22.00 | 0.8000 | 28.50 | 28.00 | 45.0 | 0.90 | 1.50 "
            "| 4.50 | 0.40 | 1 | 200 |"
        ) in text
        assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
        assert text.count("nothing") == 1
        assert "over these" not in text  # two runs are too few


def test_agreement_of_the_distance_is_a_rank_correlation(monkeypatch):
    monkeypatch.setattr(recipe, "FEWEST_RUNS", 3)
    runs = [("0.9", "20", "0.8"), ("0.8", "23", "0.7"), ("0.7", "24", "0.9"), ("", "9", "0.1")]
    rows = [dict(zip(("distance", "psnr", "ssim"), run)) for run in runs]
    crops = [("25", "24", "24.5"), ("25", "25", "23.5"), ("", "", ""), ("", "", "")]
    for row, found in zip(rows, crops):
        row |= zip(("crops_psnr_best", "crops_psnr_picked", "crops_psnr"), found)
    ranks, pick, last = recipe._agreement(rows)
    assert "over these 3 runs: 1.00 with PSNR, 0.50 with SSIM" in ranks
    assert pick == (
        "On average over 2 runs, the evaluation with the least `distance` has 0.50 dB less"
    )
    assert last.endswith("the best one of its run, and the last one 1.00 dB less.")


def test_the_psnr_that_the_distance_picks(tmp_path):
    log = tmp_path / "log.csv"
    log.write_text("iteration,psnr,distance\n0,20,0.9\n1,,\n2,21,0.7\n4,22,0.8\n")
    assert recipe.picked_psnr(log) == 21


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["recipes=best"], "recipes=best: expected some of recommended, no texture disc"),
        (["seeds=a"], "seeds=a: expected numbers"),
        (["budget=endless"], "budget=endless: expected"),
        (["data=photos"], "data=photos: no folder source in it"),
    ],
)
def test_mistakes_end_it_before_it_begins(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        recipe.main(arguments)
    assert list(tmp_path.iterdir()) == []


class TestPhotos:
    @pytest.fixture
    def bench(self, tmp_path, make_photo):
        """Function: the `Bench` of a data set with this name."""

        def make(name, seed):
            for k, folder in enumerate(("source", "target", "val_source", "val_target")):
                (tmp_path / name / folder).mkdir(parents=True)
                photo = make_photo(40, 50, seed + k // 2)
                Image.fromarray(photo).save(tmp_path / name / folder / f"{seed}.png")
            settings = [f"data={tmp_path / name}", f"csv={tmp_path / 'rows.csv'}"]
            return recipe.Bench(load(recipe.Settings, [*settings, f"output={tmp_path / 'out'}"]))

        return make

    def test_two_data_sets_may_share_an_output_folder(self, bench, tmp_path):
        for name, seed in (("one", 1), ("two", 2)):
            data = bench(name, seed)
            data.add(lambda photo: photo, "nothing")
            data.draw_page()
            assert data.has("nothing")
            assert [p.name for p in (tmp_path / "out" / "photos" / name / "nothing").iterdir()] == [
                f"{seed}.png"
            ]
            assert (tmp_path / "out" / f"{name}.png").is_file()

    def test_the_page_leaves_out_what_another_output_folder_has(self, bench, tmp_path):
        """All rows are in the CSV file, so nothing was computed."""
        bench("one", 1).draw_page()
        assert (tmp_path / "out" / "one.png").is_file()


@pytest.mark.parametrize("name", ["recipe", "recipe_trials"])
def test_the_tables_of_a_document_are_the_rows_that_are_committed(tmp_path, name):
    root = Path(recipe.__file__).resolve().parent.parent
    text = (root / "docs" / f"{name.upper()}.md").read_text(encoding="utf-8")
    (tmp_path / "text.md").write_text(text, encoding="utf-8")
    recipe.write_tables(root / "benchmarks" / f"{name}.csv", tmp_path / "text.md")
    assert (tmp_path / "text.md").read_text(encoding="utf-8") == text


def test_the_quickstart_budget_is_the_preset():
    quickstart = load(TrainConfig, ["preset=quickstart"])
    settings = [f"{key}={value}" for key, value in recipe.BUDGETS["quickstart"].items()]
    found = load(TrainConfig, ["preset=recommended", *settings])
    assert dataclasses.replace(found, preset="quickstart") == quickstart


class TestSupervised:
    def test_patches_of_both_sides_are_of_the_same_places(self, tmp_path, make_photo):
        """Pairs are drawn from two folders by one seed: the answers must lie where they belong."""
        for k in range(3):
            photo = make_photo(90, 120, seed=k)
            for side, ending in (("source", "jpg"), ("answers", "png")):
                (tmp_path / side).mkdir(exist_ok=True)
                picture = Image.fromarray(photo)
                picture.save(tmp_path / side / f"{k}.{ending}", quality=100, subsampling=0)
        sides = [PatchStream(tmp_path / name, 32, 5, "data") for name in ("source", "answers")]
        for number in range(12):
            source, answer = (side[number].astype(float) for side in sides)
            assert abs(source - answer).mean() < 3
