"""Writes a model for phones: python export_tflite.py model=MODEL output=FOLDER [key=value …]."""

from wespe_tf.export.cli import command

if __name__ == "__main__":
    command()
