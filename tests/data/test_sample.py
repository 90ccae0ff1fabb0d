"""The sample dataset: its layout, its files, and how hard the task is that it sets."""

import itertools
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from wespe_tf.data import sample
from wespe_tf.data.sample import CAMERA, LAYOUT, PICTURES, build_sample, load_picture


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return build_sample(tmp_path_factory.mktemp("data") / "sample")


@pytest.fixture(scope="module")
def pairs(folders):
    """Validation pairs (phone, good), each uint8 (H, W, 3)."""
    return [
        (read(path), read(folders.val_target / f"{path.stem}.png"))
        for path in sorted(folders.val_source.iterdir())
    ]


def read(path):
    return np.asarray(Image.open(path))


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def squared_error(a, b):
    return (a.astype(float) - b) ** 2


def psnr(a, b):
    return 10 * np.log10(255**2 / squared_error(a, b).mean())


def best_curve(degraded, clean):
    """Return the table of 256 values that leaves the least squared error: conditional means."""
    count = np.bincount(degraded, minlength=256)
    total = np.bincount(degraded, weights=clean, minlength=256)
    return total / np.maximum(count, 1)


def regions(*roles):
    return [region for region in LAYOUT if region.role in roles]


def distance(a, b):
    """Return the pixels between two rectangles, along the axis that separates them more.

    Negative if they overlap.
    """
    across = max(a.left, b.left) - min(a.left + a.width, b.left + b.width)
    down = max(a.top, b.top) - min(a.top + a.height, b.top + b.height)
    return max(across, down)


def test_distance_of_rectangles():
    a = sample.Region("p", "val", 0, 0, 10, 10)
    assert distance(a, sample.Region("p", "val", 13, 2, 5, 5)) == 3
    assert distance(a, sample.Region("p", "val", 0, 10, 5, 5)) == 0
    assert distance(a, sample.Region("p", "val", 9, 9, 5, 5)) == -1


def test_no_two_rectangles_of_a_picture_overlap():
    for a, b in itertools.combinations(LAYOUT, 2):
        if a.picture == b.picture:
            assert distance(a, b) >= 0, (a, b)


def test_blur_carries_nothing_from_training_to_validation():
    reach = int(4 * CAMERA.blur + 0.5)  # where scipy's gaussian_filter cuts its kernel
    for val, seen in itertools.product(regions("val"), regions("source", "target")):
        if val.picture == seen.picture:
            assert distance(val, seen) >= reach, (val, seen)


def test_rectangles_hold_patches_and_lie_in_their_picture():
    for region in LAYOUT:
        height, width = load_picture(region.picture).shape[:2]
        assert min(region.width, region.height) >= 128
        assert region.left >= 0 and region.left + region.width <= width
        assert region.top >= 0 and region.top + region.height <= height


def test_every_picture_serves_every_role():
    assert set(PICTURES) == {region.picture for region in LAYOUT}
    for name in PICTURES:
        assert {r.role for r in LAYOUT if r.picture == name} == {"source", "target", "val"}


def test_one_view_of_the_motorcycle():
    assert sum("motorcycle" in name for name in PICTURES) == 1


def test_domains_are_of_like_size_and_color():
    area = {role: sum(r.width * r.height for r in regions(role)) for role in ("source", "target")}
    assert 0.9 < area["source"] / area["target"] < 1.1
    mean = {
        role: np.concatenate(
            [r.cut(load_picture(r.picture)).reshape(-1, 3) for r in regions(role)]
        ).mean(0)
        for role in ("source", "target")
    }
    np.testing.assert_allclose(mean["source"], mean["target"], atol=10)  # of 255


def test_files_are_those_of_the_layout(folders):
    for folder, role, suffix in [
        (folders.source, "source", ".jpg"),
        (folders.target, "target", ".png"),
        (folders.val_source, "val", ".jpg"),
        (folders.val_target, "val", ".png"),
    ]:
        names = {path.name for path in folder.iterdir()}
        assert names == {region.stem + suffix for region in regions(role)}


def test_good_photos_are_exact_cuts(folders):
    for folder, role in [(folders.target, "target"), (folders.val_target, "val")]:
        for region in regions(role):
            expected = load_picture(region.picture)[
                region.top : region.top + region.height, region.left : region.left + region.width
            ]
            np.testing.assert_array_equal(read(folder / f"{region.stem}.png"), expected)


def test_pairs_align(pairs):
    """Of all shifts by up to two pixels, none is where phone and good photo agree best."""
    for phone, good in pairs:
        assert phone.shape == good.shape
        phone, good = phone.mean(2), good.mean(2)
        shifts = list(itertools.product(range(-2, 3), repeat=2))
        agreement = [
            np.corrcoef(np.roll(phone, s, (0, 1))[2:-2, 2:-2].ravel(), good[2:-2, 2:-2].ravel())
            for s in shifts
        ]
        assert shifts[int(np.argmax([a[0, 1] for a in agreement]))] == (0, 0)


def test_phone_is_15_to_18_db_from_good(pairs):
    assert 15 < np.mean([psnr(*pair) for pair in pairs]) < 18


