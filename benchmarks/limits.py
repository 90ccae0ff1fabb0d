"""Draws the figure of docs/LIMITS.md: photos of other kinds than the training photos, enhanced.

python benchmarks/limits.py [model=MODEL] [output=docs/figures/limits.jpg]

The pictures come with scikit-image: a bright photo, a night photo, a face, a printed page.
"""

import dataclasses
import io
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from skimage import data

from wespe_tf.config.command import as_command
from wespe_tf.config.schema import setting
from wespe_tf.enhance import enhance, load_generator
from wespe_tf.files import write_atomically
from wespe_tf.images.picture import to_uint8
from wespe_tf.weights.generator import find_model

USAGE = "usage: python benchmarks/limits.py [model=MODEL] [output=FILE]"
SIDE = 400


@dataclasses.dataclass
class Settings:
    """Settings of this script."""

    model: str = setting("", "the same as for test_model.py")
    output: str = setting("docs/figures/limits.jpg", "the figure")


def pictures() -> dict[str, np.ndarray]:
    """(H, W, 3) uint8 pictures by what they stand for."""
    coffee = data.coffee()[:SIDE, 100 : 100 + SIDE]
    page = np.repeat(data.page()[:SIDE, :SIDE, None], 3, axis=-1)
    return {
        "bright already": to_uint8(np.clip(coffee / 255 * 1.5, 0, 1)),
        "night": data.rocket()[:SIDE, 150 : 150 + SIDE],
        "face": data.astronaut()[:SIDE, :SIDE],
        "printed page": page,
    }


@as_command(USAGE, Settings)
def main(config: Settings) -> None:
    """Draws the figure."""
    generator = load_generator(find_model(config.model))
    shown = pictures()
    figure, axes = plt.subplots(2, len(shown), figsize=(3 * len(shown), 6), layout="constrained")
    for column, (name, picture) in zip(axes.T, shown.items()):
        for axis, image in zip(column, (picture, enhance(generator, picture))):
            axis.imshow(image)
            axis.axis("off")
        column[0].set_title(name)
    file = io.BytesIO()
    figure.savefig(file, format="jpeg", dpi=110, pil_kwargs={"quality": 88})
    write_atomically(Path(config.output), file.getvalue())
    print(config.output)


if __name__ == "__main__":
    main.run()
