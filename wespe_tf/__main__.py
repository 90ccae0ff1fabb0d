"""`python -m wespe_tf`: the commands of this package."""

COMMANDS = {
    "wespe-train": ("wespe_tf.training.cli", "trains a model on two folders of photos"),
    "wespe-test": ("wespe_tf.enhance.cli", "enhances photos with a trained model"),
    "wespe-export": ("wespe_tf.export.cli", "writes a trained model for phones"),
    "python -m wespe_tf.data": (
        "wespe_tf.data.__main__",
        "checks photos; aligns photos of two cameras",
    ),
    "python -m wespe_tf.web": ("wespe_tf.web.__main__", "builds a page that enhances photos"),
    "python -m wespe_tf.plots": ("wespe_tf.plots", "draws a data set, or photos before and after"),
    "python -m wespe_tf.reproduce": ("wespe_tf.reproduce", "runs the report's experiments"),
}


def main() -> None:
    """Prints one line for each command."""
    print("Commands of wespe_tf; each prints its settings with --help:\n")
    for name, (_, meaning) in COMMANDS.items():
        print(f"  {name:<30} {meaning}")


if __name__ == "__main__":
    main()
