"""preset=dped: the authors' draws, files and log lines; their command on the test photos."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.generators import toned_generator
from wespe_tf.config.loading import load
from wespe_tf.config.schema import TrainConfig
from wespe_tf.data.pairs import PairedPatches, Sampler
from wespe_tf.enhance import cli as enhance
from wespe_tf.enhance import dped_photos
from wespe_tf.enhance.runtimes import choose_runtime
from wespe_tf.enhance.tiles import Enhancer
from wespe_tf.errors import UserError
from wespe_tf.training import cli
from wespe_tf.training.dped import train_dped
from wespe_tf.weights.tf1_checkpoint import load_checkpoint

SIDE = 32
SMALL = [
    "preset=dped",
    "model=iphone",
    f"patch_size={SIDE}",
    "batch_size=3",
    "train_size=8",
    "num_train_iters=6",
    "eval_step=3",
    "vgg_dir=random",
    "content_layer=relu1_2",
]
NUMBER = r"(-?\d\.?\d*(?:e[+-]\d+)?|-?\d+\.?\d*(?:e[+-]\d+)?)"


@pytest.fixture
def tree(tmp_path, make_photo, monkeypatch):
    """A miniature of DPED's folders, below the current folder; returns the phone's."""
    monkeypatch.chdir(tmp_path)
    phone = tmp_path / "dped" / "iphone"
    for part, count in (("training_data", 10), ("test_data/patches", 7)):
        for side, seed in (("iphone", 0), ("canon", 100)):
            folder = phone / part / side
            folder.mkdir(parents=True)
            for k in range(count):
                patch = make_photo(SIDE, SIDE, seed + k)
                Image.fromarray(patch).save(folder / f"{k}.jpg", quality=95)
    photos = phone / "test_data" / "full_size_test_images"
    photos.mkdir()
    Image.fromarray(make_photo(150, 200)).save(photos / "7.jpg")
    return phone


class TestSampler:
    def test_draws_what_the_authors_code_draws(self):
        """Their calls of np.random, in their order, with their seed."""
        train, test, size, batch, eval_step = 50, 11, 20, 4, 3
        sampler = Sampler(train, test, size, batch, eval_step, seed=0)
        batches = iter(sampler)

        theirs = np.random.RandomState(0)
        pool = theirs.choice(np.arange(0, train), size, replace=False)
        np.testing.assert_array_equal(sampler.crops, theirs.randint(0, test, 5))
        for iteration in range(8):
            generator, discriminator, swaps = next(batches)
            np.testing.assert_array_equal(generator, pool[theirs.randint(0, size, batch)])
            np.testing.assert_array_equal(discriminator, pool[theirs.randint(0, size, batch)])
            np.testing.assert_array_equal(swaps[:, 0], theirs.randint(0, 2, batch))
            if iteration % eval_step == 0:
                next_swaps = [theirs.randint(0, 2, batch) for _ in range(test // batch)]
                pool = theirs.choice(np.arange(0, train), size, replace=False)
                # They are there as soon as the batch is: its evaluation needs them.
                found = sampler.test_swaps[iteration][..., 0]
                np.testing.assert_array_equal(found, np.stack(next_swaps))

    def test_all_pairs_are_in_the_pool_of_minus_one(self):
        sampler = Sampler(6, 5, -1, 5, 2, seed=3)
        drawn = [next(iter(sampler))[0] for _ in range(30)]
        assert set(np.concatenate(drawn)) == set(range(6))

    @pytest.mark.parametrize(
        "counts, message",
        [
            ((9, 5, 10, 5), "train_size=10: only 9 training pairs"),
            ((9, 4, 9, 5), "batch_size=5: only 4 test pairs"),
        ],
    )
    def test_too_few_pairs(self, counts, message):
        with pytest.raises(UserError, match=message):
            Sampler(*counts, eval_step=1, seed=0)


class TestPairedPatches:
    def test_reads_pairs_of_equal_numbers(self, tree):
        data = PairedPatches("dped", "iphone", SIDE)
        assert [Path(a).stem for a, _ in data.train] == [str(k) for k in range(10)]
        phone, dslr = data.load(data.train[4:6])
        for k, (x, y) in enumerate(zip(phone, dslr), 4):
            for found, side in ((x, "iphone"), (y, "canon")):
                path = tree / "training_data" / side / f"{k}.jpg"
                np.testing.assert_array_equal(found, np.asarray(Image.open(path)))

    @pytest.mark.parametrize("part", ["training_data", "test_data/patches"])
    @pytest.mark.parametrize("sides", [("canon",), ("canon", "iphone")])
    def test_patches_without_a_partner(self, tree, part, sides):
        """Also if both sides have the same number of patches."""
        for number, side in enumerate(sides):
            (tree / part / side / f"{5 - number}.jpg").unlink()
        with pytest.raises(UserError, match=rf"dped_dir: .*{part}/canon has .*iphone/5\.jpg"):
            PairedPatches("dped", "iphone", SIDE)

    def test_patch_of_another_size(self, tree, make_photo):
        path = tree / "training_data" / "canon" / "2.jpg"
        Image.fromarray(make_photo(SIDE, SIDE + 1)).save(path)
        data = PairedPatches("dped", "iphone", SIDE)
        with pytest.raises(UserError, match=r"2\.jpg: 33×32 pixels, expected 32×32"):
            data.load(data.train)


def test_model_is_needed(tree):
    with pytest.raises(UserError, match="model=: missing"):
        cli.main([a for a in SMALL if not a.startswith("model")])
    assert not Path("models").exists()


@pytest.mark.parametrize(
    "argument, message",
    [
        ("scale=small", "scale=small: cannot be changed with method=dped; expected full"),
        ("run=mine", "run=mine: cannot be changed with method=dped; expected no value"),
        ("texture_layers=fine", "texture_layers=fine: .*; expected dped"),
        ("discriminator_head=one_class_sigmoid", "one_class_.*; expected two_class_softmax"),
        ("generator_width=32", "generator_width=32: .*; expected 64"),
        ("distribute=mirrored", "distribute=mirrored: .*; expected none"),
        ("ema=0.9", "ema=0.9: .*; expected 0.0"),
        ("precision=float16", "precision=float16: expected float32, bfloat16 or auto"),
        ("preset=quickstart", ".*=.*: cannot be changed with method=dped"),
    ],
)
def test_settings_that_it_does_not_have(tree, argument, message):
    with pytest.raises(UserError, match=message):
        train_dped(load(TrainConfig, [*SMALL, "method=dped", argument]))
    assert not Path("models").exists()


def test_a_file_where_a_folder_should_be(tree):
    Path("models").write_text("mine")
    with pytest.raises(UserError, match="models: cannot be made"):
        cli.main(SMALL)
    assert Path("models").read_text() == "mine"


@pytest.mark.slow
def test_broken_patch_is_named(tree):
    for path in (tree / "training_data" / "iphone").iterdir():
        path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(UserError, match=r"training_data/iphone/\d\.jpg: not a readable picture"):
        cli.main(SMALL)


@pytest.mark.slow
@pytest.mark.usefixtures("eagerly")
def test_six_iterations_and_their_photos(tree):
    cli.main(SMALL)
    written = {p.relative_to(".").as_posix() for p in Path(".").rglob("*") if p.is_file()}
    written = {name for name in written if not name.startswith("dped/")}
    assert written == {
        "models/iphone.txt",
        "models/iphone_config.yaml",
        *(
            f"models/iphone_iteration_{i}.ckpt.{part}"
            for i in (0, 3)
            for part in ("index", "data-00000-of-00001")
        ),
        *(f"results/iphone_{k}_iteration_{i}.jpg" for i in (0, 3) for k in range(5)),
    }
    assert "vgg_weights: random" in Path("models/iphone_config.yaml").read_text()

    lines = Path("models/iphone.txt").read_text().split("\n")
    assert len(lines) == 7 and lines[2] == lines[5] == lines[6] == ""
    for iteration, (discriminator, generator) in zip((0, 3), (lines[0:2], lines[3:5])):
        assert re.fullmatch(
            rf"step {iteration}, iphone \| discriminator accuracy \| train: {NUMBER}, "
            rf"test: {NUMBER}",
            discriminator,
        )
        found = re.fullmatch(
            rf"generator losses \| train: {NUMBER}, test: {NUMBER} \| content: {NUMBER}, "
            rf"color: {NUMBER}, texture: {NUMBER}, tv: {NUMBER} \| psnr: {NUMBER}, "
            rf"ms-ssim: {NUMBER}",
            generator,
        )
        _, total, content, color, texture, tv, psnr, ms_ssim = map(float, found.groups())
        expected = 10 * content + 0.5 * color + texture + 2000 * tv
        assert total == pytest.approx(expected, rel=2e-3)
        assert 0 < ms_ssim < 1 and 3 < psnr < 30

    crop = np.asarray(Image.open("results/iphone_0_iteration_3.jpg"))
    assert crop.shape == (SIDE, 2 * SIDE, 3)

    enhance.main(["model=iphone", "iteration=all", "resolution=tiny"])
    results = Path("visual_results")
    assert {p.name for p in results.iterdir()} == {
        f"iphone_7_iteration_{i}_{what}.png"
        for i in (0, 3)
        for what in ("enhanced", "before_after")
    }
    pair = np.asarray(Image.open(results / "iphone_7_iteration_3_before_after.png"))
    assert pair.shape == (600, 1600, 3)
    generator = load_checkpoint("models/iphone_iteration_3.ckpt")
    again = Enhancer(generator, choose_runtime("keras"), reflect=False)(pair[:, :800])
    np.testing.assert_allclose(pair[:, 800:].astype(int), again.astype(int), atol=1)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["model=nokia"], "model=nokia: give input=PHOTO_OR_FOLDER"),
        (["model=iphone"], "model=iphone: no checkpoint models/iphone_iteration_<i>.ckpt"),
        (["model=iphone", "iteration=4"], "no checkpoint of iteration 4"),
        (["model=iphone_orig"], "model=iphone_orig: no such run folder"),
        (["model=iphone", "strength=0.5"], "strength: needs input= too; DPED's"),
        (["model=iphone", "report=true"], "report: needs input= too"),
        (["model=sony"], "dped_dir: no folder dped/sony/test_data/full_size_test_images"),
    ],
)
def test_photos_of_a_model_that_is_not_there(tree, arguments, message):
    with pytest.raises(UserError) as error:
        enhance.main(arguments)
    assert message in str(error.value)
    assert not Path("visual_results").exists()


def test_what_a_runtime_raises_is_one_line(tree, monkeypatch):
    def no_room(*_):
        raise MemoryError("no\nroom")

    monkeypatch.setattr(dped_photos, "find_model", lambda *_: None)
    monkeypatch.setattr(dped_photos, "load_checkpoint", lambda _: toned_generator(0))
    monkeypatch.setattr(dped_photos.Enhancer, "__call__", no_room)
    with pytest.raises(UserError, match=r"^dped\S+7\.jpg: cannot be enhanced \(no\)$"):
        enhance.main(["model=iphone_orig", "resolution=tiny"])
