"""Running and reading .tflite files, and the graphs that conversion makes."""

import json
import re

import keras
import numpy as np
import pytest

from tests.generators import toned_generator
from wespe_tf import Generator
from wespe_tf.enhance import litert as module
from wespe_tf.enhance.litert import LiteRTEnhancer, LiteRTModel
from wespe_tf.enhance.memory import limit_needed
from wespe_tf.enhance.windows import spans
from wespe_tf.errors import UserError
from wespe_tf.export.conversion import Converter
from wespe_tf.export.graph import read_graph
from wespe_tf.export.portable import frozen_affines, portable
from wespe_tf.models.staged import reach


@pytest.fixture(scope="module")
def generator():
    return toned_generator(0)


@pytest.fixture(scope="module")
def photo(make_photo):
    return make_photo(61, 83).astype(np.float32)[None] / 255


@pytest.fixture(scope="module")
def contents(generator, photo):
    """Files of a live and of a frozen graph, fixed and free."""
    frozen = portable(generator, frozen_affines(generator, [photo]))
    return {
        ("live", "free"): Converter(portable(generator))("float32"),
        ("live", "fixed"): Converter(portable(generator), (40, 56))("float32"),
        ("frozen", "free"): Converter(frozen)("float32"),
        ("frozen", "fixed"): Converter(frozen, (40, 56))("float32"),
    }


@pytest.fixture
def write(tmp_path, contents, generator):
    """Function that writes one of `contents` with the JSON file beside it."""

    def call(norm, shape):
        path = tmp_path / f"{norm}_{shape}.tflite"
        path.write_bytes(contents[norm, shape])
        described = {"tiles_exact": norm == "frozen", "margin": reach(generator)}
        path.with_suffix(".json").write_text(json.dumps(described))
        return path

    return call


@pytest.mark.parametrize("length", [40, 41, 57, 58, 96, 200])
@pytest.mark.parametrize("margin", [0, 5, 18])
def test_spans_answer_for_every_pixel_once(length, margin):
    found = spans(length, 40, margin)
    assert found[0][1] == 0 and found[-1][2] == length
    for (_, _, end), (_, first, _) in zip(found, found[1:]):
        assert end == first
    for start, first, end in found:
        assert 0 <= start and start + 40 <= length and first < end
        assert start == 0 or first - start >= margin
        assert start + 40 == length or start + 40 - end >= margin


class TestRun:
    @pytest.mark.parametrize("size", [(64, 64), (61, 83), (7, 100), (1, 1)])
    def test_free_shapes(self, write, generator, make_photo, size):
        model = LiteRTModel(write("live", "free"))
        for height, width in (size, (20, 30), size):
            picture = make_photo(height, width).astype(np.float32)[None] / 255
            expected = keras.ops.convert_to_numpy(generator(picture))
            np.testing.assert_allclose(model(picture), expected, atol=2e-5)

    def test_large_photos_keep_their_digits(self, write, generator, make_photo):
        """The norms' means: LiteRT adds up what it is given one value after another."""
        picture = make_photo(700, 900).astype(np.float32)[None] / 255
        found = LiteRTModel(write("live", "free"))(picture)
        expected = keras.ops.convert_to_numpy(generator(picture))
        assert np.abs(found - expected).max() < 5e-6

    @pytest.mark.parametrize("shape", ["free", "fixed"])
    def test_tiles_of_frozen_norms_are_exact(self, write, photo, monkeypatch, shape):
        whole = LiteRTModel(write("frozen", "free"))(photo)
        monkeypatch.setattr(module, "TILE", 40)
        tiled = LiteRTModel(write("frozen", shape))
        sizes, run = [], tiled.run
        monkeypatch.setattr(tiled, "run", lambda tile, told: sizes.append(tile.shape) or run(tile))
        np.testing.assert_allclose(tiled(photo), whole, atol=1e-6)
        assert len(sizes) > 4 and len(set(sizes)) == 1

    def test_live_norms_are_never_tiled(self, write, photo, monkeypatch):
        whole = LiteRTModel(write("live", "free"))(photo)
        monkeypatch.setattr(module, "TILE", 40)
        np.testing.assert_array_equal(LiteRTModel(write("live", "free"))(photo), whole)

    def test_a_size_that_the_graph_cannot_take(self, write, photo):
        with pytest.raises(UserError, match="live_fixed.tflite: takes photos of 56×40, .* 83×61"):
            LiteRTModel(write("live", "fixed"))(photo)
        path = write("frozen", "fixed")
        path.with_suffix(".json").write_text('{"tiles_exact": true, "margin": 20}')
        with pytest.raises(UserError, match="takes photos of 56×40 or smaller, this one has 83×61"):
            LiteRTModel(path)(photo)

    def test_photos_smaller_than_a_tile_are_continued_by_their_mirror_image(self, write, photo):
        small = photo[:, :20, :50]
        mirrored = np.concatenate([small, small[:, ::-1]], 1)
        mirrored = np.concatenate([mirrored, mirrored[:, :, :-7:-1]], 2)
        expected = LiteRTModel(write("frozen", "free"))(mirrored)[:, :20, :50]
        path = write("frozen", "fixed")
        np.testing.assert_allclose(LiteRTModel(path)(small), expected, atol=1e-6)
        pixels = np.rint(255 * small[0]).astype(np.uint8)
        enhancer = LiteRTEnhancer(path)
        found = enhancer(pixels, enhancer.plan(pixels))
        assert np.abs(found - np.rint(255 * np.clip(expected[0], 0, 1))).max() <= 1

    @pytest.mark.parametrize("content", [b"", b"no model", bytes(5000)])
    def test_other_files(self, tmp_path, content):
        (tmp_path / "bad.tflite").write_bytes(content)
        with pytest.raises(UserError, match="bad.tflite: not a readable .tflite file"):
            LiteRTModel(tmp_path / "bad.tflite")

    def test_models_that_make_no_pictures(self, tmp_path):
        model = keras.Sequential([keras.Input((8,), batch_size=1), keras.layers.Dense(2)])
        model.export(tmp_path / "dense.tflite", format="litert", verbose=False)
        with pytest.raises(UserError, match="dense.tflite: expected one .1, height, width, 3. inp"):
            LiteRTModel(tmp_path / "dense.tflite")

    def test_a_damaged_description(self, write):
        path = write("live", "free")
        path.with_suffix(".json").write_text("{}")
        with pytest.raises(UserError, match="live_free.json: expected tiles_exact and margin"):
            LiteRTModel(path)


