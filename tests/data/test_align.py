"""align: which shots are pairs, where their patches lie, and training on what it writes."""

import csv
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.registration import phase_cross_correlation

pytest.importorskip("cv2", reason="OpenCV is missing: pip install -e '.[align]'")

from tests.data.two_cameras import phone_and_camera, scene_of  # noqa: E402
from tests.training.runs import TINY  # noqa: E402
from wespe_tf.config.loading import load  # noqa: E402
from wespe_tf.config.schema import TrainConfig  # noqa: E402
from wespe_tf.data import __main__ as command  # noqa: E402
from wespe_tf.data.align import Writer, main  # noqa: E402
from wespe_tf.data.dped import dped_folders  # noqa: E402
from wespe_tf.data.pairing import Side  # noqa: E402
from wespe_tf.data.registration import Registration  # noqa: E402
from wespe_tf.data.settings import AlignConfig  # noqa: E402
from wespe_tf.errors import UserError  # noqa: E402
from wespe_tf.training import cli  # noqa: E402

SIZE = 100
# The phone's file: what it shows, and the camera's file of the same. "same.jpg" misleads.
SHOTS = {
    "a.jpg": ("astronaut.png", "IMG_1.png"),
    "same.jpg": ("coffee.png", "IMG_2.png"),
    "c.jpg": ("motorcycle_left.png", "same.png"),
    "a2.jpg": ("astronaut.png", "IMG_3.png"),
    "lonely.jpg": ("rocket.jpg", None),
}


class Shots:
    """Folders of both cameras' photos, and by their files what they show: (picture, view)."""

    def __init__(self, folder):
        self.phone, self.camera = folder / "phone", folder / "camera"
        self.phone_views, self.camera_views = {}, {}
        self.phone.mkdir()
        self.camera.mkdir()
        rng = np.random.default_rng(3)
        for name, (picture, partner) in SHOTS.items():
            (view, photo), (other_view, other) = phone_and_camera(scene_of(picture), rng)
            Image.fromarray(photo).save(self.phone / name, quality=92)
            self.phone_views[name] = picture, view
            if partner:
                self.camera_views[partner] = picture, other_view
                Image.fromarray(other).save(self.camera / partner)
        (_, _), (_, other) = phone_and_camera(scene_of("chelsea.png"), rng)
        Image.fromarray(other).save(self.camera / "cat.png")

    def truth(self, row, points):
        """Pixels of a row's camera photo that show those (N, 2) of its phone photo."""
        phone = self.phone_views[row["phone_photo"]][1]
        return self.camera_views[row["camera_photo"]][1].from_scene(phone.to_scene(points))

    def scale(self, row):
        """Pixels of the camera along one of the phone's, in the middle of the photo."""
        middle = np.array(self.phone_views[row["phone_photo"]][1].size) / 2
        here, there = self.truth(row, np.array([middle, middle + (0, 1)]))
        return np.linalg.norm(there - here)


@pytest.fixture(scope="module")
def shots(tmp_path_factory):
    return Shots(tmp_path_factory.mktemp("shots"))


@pytest.fixture(scope="module")
def aligned(shots, tmp_path_factory):
    """The folder that align writes."""
    output = tmp_path_factory.mktemp("aligned") / "new" / "data"
    main(
        [f"phone_dir={shots.phone}", f"camera_dir={shots.camera}", f"output={output}", "stride=50"]
    )
    return output


