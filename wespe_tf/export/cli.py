"""The command `export_tflite.py` / `wespe-export`: exports a trained model for phones."""

from ..config.command import as_command
from ..config.schema import ExportConfig
from ..errors import optional

USAGE = """\
usage: python export_tflite.py [model=MODEL] [output=FOLDER] [formats=float32,float16,dynamic,int8]

Writes FOLDER/<model>_<format>.tflite, each with a .json file that describes it. Runs each file on
photos, and prints its size, its speed, and how close it comes to the Keras model. This table is
also in FOLDER/<model>_export.md and .json. docs/PHONES.md says which format is for which phone."""


@as_command(USAGE, ExportConfig)
def main(config: ExportConfig) -> None:
    """Runs `export_tflite.py`."""
    with optional("export", "exporting"):
        from .export import export
    export(config)
    print(f"results are in {config.output}")


command = main.run  # The console script `wespe-export`.
