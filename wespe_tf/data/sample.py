"""The sample dataset: small, built in seconds from pictures that scikit-image contains.

The target domain is good photos. The source domain is other good photos, taken again by a simulated
phone (`camera.py`). The validation pairs are further regions, in both forms. Nothing is downloaded.
"""

import hashlib
import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import skimage
from PIL import Image

from ..files import digest
from .camera import PhoneCamera
from .folders import DataFolders

# The color pictures of scikit-image that are ordinary photos. motorcycle_right.png is left out: it
# shows the same scene as motorcycle_left.png, so its regions would have two roles.
PICTURES = {
    "astronaut.png": "Eileen Collins; NASA Great Images, public domain.",
    "chelsea.png": "Chelsea the cat; Stefan van der Walt, CC0.",
    "coffee.png": "A cup of coffee; Rachel Michetti, courtesy of Pikolo Espresso Bar, CC0.",
    "motorcycle_left.png": "Middlebury stereo benchmark 2014 (Scharstein et al., GCPR 2014); "
    "no license is named.",
    "rocket.jpg": "Falcon 9 with DSCOVR; SpaceX, released into the public domain.",
}


@dataclass(frozen=True)
class Region:
    """A rectangle of a picture, and its use.

    Attributes:
        picture: file name, a key of `PICTURES`.
        role: "source", "target" or "val".
        left, top: upper left corner, pixels.
        width, height: pixels.
    """

    picture: str
    role: str
    left: int
    top: int
    width: int
    height: int

    @property
    def stem(self) -> str:
        """File name without suffix. It contains the place of the rectangle, and is unique."""
        return f"{Path(self.picture).stem}-{self.left}-{self.top}"

    def cut(self, picture: np.ndarray) -> np.ndarray:
        """Return the rectangle of `picture` (H, W, 3), any dtype."""
        return picture[self.top : self.top + self.height, self.left : self.left + self.width]


# Chosen by eye, then compared by their color distributions. In each picture, source and target show
# the same materials and colors, so that a discriminator cannot tell them apart by content (cats
# from coffee). Validation regions have texture and a variety of colors. They are 8 pixels away from
# training regions, farther than the lens blur reaches.
LAYOUT = (
    Region("astronaut.png", "source", 0, 0, 128, 512),  # flag, sleeve
    Region("astronaut.png", "source", 298, 258, 214, 254),  # helmet, shoulder
    Region("astronaut.png", "target", 136, 0, 154, 332),  # face, collar, chest
    Region("astronaut.png", "target", 298, 0, 214, 250),  # shuttle
    Region("astronaut.png", "val", 136, 340, 154, 172),  # mission patch, straps
    Region("chelsea.png", "source", 229, 0, 222, 160),  # right eye and ear
    Region("chelsea.png", "target", 0, 0, 221, 160),  # left eye, cheek
    Region("chelsea.png", "val", 80, 168, 320, 132),  # nose, whiskers
    Region("coffee.png", "source", 0, 0, 196, 400),  # saucer, wood
    Region("coffee.png", "source", 204, 0, 192, 210),  # cup, coffee
    Region("coffee.png", "target", 404, 0, 196, 400),  # saucer, wood, spoon's handle
    Region("coffee.png", "val", 204, 218, 192, 182),  # cup's handle, spoon
    Region("motorcycle_left.png", "source", 0, 0, 300, 500),  # bench, rear wheel
    Region("motorcycle_left.png", "target", 478, 0, 263, 500),  # boxes, front wheel
    Region("motorcycle_left.png", "target", 308, 338, 162, 162),  # floor
    Region("motorcycle_left.png", "val", 308, 0, 162, 330),  # tools, tank, engine
    Region("rocket.jpg", "source", 0, 0, 210, 427),  # towers
    Region("rocket.jpg", "target", 408, 0, 232, 427),  # towers
    Region("rocket.jpg", "val", 218, 110, 182, 317),  # rocket
)

CAMERA = PhoneCamera()

_MANIFEST = "manifest.json"

_README = """\
Sample dataset for WESPE: photos of a simulated poor phone (source), good photos (target), and
both of the same regions for validation (val_source, val_target: equal names are pairs). No region
of a picture is in two of source, target and validation. wespe_tf/data/sample.py made it, and makes
it again when this folder is deleted.

The pictures come from scikit-image's data folder. Its documentation says of them:
"""