class TestEnhancer:
    """Photos of 8 channels' graphs: 360 bytes a pixel."""

    @staticmethod
    def limit(pixels, photo):
        """GB in which a pass over so many pixels of a photo just fits."""
        return limit_needed(photo.nbytes, 360 * pixels)

    def test_live_norms_do_it_whole_or_not_at_all(self, write, make_photo):
        picture = make_photo(400, 500)
        enhancer = LiteRTEnhancer(write("live", "free"))
        enough = self.limit(400 * 500, picture)
        assert str(enhancer.plan(picture, "auto", enough + 1e-6)) == "whole"
        with pytest.raises(UserError) as caught:
            enhancer.plan(picture, "auto", enough - 1e-3)
        assert re.fullmatch(
            r"memory_limit=0\.\d+: too little for 500×400 pixels by \S+live_free.tflite, "
            r"expected at least 0\.\d+; a file with adaptive norms works in tiles",
            str(caught.value),
        )

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    @pytest.mark.parametrize("shape", ["free", "fixed"])
    def test_frozen_norms_do_it_in_tiles_that_fit(self, write, make_photo, shape, dtype):
        picture = make_photo(150, 130).astype(dtype) * (257 if dtype == np.uint16 else 1)
        enhancer = LiteRTEnhancer(write("frozen", shape))
        plan = enhancer.plan(picture, "auto", self.limit(70.5**2, picture))
        assert str(plan) == f"streamed, tiles of {46 if shape == 'free' else 32}"
        result, sizes, run = np.empty_like(picture), [], enhancer.model.run
        enhancer.model.run = lambda tile, told: sizes.append(tile.shape[:2]) or run(tile)
        enhancer(picture, plan, result)
        assert max(np.prod(sizes, axis=1)) <= 70**2
        whole = LiteRTModel(write("frozen", "free"))(
            picture[None] / np.float32(np.iinfo(dtype).max)
        )
        expected = np.rint(np.clip(whole[0], 0, 1) * np.iinfo(dtype).max)
        assert np.abs(result - expected).max() <= 1

    @pytest.mark.parametrize("width", [20, 40])
    def test_narrow_photos_need_few_tiles(self, write, make_photo, width):
        """Narrower than a tile, even than its margins."""
        picture = make_photo(1100, width)
        enhancer = LiteRTEnhancer(write("frozen", "free"))
        sizes, run = [], enhancer.model.run
        enhancer.model.run = lambda tile, told: sizes.append(tile.shape[:2]) or run(tile)
        found = enhancer(picture, enhancer.plan(picture))
        assert sizes == 3 * [(512, width)]
        whole = LiteRTModel(write("frozen", "free"))
        expected = whole.run_float(picture / np.float32(255))
        assert np.abs(found - np.rint(255 * np.clip(expected, 0, 1))).max() <= 1

    def test_least_tiles(self, write, make_photo):
        with pytest.raises(UserError, match="too little for .* expected at least 0.81$"):
            LiteRTEnhancer(write("frozen", "free")).plan(make_photo(150, 130), "auto", 0.7)


class TestGraph:
    def test_fixed_graphs_are_what_accelerators_take(self, contents):
        for norm in ("live", "frozen"):
            graph = read_graph(contents[norm, "fixed"])
            assert graph.largest_rank == 4 and graph.dynamic == []
            assert graph.operators["CONV_2D"] == 6
            assert ("MEAN" in graph.operators) == (norm == "live")

    @pytest.mark.slow
    @pytest.mark.parametrize("norm", ["batch", "layer"])
    def test_the_other_norms_too(self, norm):
        model = Generator(width=8, blocks=1, norm=norm)
        model.build((None, None, None, 3))
        graph = read_graph(Converter(portable(model), (24, 32))("float32"))
        assert graph.largest_rank == 4 and graph.dynamic == []

    def test_free_graphs_are_told_apart(self, contents):
        assert "photo" in read_graph(contents["live", "free"]).dynamic

    def test_multiply_adds_of_a_pixel(self, contents):
        graph = read_graph(contents["live", "fixed"])
        assert graph.multiply_adds == 2 * 81 * 3 * 8 + 4 * 9 * 8 * 8

    def test_five_dimensions_and_dynamic_shapes_are_found(self, tmp_path):
        inputs = keras.Input((None, None, 4), batch_size=1)
        outputs = keras.layers.GroupNormalization(groups=2)(inputs)
        model = keras.Model(inputs, outputs)
        model.export(tmp_path / "five.tflite", format="litert", verbose=False)
        graph = read_graph((tmp_path / "five.tflite").read_bytes())
        assert graph.largest_rank == 5 and "SHAPE" in graph.dynamic
