"""Compares three public codes with this project, on the same arrays.

    python -m benchmarks.compare_reference reference=CHECKOUT photos=DIR [key=value …]
    python -m benchmarks.compare_reference report_code=CHECKOUT wespe_tf1=CHECKOUT [key=value …]

Any of the codes may be given: `reference=` is DPED, the code of WESPE's authors; `report_code=` is
the code of the report, which needs PyTorch; `wespe_tf1=` is WESPE-TF, which needs tf_keras. Their
files are not changed: each module of `public_codes` says what it replaces around them. A code and
this project run one after the other, each in a process of its own, so that peak memory is that of
the whole process.

DPED enhances photos with trained weights, and trains on patches of them. The other two train from
drawn weights on drawn patches, in float64 to compare numbers and in float32 to compare costs.

The script prints one table, and also writes it to `output/comparison.md`. More tables of DPED
follow, and `output/<photo>.png`: theirs | ours | absolute difference ×50.
"""

import importlib.metadata
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from benchmarks.public_codes import dped, report_code_theirs, wespe_tf1_theirs
from benchmarks.public_codes.processes import check_checkout
from benchmarks.public_codes.summary import summary_table
from wespe_tf.config.command import as_command
from wespe_tf.config.schema import setting
from wespe_tf.data.folders import find_pictures
from wespe_tf.enhance.dped_photos import NATIVE_SIZES
from wespe_tf.errors import UserError

USAGE = (
    "usage: python -m benchmarks.compare_reference [reference=CHECKOUT photos=DIR] "
    "[report_code=CHECKOUT] [wespe_tf1=CHECKOUT] [key=value …]"
)
MODELS = tuple(f"{phone}_orig" for phone in NATIVE_SIZES)
NOTES = """\
Differences are absolute for pictures and weights, and relative for losses. A loss has two: that of
its first iteration, and the largest of all. DPED's pictures are the whole photos, with pixels that
went through float16 in both codes. Both codes begin with the same weights and see the same batches.
In float32 two codes agree in their first iteration only, because Adam divides gradients that are
rounding errors by their own size. An iteration of the report's code is one turn of either side;
those of the other two codes are a step of each network. Memory is the peak of the process."""


@dataclass
class Settings:
    """Settings of this script."""

    reference: str = setting("", f"checkout of {dped.REPOSITORY}, or none")
    report_code: str = setting("", f"checkout of {report_code_theirs.REPOSITORY}, or none")
    wespe_tf1: str = setting("", f"checkout of {wespe_tf1_theirs.REPOSITORY}, or none")
    iterations: int = setting(10, "length of the training", "iterations", at_least=4)
    patch_size: int = setting(
        100, "side of the patches of report_code and wespe_tf1", "pixels", at_least=32
    )
    output: str = setting("results/compare_reference", "folder for the results")
    photos: str = setting("", "for DPED: folder of photos; they are resized to the phone's size")
    model: str = setting("iphone_orig", "for DPED: the authors' trained model", choices=MODELS)
    vgg: str = setting("", "for DPED: imagenet-vgg-verydeep-19.mat; by default, random weights")


@as_command(USAGE, Settings)
def main(config):
    """Runs the codes that the settings name, and writes the report."""
    photos = check_inputs(config)
    output = Path(config.output).resolve()
    columns, more = [], []
    if config.reference:
        column, more = dped.compare(config, photos)
        columns.append(column)
    for key in ("report_code", "wespe_tf1"):
        if getattr(config, key):
            module = importlib.import_module(f"benchmarks.public_codes.{key}")
            checkout = Path(getattr(config, key)).resolve()
            columns += module.compare(checkout, config.iterations, config.patch_size, output)
    lines = ["# Public codes and this project", "", *summary_table(columns), "", NOTES, *more]
    text = "\n".join(lines) + "\n"
    (output / "comparison.md").write_text(text, encoding="utf-8")
    print(text)
    print(f"this report and the programs' own output are in {config.output}")


def check_inputs(config):
    """DPED's photos that the settings name; makes the output folder.

    Raises:
        UserError: if no code is given, a folder is no checkout, a package or a file is missing,
            there are no photos, or the output folder cannot be made.
    """
    if not (config.reference or config.report_code or config.wespe_tf1):
        raise UserError(
            f"reference=: missing; expected a checkout of {dped.REPOSITORY}, or report_code= with "
            f"{report_code_theirs.REPOSITORY}, or wespe_tf1= with {wespe_tf1_theirs.REPOSITORY}"
        )
    photos = []
    if config.reference:
        check_checkout("reference", config.reference, dped.REPOSITORY, dped.files_of(config.model))
        photos = find_pictures(config.photos, "photos")
        if config.vgg and not os.path.isfile(config.vgg):
            raise UserError(f"vgg={config.vgg}: no such file")
    version = ".".join(importlib.metadata.version("tensorflow").split(".")[:2])
    for key, theirs, package, wanted in (
        ("report_code", report_code_theirs, "torch", "torch"),
        ("wespe_tf1", wespe_tf1_theirs, "tf_keras", f"tf_keras=={version}.*"),
    ):
        folder = getattr(config, key)
        if folder:
            check_checkout(key, folder, theirs.REPOSITORY, theirs.FILES)
            if importlib.util.find_spec(package) is None:
                raise UserError(f'{key}={folder}: needs {package}; run: pip install "{wanted}"')
    try:
        os.makedirs(config.output, exist_ok=True)
    except OSError as error:
        raise UserError(f"output={config.output}: cannot be made ({error.strerror})") from error
    return photos


if __name__ == "__main__":
    main.run()
