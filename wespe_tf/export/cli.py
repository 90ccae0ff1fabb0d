"""A trained model for phones, verified: the command `export_tflite.py` / `wespe-export`."""

from ..config.loading import help_text, load
from ..config.schema import ExportConfig
from ..errors import optional, run_command

USAGE = """\
usage: python export_tflite.py [model=MODEL] [output=FOLDER] [formats=float32,float16,dynamic,int8]

Writes FOLDER/<model>_<format>.tflite with a .json that describes it, runs each on photos, and
prints how near it comes to the Keras model, its speed and its size; the table is written to
FOLDER/<model>_export.md and .json. docs/PHONES.md says which format is for which phone."""


def main(arguments: list[str]) -> None:
    """Runs `export_tflite.py` with the given `key=value` arguments."""
    if {"-h", "--help", "help"} & set(arguments):
        print(help_text(ExportConfig, USAGE))
        return
    config = load(ExportConfig, arguments)
    with optional("export", "exporting"):
        from .export import export
    export(config)


def command() -> None:
    """The console script `wespe-export`."""
    run_command(main)
