"""The command `align`: writes aligned patches of two cameras' photos, in DPED's folder layout."""

import csv
import dataclasses
import io
import os
import shlex
import tempfile
from collections import Counter
from pathlib import Path

import imageio.v3 as iio
import numpy as np

from ..config.command import as_command
from ..config.loading import load
from ..config.schema import LEAST_SIDE, TrainConfig
from ..errors import UserError, first_line
from ..files import write_atomically
from ..images.picture import read_picture
from ..progress import progress
from .align_page import PAIR_SIDE, pair_card, refused_card
from .cutting import Cutter
from .pages import count, page
from .pairing import Match, Side, find_matches, read_side, scenes_of
from .settings import AlignConfig

USAGE = """\
usage: python -m wespe_tf.data align phone_dir=FOLDER camera_dir=FOLDER output=FOLDER [key=value …]

Finds photos of a phone and of a good camera that show the same scene. Cuts out patches that show
the same part of it. Keeps some scenes apart for testing. OUTPUT/align.html shows which photos were
paired, and which were refused and why. OUTPUT/patches.csv says where each patch comes from. To
train on the patches:

  python train.py model=phone dped_dir=OUTPUT                             without the pairing
  python train.py preset=dped model=phone dped_dir=OUTPUT train_size=-1   on the pairs"""

COLUMNS = (
    *("part", "number", "scene", "phone_photo", "left", "top"),
    *("camera_photo", "camera_x", "camera_y", "correlation"),
)
# Options of the encoder. JPEG keeps colors at full resolution.
ENCODING: dict[str, dict] = {"png": {}, "jpg": {"quality": 95, "subsampling": 0}}
BATCH_OF_DPED = 50
# Below this number of camera pixels along a phone pixel, the camera shows less detail.
COARSEST = 0.8
# The setting that refuses windows for this reason.
KEYS = {"too unlike": "threshold", "out of reach": "search", "nothing to see": "phone_dir"}


@as_command(USAGE, AlignConfig)
def main(config: AlignConfig) -> None:
    """Runs `align`."""
    align(config)


def align(config: AlignConfig) -> None:
    """Pairs the photos and writes their aligned patches.

    Args:
        config: the settings. The folder `output` must be empty or not exist.

    Raises:
        UserError: if the settings are not complete, no photos show the same scene, no patch is
            kept, or the results cannot be written. Then nothing is written.
    """
    for key in ("phone_dir", "camera_dir", "output"):
        if not getattr(config, key):
            raise UserError(f"{key}=: missing; expected a folder")
    if not config.phone or set(config.phone) & set("/\\") or config.phone in (".", "..", "canon"):
        raise UserError(f"phone={config.phone}: expected a name for a folder, other than canon")
    output = Path(config.output)
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise UserError(f"output={output}: exists already; expected a new folder")
    phone = read_side(config.phone_dir, "phone_dir")
    camera = read_side(config.camera_dir, "camera_dir")
    matches, reasons = find_matches(phone, camera, config)
    if not matches:
        raise UserError(
            f"phone_dir: no photo of {config.phone_dir} shows a scene of {config.camera_dir} "
            f"({len(phone.paths)} and {len(camera.paths)} photos compared)"
        )
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as scratch:
            made = Path(scratch) / "made"
            made.mkdir()
            summary = Writer(config, phone, camera, made).write(matches, reasons)
            os.replace(made, output)
    except OSError as error:
        raise UserError(f"output={output}: {error.strerror or first_line(error)}") from error
    print("\n".join(summary))


