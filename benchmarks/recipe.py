"""Compares training recipes: recipes × seeds with a fixed budget, scored on whole photos.

    python -m benchmarks.recipe data=FOLDER [recipes=A,B] [seeds=0,1,2] [budget=short] [key=value …]

FOLDER holds photos that are not pairs, in `source/` and `target/`. It also holds pairs, which are
only used for scores: in `val_phone/` and `val_enhanced/` (or `val_dslr/`), or as in data/sample, in
`val_source/` and `val_target/`. If the CSV file has a row already, it is not computed again. Run
`pip install ssimulacra2` first.
`pairs_model` makes true pairs of the source photos for the row "supervised". No other row sees
them. The enhanced photos of every run, and a page with all those of a data set, go to the output
folder. The tables between the document's lines `<!-- tables -->` are replaced by tables of the CSV
file.
"""

import dataclasses
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import keras
import matplotlib.pyplot as plt
import numpy as np
import ssimulacra2
from PIL import Image
from scipy.stats import spearmanr

from benchmarks.niqe import niqe
from wespe_tf.config.command import as_command
from wespe_tf.config.loading import load
from wespe_tf.config.schema import TrainConfig, setting
from wespe_tf.data.folders import find_pairs, find_pictures
from wespe_tf.data.patches import PatchStream
from wespe_tf.enhance.runtimes import choose_runtime
from wespe_tf.enhance.tiles import Enhancer
from wespe_tf.errors import UserError
from wespe_tf.guide.guide import Guide
from wespe_tf.guide.samples import histogram, luminance_histogram, sample_photos
from wespe_tf.guide.tone_curve import ToneCurve
from wespe_tf.images.picture import read_picture, to_uint8, write_picture
from wespe_tf.metrics import quality, texture
from wespe_tf.progress import progress, say
from wespe_tf.tables import append_row, read_rows, replace_tables
from wespe_tf.training.build import make_generator
from wespe_tf.training.figures import to_png
from wespe_tf.weights.generator import load_generator

VALIDATION = (
    ("val_phone", "val_enhanced"),
    ("val_phone", "val_dslr"),
    ("val_source", "val_target"),
)
HERE = Path(__file__).resolve().parent
# A rank correlation over fewer runs says nothing.
FEWEST_RUNS = 10
USAGE = "usage: python -m benchmarks.recipe data=FOLDER [key=value …]"
# Changes to preset=recommended, one ingredient at a time.
RECIPES = {
    "recommended": [],
    "no texture discriminator": ["w_texture=0"],
    "half the texture weight": ["w_texture=4"],
    "a quarter of the texture weight": ["w_texture=2"],
    "twice the texture weight": ["w_texture=16"],
    "each patch's own statistics": ["context_patches=0"],
    "plain grayscale": ["texture_view=grayscale"],
    "layers as in DPED": ["texture_layers=dped"],
    "no guide": ["w_guide=0"],
    "guide behind the blur only": ["guide_detail=0"],
    "no detail filter": ["noise_filter=false"],
    "no choice of target patches": ["target_candidates=1"],
    "views only": ["view_share=1"],
    "half views": ["view_share=0.5"],
    "color discriminator": ["w_color=0.1"],
    "content in pixels": ["w_content=0.5"],
    "content in VGG-19": [
        *("content_features=vgg19", "content_layer=relu3_4"),
        *("content_normalise=true", "w_content=0.5"),
    ],
    "steps a third longer": ["learning_rate=4e-4"],
    "warm start": ["warm_start_iters=100"],
    "tv": ["w_tv=0.5"],
    "instance norm in the discriminator": ["texture_norm=instance"],
    "no norm in the generator": ["generator_norm=none"],
    "no moving average": ["ema=0"],
    "no border": ["border=0"],
    "patch 96": ["patch_size=96", "batch_size=2"],
    "random start": ["generator_init=truncated_normal"],
}
# Iterations.
BUDGETS = {
    "short": {"num_train_iters": 600, "eval_step": 200},  # the preset's own
    "long": {"num_train_iters": 1000, "eval_step": 250},
    "quickstart": {  # as the preset of that name
        **{"num_train_iters": 200, "eval_step": 100, "w_texture": 1.0, "learning_rate": 2e-4},
        "context_patches": 4,
    },
}
COLUMNS = (
    "data",
    "recipe",
    "budget",
    "seed",
    "psnr",
    "ssim",
    "psnr_tone_corrected",
    "ssimulacra2",
    "detail",
    "flat_noise",
    "niqe",
    "psnr_of_each",
    "crops_psnr",
    "crops_psnr_best",
    "crops_psnr_picked",
    "drop",
    "distance",
    "collapsed",
    "collapse_score",
    "seconds",
    "precision",
)


