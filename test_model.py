"""Enhances photos: python test_model.py model=MODEL input=PHOTO_OR_FOLDER [key=value …]."""

from wespe_tf.enhance.cli import command

if __name__ == "__main__":
    command()
