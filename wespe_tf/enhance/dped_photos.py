"""DPED's full-size test photos, enhanced as the authors' `test_model.py` does."""

from pathlib import Path

import numpy as np
from PIL import Image

from ..config.schema import TestConfig
from ..data.folders import find_pictures, natural_order
from ..errors import UserError
from ..files import make_folder
from ..images.picture import read_picture, write_picture
from ..weights.generator import find_model
from ..weights.tf1_checkpoint import load_checkpoint
from .runtimes import choose_runtime, enhancing
from .tasks import BEFORE_AFTER, ENHANCED
from .tiles import Enhancer

# Height and width of DPED's photos, and of the center crops that `resolution` names.
NATIVE_SIZES = {"iphone": (1536, 2048), "blackberry": (1560, 2080), "sony": (1944, 2592)}
CROP_SIZES = {
    "high": (1260, 1680),
    "medium": (1024, 1366),
    "small": (768, 1024),
    "tiny": (600, 800),
}
# Settings that the authors' command does not have.
OWN_PHOTOS_ONLY = (
    *("target", "strength", "tone", "detail", "format", "quality", "overwrite", "report"),
    "max_megapixels",
)


def enhance_test_photos(config: TestConfig) -> None:
    """Enhances DPED's full-size test photos with the authors' keys, crops and file names.

    Three things differ from their code: pixels are not rounded to float16, results are clipped to
    [0, 1], and `iteration=all` means every checkpoint that exists. If runtime, precision and mode
    are `auto`, a photo is enhanced as in their code: whole, in float32.

    Args:
        config: `TestConfig` without `input`.

    Raises:
        UserError: if the model, its checkpoints or the photos are missing, a photo cannot be
            enhanced, or a setting is for own photos only.
    """
    phone = config.model.removesuffix("_orig")
    if phone not in NATIVE_SIZES:
        raise UserError(
            f"model={config.model}: give input=PHOTO_OR_FOLDER to enhance your own photos, or, for "
            f"DPED's test photos, one of {', '.join(NATIVE_SIZES)}, or these with _orig"
        )
    for key in OWN_PHOTOS_ONLY:
        if getattr(config, key) != getattr(TestConfig, key):
            raise UserError(f"{key}: needs input= too; DPED's test photos do without it")
    folder = Path(config.dped_dir) / phone / "test_data" / "full_size_test_images"
    photos = find_pictures(folder, "dped_dir")
    if config.test_subset == "small":
        photos = photos[:5]

    if config.model.endswith("_orig"):
        found = {"": find_model(config.model, config.models_orig_dir)}
    else:
        found = _iterations(phone, config.iteration)
    output = Path(config.output)
    make_folder(output)
    theirs = {"runtime": "keras", "precision": "float32", "mode": "whole"}
    chosen = {key: getattr(config, key) for key in theirs}
    asked = {key: theirs[key] if value == "auto" else value for key, value in chosen.items()}
    for label, checkpoint in found.items():
        runtime = choose_runtime(asked["runtime"], asked["precision"])
        enhancer = Enhancer(load_checkpoint(checkpoint), runtime, reflect=False)
        for path in photos:
            stage = label.replace("_", " ").strip()
            what = f"{stage}, " if stage else f"Testing original {phone} model, "
            print(f"{what}processing image {Path(path).name}")
            photo = _center_crop(path, phone, config.resolution)
            with enhancing(path):
                plan = enhancer.plan(photo, asked["mode"], config.memory_limit)
                enhanced = enhancer(photo, plan)
            name = f"{config.model}_{Path(path).stem}{label}"
            write_picture(output / f"{name}{ENHANCED}.png", enhanced)
            write_picture(output / f"{name}{BEFORE_AFTER}.png", np.hstack([photo, enhanced]))


def _iterations(phone: str, iteration: str) -> dict[str, Path]:
    """Checkpoints of a model that was trained here, by a part of the results' names, in order."""
    found = {}
    for path in sorted(Path("models").glob(f"{phone}_iteration_*.ckpt.index"), key=natural_order):
        number = path.name.removeprefix(f"{phone}_iteration_").removesuffix(".ckpt.index")
        if number.isdigit() and iteration in ("all", number):
            found[f"_iteration_{number}"] = path.with_suffix("")
    if not found:
        wanted = "" if iteration == "all" else f" of iteration {iteration}"
        raise UserError(
            f"model={phone}: no checkpoint{wanted} models/{phone}_iteration_<i>.ckpt; "
            f"train it with train.py preset=dped model={phone}"
        )
    return found


def _center_crop(path: str | Path, phone: str, resolution: str) -> np.ndarray:
    """A photo at its phone's native size, cut to `resolution`: (H, W, 3) uint8."""
    height, width = NATIVE_SIZES[phone]
    photo = read_picture(path)
    if photo.shape[:2] != (height, width):
        photo = np.asarray(Image.fromarray(photo).resize((width, height)))
    if resolution == "orig":
        return photo
    crop_height, crop_width = CROP_SIZES[resolution]
    top, left = (height - crop_height) // 2, (width - crop_width) // 2
    return photo[top : top + crop_height, left : left + crop_width]
