"""Trains WESPE: python train.py [preset=NAME] [key=value …]; --help shows the settings."""

from wespe_tf.training.cli import command

if __name__ == "__main__":
    command()