class Writer:
    """Writes a data set of aligned patches.

    Args:
        config: the settings.
        phone: the phone's photos.
        camera: the camera's photos.
        folder: an empty folder to write into.
    """

    def __init__(self, config: AlignConfig, phone: Side, camera: Side, folder: Path):
        self.config, self.phone, self.camera, self.folder = config, phone, camera, folder
        self.rows: list[dict] = []
        self.cards: list[str] = []
        self.refused: Counter[str] = Counter()
        self.coarse = 0

    def write(self, matches: list[Match], reasons: dict[int, str]) -> list[str]:
        """Cuts the patches of all matches, sets some scenes apart, writes the table and the page.

        Args:
            matches: photos that show the same scene.
            reasons: why the phone's other photos have no partner, by index.

        Returns:
            Lines of a summary.

        Raises:
            UserError: if no patch is kept.
        """
        drafts = self.folder / "drafts"
        drafts.mkdir()
        scenes = scenes_of(matches, self.phone, self.config)
        for match, scene in zip(progress(matches, desc="cutting"), scenes):
            self._cut(match, int(scene), drafts)
        if not self.rows:
            raise self._nothing_kept(len(matches))
        self._set_apart()
        self._move(drafts)
        drafts.rmdir()
        summary = self._summary(len(matches))
        text = io.StringIO()
        table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(self.rows)
        write_atomically(self.folder / "patches.csv", text.getvalue().encode())
        self._write_page(reasons, summary[0])
        return summary

    def _cut(self, match: Match, scene: int, drafts: Path) -> None:
        paths = self.phone.paths[match.phone], self.camera.paths[match.camera]
        photo, other = (read_picture(path) for path in paths)
        config = self.config
        cutter = Cutter(
            photo, other, match.registration, config.patch_size, config.search, config.threshold
        )
        windows = []
        for window in cutter.windows(config.stride):
            # Without the patches, which would fill the memory if photos are large.
            windows.append(dataclasses.replace(window, phone=None, camera=None))
            if window.reason:
                continue
            for side in ("phone", "camera"):
                name = f"{side}{len(self.rows)}.{config.format}"
                patch, encoding = getattr(window, side), ENCODING[config.format]
                iio.imwrite(drafts / name, patch, plugin="pillow", **encoding)
            self.rows.append(
                {
                    "scene": scene,
                    "phone_photo": os.path.relpath(paths[0], config.phone_dir),
                    "left": window.left,
                    "top": window.top,
                    "camera_photo": os.path.relpath(paths[1], config.camera_dir),
                    "camera_x": f"{window.x:.2f}",
                    "camera_y": f"{window.y:.2f}",
                    "correlation": f"{window.correlation:.4f}",
                }
            )
        self.coarse += cutter.scale < COARSEST
        refused = Counter(window.reason for window in windows if window.reason)
        self.refused += refused
        numbers = [
            f"by {match.way}, {match.registration.matches} points agree",
            f"{len(windows) - refused.total()} of {len(windows)} patches kept",
            *(f"{number} {reason}" for reason, number in refused.most_common()),
        ]
        names = " · ".join(os.path.basename(path) for path in paths)
        self.cards.append(
            pair_card(
                photo,
                cutter.preview(PAIR_SIDE),
                windows,
                config.patch_size,
                names,
                f"scene {scene} · {' · '.join(numbers)}",
            )
        )

    def _nothing_kept(self, pairs: int) -> UserError:
        """The error if no patch is kept. It names the setting that refused most of them."""
        reasons = [f"{number} {reason}" for reason, number in self.refused.most_common()]
        key = KEYS[max(self.refused, key=self.refused.__getitem__)] if reasons else "patch_size"
        return UserError(
            f"{key}={getattr(self.config, key)}: no patch is kept of {count(pairs, 'pair')} of "
            f"photos ({', '.join(reasons) or 'none fits into what both photos show'})"
        )

    def _set_apart(self) -> None:
        """Decides for each scene whether its rows are for training or for testing."""
        found = sorted({row["scene"] for row in self.rows})
        # The choice is random, but the same every time. At least one scene stays for training.
        order = np.random.default_rng(0).permutation(found)
        wanted = max(1, round(self.config.test_share * len(found))) if self.config.test_share else 0
        test = set(order[: min(wanted, len(found) - 1)].tolist())
        numbers: Counter[str] = Counter()
        for row in self.rows:
            row["part"] = "test" if row["scene"] in test else "train"
            row["number"] = numbers[row["part"]]
            numbers[row["part"]] += 1

    def _move(self, drafts: Path) -> None:
        """Moves the patches to their places in DPED's layout."""
        phone, suffix = self.config.phone, self.config.format
        parts = {"train": ("training_data",), "test": ("test_data", "patches")}
        for number, row in enumerate(self.rows):
            for side, name in (("phone", phone), ("camera", "canon")):
                place = self.folder.joinpath(phone, *parts[row["part"]], name)
                place.mkdir(parents=True, exist_ok=True)
                os.replace(drafts / f"{side}{number}.{suffix}", place / f"{row['number']}.{suffix}")

    def _summary(self, pairs: int) -> list[str]:
        """Lines that say what was done, and how to go on."""
        config, parts = self.config, Counter(row["part"] for row in self.rows)
        scenes = len({row["scene"] for row in self.rows})
        lines = [
            f"{count(pairs, 'pair')} of photos, {count(scenes, 'scene')}: "
            f"{parts['train']} pairs of patches to train, {parts['test']} to test"
        ]
        if self.coarse:
            lines.append(
                f"in {count(self.coarse, 'pair')} the camera saw less detail than the phone, so a "
                "network learns no sharpness from them; go nearer with the camera, or zoom in"
            )
        if self.phone.broken + self.camera.broken:
            lines += [f"left out {reason}" for reason in self.phone.broken + self.camera.broken]
        lines.append(f"{config.output}/align.html shows them; to train:")
        data = shlex.join([f"model={config.phone}", f"dped_dir={config.output}"])
        lines.append(" ".join(["python train.py", data, *fitting_settings(config.patch_size)]))
        if parts["test"]:
            batch = min(BATCH_OF_DPED, parts["test"])
            lines.append(
                f"python train.py preset=dped {data} train_size=-1 "
                f"batch_size={batch} patch_size={config.patch_size}"
            )
        else:
            lines.append(
                "all are of one scene, or test_share is 0, so there is nothing to test with"
            )
        return lines

    def _write_page(self, reasons: dict[int, str], summary: str) -> None:
        refused = [
            refused_card(
                self.phone.thumbnails[index], os.path.basename(self.phone.paths[index]), reason
            )
            for index, reason in reasons.items()
        ]
        content = page(
            "align.html",
            "Aligned photos",
            summary=summary,
            pairs="\n".join(self.cards),
            refused="\n".join(refused) or "<p>None.</p>",
        )
        write_atomically(self.folder / "align.html", content)


def fitting_settings(side: int) -> list[str]:
    """Settings with which the recommended recipe trains on patches that are smaller than its own.

    Args:
        side: side of the patches, at least `LEAST_SIDE` pixels.
    """
    usual = load(TrainConfig, ["preset=recommended"])
    border = min(usual.border, (side - LEAST_SIDE) // 2)
    return [
        *([f"patch_size={side}"] if side < usual.patch_size else []),
        *([f"border={border}"] if border < usual.border else []),
    ]