def perceptual(enhanced, target):
    """SSIMULACRA 2 of two uint8 pictures, for at most 512×512 pixels at their center.

    It is 100 for equal pictures, and below 0 for bad ones. A whole photo would take minutes.
    """
    files = io.BytesIO(), io.BytesIO()
    top, left = (max(0, side - 512) // 2 for side in target.shape[:2])
    for file, picture in zip(files, (target, enhanced)):
        Image.fromarray(picture[top : top + 512, left : left + 512]).save(file, "PNG")
    return ssimulacra2.compute_ssimulacra2(*files)


# Columns, and the functions of an enhanced photo and its target that compute them.
SCORES = {
    "psnr": quality.psnr,
    "ssim": quality.ssim,
    "psnr_tone_corrected": quality.tone_corrected_psnr,
    "ssimulacra2": perceptual,
    "detail": texture.detail_ratio,
    "flat_noise": texture.flat_noise_ratio,
    "niqe": lambda enhanced, target: niqe(enhanced),
}


@dataclasses.dataclass
class Settings:
    """Settings of this script."""

    data: str = setting("", "folder of photos, see above")
    recipes: str = setting("recommended", "names, with commas between them")
    seeds: str = setting("0", "numbers, with commas between them")
    budget: str = setting("short", "iterations of a run", choices=tuple(BUDGETS))
    pairs_model: str = setting("", "checkpoint that makes the pairs of the row supervised, or none")
    vgg_weights: str = setting("imagenet", "the same as for train.py")
    photos: int = setting(0, "number of photos of each folder that are used; 0: all", at_least=0)
    precision: str = setting("float32", "the same as for train.py", choices=("float32", "bfloat16"))
    output: str = setting("recipe_results", "folder for runs and photos")
    csv: str = setting(str(HERE / "recipe.csv"), "rows are appended to it")
    document: str = setting(
        str(HERE.parent / "docs" / "RECIPE.md"), "its tables are replaced; empty for no document"
    )


@as_command(USAGE, Settings)
def main(config):
    """Fills the CSV file and draws the page."""
    recipes = config.recipes.split(",")
    for recipe in recipes:
        if recipe not in RECIPES:
            raise UserError(f"recipes={recipe}: expected some of {', '.join(RECIPES)}")
    if not all(seed.isdecimal() for seed in config.seeds.split(",")):
        raise UserError(f"seeds={config.seeds}: expected numbers such as 0,1,2")
    bench = Bench(config)
    bench.baselines()
    for seed in progress([int(seed) for seed in config.seeds.split(",")], desc="seeds"):
        for recipe in progress(recipes, desc="recipes", leave=False):
            bench.recipe(recipe, seed)
        if config.pairs_model:
            bench.supervised(config.pairs_model, seed)
    write_tables(Path(config.csv), Path(config.document))
    bench.draw_page()


class Bench:
    """One data set's rows in the CSV file, and the photos behind them.

    Args:
        config: `Settings`.

    Raises:
        UserError: if a folder of photos is missing.
    """

    def __init__(self, config):
        self.config = config
        self.data = Path(config.data).resolve()
        self.output = Path(config.output)
        self.table = Path(config.csv)
        names = next((n for n in VALIDATION if (self.data / n[1]).is_dir()), VALIDATION[0])
        self.sides = [self.data / name for name in names]
        for folder in (self.data / "source", self.data / "target", *self.sides):
            if not folder.is_dir():
                raise UserError(f"data={config.data}: no folder {folder.name} in it")
        self.pairs = find_pairs(*self.sides)
        self.output.mkdir(parents=True, exist_ok=True)
        self.name = self.data.name
        if config.photos:
            self.name += f", {config.photos} photos"
            self.data = self.first_photos(config.photos)

    def first_photos(self, count):
        """A folder with only the first photos of `source/` and `target/`."""
        some = self.output.resolve() / "some" / self.name
        for side in ("source", "target"):
            (some / side).mkdir(parents=True, exist_ok=True)
            for path in find_pictures(self.data / side, "data")[:count]:
                link = some / side / Path(path).name
                if not link.exists():
                    link.symlink_to(path)
        return some

    def has(self, recipe, budget="", seed=""):
        """Whether the CSV file has this row."""
        wanted = {
            "data": self.name,
            "recipe": recipe,
            "budget": budget,
            "seed": str(seed),
        }
        return any(wanted.items() <= row.items() for row in read_rows(self.table))

    def add(self, function, recipe, budget="", seed="", **more):
        """Scores `function`, from photo to enhanced photo, on the pairs and appends its row."""
        scores = []
        folder = self.output / "photos" / self.name / f"{recipe} {budget} {seed}".strip()
        folder.mkdir(parents=True, exist_ok=True)
        for source, target in self.pairs:
            enhanced, target = function(read_picture(source)), read_picture(target)
            write_picture(folder / f"{Path(source).stem}.png", enhanced)
            scores.append({key: score(enhanced, target) for key, score in SCORES.items()})
        row = {
            "data": self.name,
            "recipe": recipe,
            "budget": budget,
            "seed": seed,
            **{key: _mean(score[key] for score in scores) for key in SCORES},
            "psnr_of_each": " ".join(f"{score['psnr']:.2f}" for score in scores),
            **more,
        }
        append_row(self.table, COLUMNS, row)
        say(", ".join(f"{key} {value}" for key, value in row.items() if value != ""))

    def baselines(self):
        """Adds the rows that need no network."""
        sides = [
            sample_photos(find_pictures(self.data / side, "data")) for side in ("source", "target")
        ]
        curve = ToneCurve.match(*map(histogram, sides))
        guide = Guide.fit(*sides)

        def guessed(how):
            return lambda photo: to_uint8(how(photo, guide.curve(luminance_histogram(photo))))

        for name, function in (
            ("nothing", lambda photo: photo),
            ("histogram match", lambda photo: to_uint8(curve(photo))),
            ("color transfer", guessed(guide.transfer)),
            ("guide", guessed(guide)),
        ):
            if not self.has(name):
                self.add(function, name)

    def recipe(self, name, seed):
        """Trains one recipe with the project's own command and adds its row."""
        budget, precision = self.config.budget, self.config.precision
        if self.has(name, budget, seed):
            return
        run = f"{name.replace(' ', '_')}-{budget}-{seed}-{os.getpid()}"
        # If a setting occurs twice, the later one counts. So recipes override the budget.
        settings = [f"{key}={value}" for key, value in BUDGETS[budget].items()] + RECIPES[name]
        script = Path(__file__).resolve().parent.parent / "train.py"
        command = [
            *(sys.executable, str(script), "preset=recommended", f"run={run}", f"seed={seed}"),
            *(f"source_dir={self.data / 'source'}", f"target_dir={self.data / 'target'}"),
            *(f"val_source_dir={self.sides[0]}", f"val_target_dir={self.sides[1]}"),
            *(f"precision={precision}", f"vgg_weights={_absolute(self.config.vgg_weights)}"),
            *settings,
        ]
        folder = self.output / "models" / run
        with open(self.output / f"{run}.log", "w", encoding="utf-8") as log:
            done = subprocess.run(command, cwd=self.output, stdout=log, stderr=subprocess.STDOUT)
        if done.returncode:
            say(f"{name}, seed {seed}: failed, see {log.name}")
            return
        summary = json.loads((folder / "summary.json").read_text())
        crops = summary["validation"]
        self.add(
            Enhancer(load_generator(folder / "generator.keras"), choose_runtime("auto", "float32")),
            *(name, budget, seed),
            crops_psnr=f"{crops['psnr_enhanced']:.3f}",
            crops_psnr_best=f"{crops['psnr_best']:.3f}",
            crops_psnr_picked=f"{picked_psnr(folder / 'log.csv'):.3f}",
            drop=f"{crops['psnr_best'] - crops['psnr_enhanced']:.3f}",
            distance=f"{summary['distance']:.4f}",
            collapsed=summary["collapsed"],
            collapse_score=f"{summary['collapse_score']:.3f}",
            precision=precision,
            seconds=f"{summary['seconds']:.0f}",
        )

    def supervised(self, pairs_model, seed):
        """Trains the same generator on true pairs of the source photos: L1, Adam 5e-4."""
        budget = self.config.budget
        if self.has("supervised", budget, seed):
            return
        answers = self.output / "pairs" / self.name
        teacher = None
        for path in find_pictures(self.data / "source", "data"):
            answer = answers / f"{Path(path).stem}.png"
            if not answer.exists():
                teacher = teacher or Enhancer(
                    load_generator(pairs_model), choose_runtime("keras"), reflect=False
                )
                answers.mkdir(parents=True, exist_ok=True)
                write_picture(answer, teacher(read_picture(path)))
        config = load(TrainConfig, ["preset=recommended"])
        keras.utils.set_random_seed(seed)
        generator = make_generator(config, "generator")
        generator.compile(keras.optimizers.Adam(5e-4), loss="mae", jit_compile=False)
        sides = [
            PatchStream(folder, config.patch_size, seed, "data")
            for folder in (self.data / "source", answers)
        ]
        numbers = np.arange(config.batch_size)
        start = time.monotonic()
        for step in range(BUDGETS[budget]["num_train_iters"]):
            source, answer = (
                np.stack([side[n] for n in step * config.batch_size + numbers]) for side in sides
            )
            generator.train_on_batch(source / np.float32(255), answer / np.float32(255))
        seconds = f"{time.monotonic() - start:.0f}"
        self.add(
            *(Enhancer(generator, choose_runtime("keras")), "supervised", budget, seed),
            seconds=seconds,
            precision="float32",
        )

    def draw_page(self):
        """Draws the data set's page: input, photos of every row, and target; whole and a detail.

        A row whose photos are in another output folder is left out.
        """
        rows = {"input": [s for s, _ in self.pairs]}
        for folder in sorted((self.output / "photos" / self.name).glob("*")):
            paths = [folder / f"{Path(s).stem}.png" for s, _ in self.pairs]
            if all(path.exists() for path in paths):
                rows[folder.name] = paths
        rows["answer"] = [t for _, t in self.pairs]
        count = 2 * len(self.pairs)
        figure, axes = plt.subplots(
            len(rows), count, figsize=(3 * count, 2.4 * len(rows)), layout="constrained"
        )
        for line, (name, paths) in zip(axes, rows.items()):
            for k, path in enumerate(paths):
                photo = read_picture(path)
                height, width = photo.shape[0] // 2, photo.shape[1] // 2
                small = Image.fromarray(photo).resize((400, 400 * photo.shape[0] // photo.shape[1]))
                line[2 * k].imshow(small)
                line[2 * k + 1].imshow(photo[height : height + 240, width : width + 320])
            line[0].set_title(name, loc="left")
        for axis in axes.flat:
            axis.axis("off")
        plt.close(figure)
        (self.output / f"{self.name}.png").write_bytes(to_png(figure))


def _mean(values):
    """The mean as text; empty if there is none."""
    mean = np.mean(list(values))
    return "" if np.isnan(mean) else f"{mean:.4f}"


def picked_psnr(log):
    """PSNR on crops in the evaluation of a run's log with the lowest `distance`."""
    evaluated = [row for row in read_rows(log) if row["distance"]]
    return float(min(evaluated, key=lambda row: float(row["distance"]))["psnr"])


def _absolute(weights):
    """The setting for VGG-19's weights, for a run in another folder."""
    return str(Path(weights).resolve()) if Path(weights).exists() else weights


def write_tables(table, document):
    """Puts Markdown tables of the CSV file between the document's two `<!-- tables -->` lines."""
    rows = read_rows(table)
    lines = []
    for data, budget in sorted({(row["data"], row["budget"]) for row in rows if row["budget"]}):
        shown = [r for r in rows if r["data"] == data and r["budget"] in ("", budget)]
        lines += ["", f"### {data}, {budget} budget", "", *_markdown(shown), "", *_agreement(shown)]
    replace_tables(document, lines)


def _agreement(rows):
    """Lines that say how well `distance`, which uses no pairs, agrees with the pairs' scores."""
    judged = [row for row in rows if row["distance"]]
    if len(judged) < FEWEST_RUNS:
        return
    distance = [-float(row["distance"]) for row in judged]
    ranks = {
        name: spearmanr(distance, [float(row[key]) for row in judged]).statistic
        for name, key in (("PSNR", "psnr"), ("SSIM", "ssim"))
    }
    found = ", ".join(f"{value:.2f} with {name}" for name, value in ranks.items())
    yield f"Rank correlation of a small `distance` over these {len(judged)} runs: {found}."
    picked = [row for row in judged if row["crops_psnr_picked"]]
    if picked:
        best, pick, last = (
            np.mean([float(row[key]) for row in picked])
            for key in ("crops_psnr_best", "crops_psnr_picked", "crops_psnr")
        )
        yield (
            f"On average over {len(picked)} runs, the evaluation with the least `distance` has "
            f"{best - pick:.2f} dB less"
        )
        yield f"on crops than the best one of its run, and the last one {best - last:.2f} dB less."


def _markdown(rows):
    """Lines of a table: means of each recipe over its seeds, the lowest value, the worst drop."""
    yield (
        "| recipe | seeds | PSNR, dB | lowest | SSIM | tone-corrected | lowest | SSIMULACRA 2 "
        "| detail | flat noise | NIQE | drop | collapsed | s |"
    )
    yield "|---" + "|---:" * 13 + "|"
    for recipe in dict.fromkeys(row["recipe"] for row in rows):
        runs = [row for row in rows if row["recipe"] == recipe]
        numbers = {
            key: [float(run[key]) for run in runs if run[key]]
            for key in (*SCORES, "drop", "seconds")
        }
        mean = {key: np.mean(values) if values else None for key, values in numbers.items()}
        collapsed = sum(run["collapsed"] == "True" for run in runs)
        cells = [
            recipe,
            str(len(runs)) if runs[0]["seed"] else "",
            f"{mean['psnr']:.2f}",
            f"{min(numbers['psnr']):.2f}",
            f"{mean['ssim']:.4f}",
            f"{mean['psnr_tone_corrected']:.2f}",
            f"{min(numbers['psnr_tone_corrected']):.2f}",
            f"{mean['ssimulacra2']:.1f}",
            f"{mean['detail']:.2f}",
            f"{mean['flat_noise']:.2f}",
            f"{mean['niqe']:.2f}" if numbers["niqe"] else "",
            f"{max(numbers['drop']):.2f}" if numbers["drop"] else "",
            f"{collapsed}" if numbers["drop"] else "",
            f"{mean['seconds']:.0f}" if numbers["seconds"] else "",
        ]
        yield f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main.run()