@pytest.fixture(scope="module")
def rows(aligned):
    with open(aligned / "patches.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def patch(folders, row, side):
    """A patch of the data set: uint8."""
    part = {"train": ("source", "target"), "test": ("val_source", "val_target")}[row["part"]]
    folder = getattr(folders, part[side == "canon"])
    return np.asarray(Image.open(folder / f"{row['number']}.png"))


@pytest.mark.slow
def test_no_patch_is_of_a_wrong_pair(rows, shots):
    found = {(row["phone_photo"], row["camera_photo"]) for row in rows}
    assert {name for name, _ in found} == {name for name, (_, partner) in SHOTS.items() if partner}
    assert len(found) == 4
    for phone, camera in found:
        assert shots.phone_views[phone][0] == shots.camera_views[camera][0]


@pytest.mark.slow
def test_patches_are_within_half_a_pixel_of_the_truth(rows, shots):
    misses = []
    for row in rows:
        middle = (SIZE - 1) / 2
        center = np.array([[int(row["left"]) + middle, int(row["top"]) + middle]])
        found = np.array([float(row["camera_x"]), float(row["camera_y"])])
        misses.append(np.linalg.norm(shots.truth(row, center)[0] - found) / shots.scale(row))
    assert len(misses) > 150
    assert np.mean(np.array(misses) < 0.5) >= 0.95
    assert np.max(misses) < 2


@pytest.mark.slow
def test_what_is_written_shows_what_the_table_says(rows, shots, aligned):
    """The camera's patches lie on the truth, sampled here from the camera's photo."""
    cv2 = sys.modules["cv2"]
    folders = dped_folders(aligned, "phone")
    misses = []
    for row in rows[::5]:
        left, top = int(row["left"]), int(row["top"])
        source = np.asarray(Image.open(shots.phone / row["phone_photo"]))
        np.testing.assert_array_equal(
            patch(folders, row, "phone"), source[top : top + SIZE, left : left + SIZE]
        )
        x, y = np.meshgrid(left + np.arange(SIZE), top + np.arange(SIZE))
        places = shots.truth(row, np.stack([x.ravel(), y.ravel()], 1).astype(float))
        x, y = places.astype(np.float32).T.reshape(2, SIZE, SIZE)
        photo = np.asarray(Image.open(shots.camera / row["camera_photo"]))
        true = cv2.remap(photo, x, y, cv2.INTER_CUBIC).mean(2)
        cut = patch(folders, row, "canon").mean(2)
        assert np.corrcoef(true.ravel(), cut.ravel())[0, 1] > 0.9
        misses.append(
            np.linalg.norm(
                phase_cross_correlation(true, cut, upsample_factor=20, normalization=None)[0]
            )
        )
    assert np.mean(np.array(misses) < 0.5) >= 0.95


@pytest.mark.slow
def test_correlations_are_those_of_the_patches(rows, aligned):
    folders = dped_folders(aligned, "phone")
    for row in rows[::20]:
        sides = [
            np.asarray(Image.fromarray(patch(folders, row, side)).convert("L"), float).ravel()
            for side in ("phone", "canon")
        ]
        # Gray values are rounded by two libraries.
        assert np.corrcoef(*sides)[0, 1] == pytest.approx(float(row["correlation"]), abs=2e-3)
        assert float(row["correlation"]) >= 0.9


@pytest.mark.slow
def test_scenes_are_for_training_or_for_testing(rows):
    parts = {}
    for row in rows:
        parts.setdefault(SHOTS[row["phone_photo"]][0], set()).add(row["part"])
    assert all(len(found) == 1 for found in parts.values())
    assert set.union(*parts.values()) == {"train", "test"}
    scenes = {(row["scene"], SHOTS[row["phone_photo"]][0]) for row in rows}
    assert len(scenes) == 3  # Both photos of the astronaut are one.


@pytest.mark.slow
def test_numbers_are_those_of_the_files(rows, aligned):
    folders = dped_folders(aligned, "phone")
    for part, sides in (
        ("train", (folders.source, folders.target)),
        ("test", (folders.val_source, folders.val_target)),
    ):
        names = {f"{row['number']}.png" for row in rows if row["part"] == part}
        assert names == {f"{number}.png" for number in range(len(names))}
        for side in sides:
            assert {path.name for path in side.iterdir()} == names


@pytest.mark.slow
def test_the_page_shows_pairs_and_refused_photos(aligned, rows):
    page = (aligned / "align.html").read_text("utf-8")
    for row in rows:
        assert f"{row['phone_photo']} · {row['camera_photo']}" in page
    pairs, refused = page.split("<h2>Refused</h2>")
    assert pairs.count('class="camera"') == 4
    assert refused.count("<figure") == 1 and "lonely.jpg" in refused
    assert "no photo of the camera matches" in refused
    assert len(list(aligned.iterdir())) == 3  # and patches.csv, and the phone's folder


@pytest.mark.slow
def test_by_names_alone(shots, tmp_path):
    """The one pair of equal names shows two scenes: nothing is left."""
    arguments = [f"phone_dir={shots.phone}", f"camera_dir={shots.camera}"]
    with pytest.raises(UserError, match=r"no photo of .* shows a scene of .* \(5 and 5 photos"):
        main([*arguments, f"output={tmp_path / 'out'}", "match=names"])
    assert not list(tmp_path.iterdir())


@pytest.fixture
def small(tmp_path, make_photo):
    """Arguments that name a folder of one small photo for each camera."""
    for side in ("phone", "camera"):
        (tmp_path / side).mkdir()
        Image.fromarray(make_photo(120, 130)).save(tmp_path / side / "a.png")
    return [f"phone_dir={tmp_path / 'phone'}", f"camera_dir={tmp_path / 'camera'}"]


def test_what_is_there_is_left_alone(small, tmp_path, snapshot):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    before = snapshot(tmp_path)
    with pytest.raises(UserError, match="output=.*out: exists already"):
        main([*small, f"output={tmp_path / 'out'}"])
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    "changed, message",
    [
        ("phone_dir=", "phone_dir=: missing"),
        ("phone=a/b", "phone=a/b: expected a name"),
        ("phone=canon", "other than canon"),
        ("camera_dir=nowhere", "camera_dir: no folder nowhere"),
    ],
)
def test_mistakes_are_named(small, tmp_path, changed, message):
    with pytest.raises(UserError, match=message):
        main([*small, f"output={tmp_path / 'out'}", changed])
    assert not (tmp_path / "out").exists()