def build_sample(folder: str | Path, seed: int = 0) -> DataFolders:
    """Make the sample dataset in `folder`, unless it is there already.

    It is made beside `folder` and then renamed, so it appears whole or not at all. A dataset that
    is damaged, or was made with other settings, is replaced.

    Args:
        folder: where to make it; parents are created.
        seed: seed of the camera's noise, >= 0; nothing else is random.

    Returns:
        The four folders of pictures.

    Raises:
        FileNotFoundError: if scikit-image is installed without one of the pictures.
        ValueError: if a picture of scikit-image is smaller than expected.
        FileExistsError: if `folder` must be replaced, but holds files that are not the sample's.

    Example:
        >>> folders = build_sample("data/sample")  # doctest: +SKIP
        >>> len(list(folders.source.glob("*.jpg")))  # doctest: +SKIP
        7
    """
    folder = Path(folder)
    folders = DataFolders(
        source=folder / "source",
        target=folder / "target",
        val_source=folder / "val_source",
        val_target=folder / "val_target",
    )
    settings = {"seed": seed, "camera": asdict(CAMERA), "layout": [asdict(r) for r in LAYOUT]}
    if _is_complete(folder, settings):
        return folders

    files = _make_files(seed)
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    files[_MANIFEST] = json.dumps({"settings": settings, "sha256": digests}, indent=1).encode()
    _refuse_strangers(folder, files)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        made = Path(scratch) / "new"
        for name, data in files.items():
            (made / name).parent.mkdir(parents=True, exist_ok=True)
            (made / name).write_bytes(data)
        try:
            if folder.exists():
                folder.rename(Path(scratch) / "old")
            made.rename(folder)
        except OSError:
            # Another process may have built the same dataset in the meantime.
            if not _is_complete(folder, settings):
                raise
    return folders


def load_picture(name: str) -> np.ndarray:
    """Read a picture that scikit-image contains.

    It is read as a file, because the functions of `skimage.data` download files that are missing.

    Args:
        name: file name, such as "coffee.png".

    Returns:
        uint8 (H, W, 3).

    Raises:
        FileNotFoundError: if the installed scikit-image lacks the file.
    """
    path = Path(skimage.__file__).parent / "data" / name
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: the sample dataset needs {name}, which scikit-image's wheel "
            "contains; reinstall it with `pip install --force-reinstall scikit-image`"
        )
    return np.asarray(Image.open(path).convert("RGB"))


def _make_files(seed: int) -> dict[str, bytes]:
    """Return all files except the manifest: name relative to the dataset's folder -> content."""
    files = {"README.txt": _make_readme().encode()}
    for index, name in enumerate(sorted(PICTURES)):
        picture = load_picture(name)
        # The camera takes the whole picture before it is cut, so that vignetting is right.
        photo = CAMERA.develop(
            picture.astype(np.float32) / 255, np.random.default_rng([seed, index])
        )
        for region in (region for region in LAYOUT if region.picture == name):
            clean = region.cut(picture)
            if clean.shape != (region.height, region.width, 3):
                raise ValueError(
                    f"scikit-image's {name} is {picture.shape[1]}x{picture.shape[0]} pixels, too "
                    f"small for {region}; another version of scikit-image may have the right one"
                )
            if region.role == "source":
                files[f"source/{region.stem}.jpg"] = CAMERA.encode(region.cut(photo))
            elif region.role == "target":
                files[f"target/{region.stem}.png"] = _encode_png(clean)
            else:
                files[f"val_source/{region.stem}.jpg"] = CAMERA.encode(region.cut(photo))
                files[f"val_target/{region.stem}.png"] = _encode_png(clean)
    return files


def _make_readme() -> str:
    credits = "".join(f"- {name}: {credit}\n" for name, credit in PICTURES.items())
    return _README + credits


def _encode_png(picture: np.ndarray) -> bytes:
    """Write uint8 (H, W, 3) as the bytes of a PNG file."""
    return iio.imwrite("<bytes>", picture, extension=".png", plugin="pillow")


def _read_manifest(folder: Path) -> dict:
    """Return the manifest, or an empty one if it is missing or unreadable."""
    try:
        manifest = json.loads((folder / _MANIFEST).read_bytes())
        return {"settings": manifest["settings"], "sha256": dict(manifest["sha256"])}
    except (OSError, ValueError, KeyError, TypeError):
        return {"settings": None, "sha256": {}}


def _is_complete(folder: Path, settings: dict) -> bool:
    """Whether `folder` holds the undamaged dataset of these settings."""
    manifest = _read_manifest(folder)
    # The settings go through JSON, as in the manifest, because JSON turns tuples into lists.
    return manifest["settings"] == json.loads(json.dumps(settings)) and all(
        (folder / name).is_file() and digest(folder / name) == expected
        for name, expected in manifest["sha256"].items()
    )


def _refuse_strangers(folder: Path, files: dict[str, bytes]) -> None:
    """Raise FileExistsError if `folder` holds a file that is in neither the old nor new dataset."""
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; the sample dataset needs a folder")
    known = files.keys() | _read_manifest(folder)["sha256"].keys()
    for path in folder.rglob("*"):
        if path.is_file() and path.relative_to(folder).as_posix() not in known:
            raise FileExistsError(
                f"{path} is not part of the sample dataset, which is to be built again in "
                f"{folder}; move it away or choose another folder"
            )