def test_random_crops_are_15_to_18_db_from_good(pairs):
    rng = np.random.default_rng(0)
    scores = []
    for _ in range(500):
        phone, good = pairs[rng.integers(len(pairs))]
        y, x = (rng.integers(size - 99) for size in good.shape[:2])
        scores.append(psnr(phone[y : y + 100, x : x + 100], good[y : y + 100, x : x + 100]))
    assert 15 < np.mean(scores) < 18


def test_a_tone_curve_leaves_more_than_two_fifths(pairs):
    """One curve for each channel, the best there is for these very pairs."""
    phone, good = (np.concatenate([p[i].reshape(-1, 3) for p in pairs]) for i in (0, 1))
    mended = np.stack([best_curve(phone[:, c], good[:, c])[phone[:, c]] for c in range(3)], axis=1)
    left = squared_error(mended, good).mean() / squared_error(phone, good).mean()
    assert left > 0.4


def test_phone_is_dim_flat_gray_and_yellowish(pairs):
    phone, good = (np.concatenate([p[i].reshape(-1, 3) for p in pairs]) / 255 for i in (0, 1))
    assert phone.mean() < good.mean()
    assert phone.std() < good.std()
    assert np.ptp(phone, 1).mean() < 0.5 * np.ptp(good, 1).mean()
    neutral = np.ptp(good, 1) < 0.02
    assert phone[neutral, 2].mean() < phone[neutral, 0].mean()


def test_second_build_reuses_the_first(tmp_path, monkeypatch):
    first = build_sample(tmp_path / "deep" / "sample")
    monkeypatch.setattr(sample, "_make_files", lambda seed: pytest.fail("built again"))
    assert build_sample(tmp_path / "deep" / "sample") == first
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["sample"]


def test_same_seed_same_files(folders, tmp_path):
    build_sample(tmp_path / "sample")
    assert contents(tmp_path / "sample") == contents(folders.source.parent)


def test_other_seed_changes_only_the_noise(folders, tmp_path):
    other = build_sample(str(tmp_path / "sample"), seed=1)
    assert contents(other.target) == contents(folders.target)
    assert contents(other.source).keys() == contents(folders.source).keys()
    for name, data in contents(other.source).items():
        assert data != (folders.source / name).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["missing", "changed", "no manifest", "bad manifest", "seed"])
def test_damaged_sample_is_made_again(folders, tmp_path, damage):
    root = tmp_path / "sample"
    if damage == "seed":
        build_sample(root, seed=1)
    else:
        shutil.copytree(folders.source.parent, root)
    victim = next((root / "source").iterdir())
    if damage == "missing":
        victim.unlink()
    elif damage == "changed":
        victim.write_bytes(victim.read_bytes()[:-1])
    elif damage == "no manifest":
        (root / "manifest.json").unlink()
    elif damage == "bad manifest":
        (root / "manifest.json").write_text("[1]")
    build_sample(root)
    assert contents(root) == contents(folders.source.parent)
    assert [p.name for p in tmp_path.iterdir()] == ["sample"]


def test_files_of_an_older_layout_are_replaced(folders, tmp_path):
    root = tmp_path / "sample"
    shutil.copytree(folders.source.parent, root)
    (root / "source" / "old.jpg").write_bytes(b"old")
    manifest = json.loads((root / "manifest.json").read_text())
    manifest["settings"]["layout"] = []
    manifest["sha256"]["source/old.jpg"] = "?"
    (root / "manifest.json").write_text(json.dumps(manifest))
    build_sample(root)
    assert contents(root) == contents(folders.source.parent)


def test_files_of_others_are_never_deleted(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "holiday.jpg").write_bytes(b"precious")
    with pytest.raises(FileExistsError, match="holiday.jpg is not part of the sample"):
        build_sample(tmp_path / "mine")
    assert contents(tmp_path) == {
        (tmp_path / "mine/holiday.jpg").relative_to(tmp_path): b"precious"
    }


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "sample").write_text("not a folder")
    with pytest.raises(FileExistsError, match="is a file"):
        build_sample(tmp_path / "sample")


def test_interrupted_build_leaves_nothing(tmp_path, monkeypatch):
    def fail(self, target):
        raise OSError("disk full")

    monkeypatch.setattr("pathlib.Path.rename", fail)
    with pytest.raises(OSError, match="disk full"):
        build_sample(tmp_path / "sample")
    assert list(tmp_path.iterdir()) == []


def test_missing_picture_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("skimage.__file__", str(tmp_path / "skimage" / "__init__.py"))
    with pytest.raises(FileNotFoundError, match="astronaut.png is missing"):
        build_sample(tmp_path / "sample")
    assert list(tmp_path.iterdir()) == []


def test_wrong_picture_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(sample, "load_picture", lambda name: np.zeros((200, 200, 3), np.uint8))
    with pytest.raises(ValueError, match="astronaut.png is 200x200 pixels, too small"):
        build_sample(tmp_path / "sample")


def test_readme_credits_every_picture(folders):
    readme = (folders.source.parent / "README.txt").read_text()
    assert all(name in readme for name in PICTURES)