@pytest.fixture
def noisy(tmp_path, rng):
    """Arguments that name two folders of the same picture, with noise in the camera's."""
    picture = scene_of("coffee.png")[:300, :300]
    for side, noise in (("phone", 0), ("camera", 3)):
        (tmp_path / side).mkdir()
        seen = np.clip(picture + rng.normal(0, noise, picture.shape), 0, 255)
        Image.fromarray(seen.astype(np.uint8)).save(tmp_path / side / "a.png")
    return [f"{side}_dir={tmp_path / side}" for side in ("phone", "camera")]


@pytest.mark.parametrize(
    "settings, message",
    [
        (["threshold=1"], r"threshold=1.0: no patch is kept of 1 pair of photos \(\d too unlike\)"),
        (["patch_size=299"], r"patch_size=299: .* \(none fits into what both photos show\)"),
        (["search=1"], "search=1: expected at least 2"),
    ],
)
def test_settings_that_keep_no_patch_are_named(noisy, tmp_path, settings, message):
    with pytest.raises(UserError, match=message):
        main([*noisy, f"output={tmp_path / 'out'}", *settings])
    assert not (tmp_path / "out").exists()


def test_the_setting_that_refuses_most_patches_is_named(noisy, tmp_path, monkeypatch):
    """A registration that is 3 pixels wrong puts all windows out of reach."""
    right = Registration.__call__
    monkeypatch.setattr(Registration, "__call__", lambda self, points: right(self, points) + 3)
    with pytest.raises(UserError, match=r"search=2: no patch .* \(4 out of reach\)"):
        main([*noisy, f"output={tmp_path / 'out'}", "search=2"])


def test_the_smallest_search_keeps_patches(noisy, tmp_path):
    main([*noisy, f"output={tmp_path / 'out'}", "search=2"])
    assert (tmp_path / "out" / "patches.csv").read_text().count("\n") > 1


def test_missing_opencv_is_named_with_its_install_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    for name in ("align", "pairing", "cutting", "matching", "registration"):
        monkeypatch.delitem(sys.modules, f"wespe_tf.data.{name}", raising=False)
    with pytest.raises(UserError, match=r'align needs .* cv2: pip install "wespe_tf\[align\]"'):
        command.main(["align"])


def test_other_commands_are_refused():
    with pytest.raises(UserError, match="crop: expected check or align"):
        command.main(["crop"])


@pytest.mark.parametrize("side", [17, 32, 33, 63, 64, 100])
def test_the_printed_commands_fit_the_patches_and_their_folder(tmp_path, side):
    config = AlignConfig(output="my photos", phone="pixel", patch_size=side)
    writer = Writer(config, Side(), Side(), tmp_path)
    writer.rows = [{"scene": scene, "part": part} for scene, part in enumerate(("train", "test"))]
    found = [shlex.split(line) for line in writer._summary(2) if line.startswith("python")]
    unpaired, paired = (load(TrainConfig, command[2:]) for command in found)
    assert {unpaired.dped_dir, paired.dped_dir} == {"my photos"}
    assert {unpaired.model, paired.model} == {"pixel"}
    usual = load(TrainConfig, ["preset=recommended"])
    assert unpaired.patch_size == min(side, usual.patch_size) and paired.patch_size == side
    assert 16 < unpaired.patch_size - 2 * unpaired.border
    assert unpaired.border == usual.border or unpaired.patch_size - 2 * unpaired.border < 19


@pytest.mark.slow
@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("preset", ["recommended", "dped"])
def test_training_takes_what_align_wrote(aligned, tmp_path, monkeypatch, preset):
    monkeypatch.chdir(tmp_path)
    data = [f"preset={preset}", "model=phone", f"dped_dir={aligned}"]
    if preset == "recommended":
        cli.main([*data, *TINY, "run=own"])
        assert Path("models/own/generator.keras").is_file()
        assert Path("models/own/summary.json").is_file()
    else:
        small = ["train_size=-1", "batch_size=2", "num_train_iters=2", "eval_step=2"]
        small += [
            "discriminator_width=0.1",
            "vgg_dir=random",
            "content_layer=relu1_2",
            "patch_size=100",
        ]
        cli.main([*data, *small])
        assert len(Path("models/phone.txt").read_text().splitlines()) >= 2
