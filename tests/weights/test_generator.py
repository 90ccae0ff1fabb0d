"""Generators are read from run folders and `.keras` files, and nothing else is."""

import json
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy as array

from tests.generators import save_as_run, toned_generator
from wespe_tf import Discriminator, Generator
from wespe_tf.config.loading import load
from wespe_tf.config.schema import TrainConfig
from wespe_tf.errors import UserError
from wespe_tf.weights.generator import SHIPPED_MODEL, load_generator


@pytest.fixture(scope="module")
def generator():
    return toned_generator(1)


@pytest.fixture
def run(tmp_path, generator, monkeypatch):
    """The working folder, with a run `models/mine`."""
    monkeypatch.chdir(tmp_path)
    save_as_run(generator, tmp_path)
    return tmp_path


class TestModels:
    def test_run_folder_file_and_name_give_the_same(self, run, generator, rng):
        pictures = rng.random((1, 20, 21, 3)).astype(np.float32)
        for model in ("mine", "models/mine", str(run / "models/mine/generator.keras")):
            loaded = load_generator(model)
            np.testing.assert_array_equal(array(loaded(pictures)), array(generator(pictures)))

    def test_small_one_of_the_other_ending(self, run, rng):
        """Its kernels take fewer bytes than those of the default ending."""
        saved = Generator(width=4, blocks=0, ending="plain")
        pictures = rng.random((1, 20, 21, 3)).astype(np.float32)
        expected = array(saved(pictures))
        saved.save("plain.keras")
        np.testing.assert_array_equal(array(load_generator("plain.keras")(pictures)), expected)

    def test_missing(self, run):
        with pytest.raises(UserError, match="model=gone: no such run folder"):
            load_generator("gone")

    def test_a_name_that_no_file_can_have(self, run):
        with pytest.raises(UserError, match="model=long.*: no such run folder"):
            load_generator("long" * 100)

    def test_other_keras_models_are_refused(self, run):
        keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save("foreign.keras")
        with pytest.raises(UserError, match="foreign.keras: holds .*expected a wespe_tf Generator"):
            load_generator("foreign.keras")

    def test_our_other_networks_are_refused(self, run):
        discriminator = Discriminator(width_multiplier=0.1)
        discriminator.build((None, 32, 32, 3))
        discriminator.save("judge.keras")
        with pytest.raises(UserError, match="judge.keras: holds 'wespe_tf>Discriminator', exp"):
            load_generator("judge.keras")

    def test_code_in_a_file_is_never_run(self, run):
        """A Lambda layer under a generator's name."""
        keras.Sequential([keras.Input((None, None, 3)), keras.layers.Lambda(lambda x: x)]).save(
            "lambda.keras"
        )
        with pytest.raises(UserError, match="lambda.keras"):
            load_generator("lambda.keras")

    @pytest.mark.parametrize("content", [b"", b"not a zip file" * 50, b"PK\x03\x04" + bytes(99)])
    def test_no_keras_file_at_all(self, run, content):
        Path("bad.keras").write_bytes(content)
        with pytest.raises(UserError, match="model=bad.keras: not a readable .keras file"):
            load_generator("bad.keras")

    @pytest.mark.parametrize("kept", [0.3, 0.9, 0.999])
    def test_truncated_file(self, run, kept):
        content = Path("models/mine/generator.keras").read_bytes()
        Path("bad.keras").write_bytes(content[: int(kept * len(content))])
        with pytest.raises(UserError, match="model=bad.keras: .*.keras file"):
            load_generator("bad.keras")

    def rewrite(self, changes):
        """`bad.keras`: the run's file with some of its members changed or (None) left out."""
        with (
            zipfile.ZipFile("models/mine/generator.keras") as good,
            zipfile.ZipFile("bad.keras", "w") as bad,
        ):
            for name in good.namelist():
                content = changes.get(name, lambda data: data)(good.read(name))
                if content is not None:
                    bad.writestr(name, content)

    @pytest.mark.filterwarnings("ignore:Skipping nested container")
    @pytest.mark.parametrize(
        "changes",
        [
            {"model.weights.h5": lambda data: None},
            {"model.weights.h5": lambda data: data[: len(data) // 2]},
            {"model.weights.h5": lambda data: b"rubbish"},
            {"config.json": lambda data: data.replace(b'"width": 8', b'"width": 9')},
            {"config.json": lambda data: data.replace(b'"blocks": 1', b'"blocks": 2')},
            {"config.json": lambda data: data.replace(b'"width": 8', b'"depth": 8')},
            {"config.json": lambda data: data.replace(b'"identity"', b'"unknown"')},
            {"config.json": lambda data: json.dumps({**json.loads(data), "config": 7})},
            {"config.json": lambda data: data.replace(b'"width": 8', b'"width": "wide"')},
        ],
        ids=[
            "no weights",
            "half the weights",
            "other weights",
            "wider than its weights",
            "deeper than its weights",
            "unknown argument",
            "unknown option",
            "no options",
            "option of another type",
        ],
    )
    def test_damaged_members(self, run, changes):
        self.rewrite(changes)
        with pytest.raises(UserError) as caught:
            load_generator("bad.keras")
        assert str(caught.value).startswith("model=bad.keras: not a readable .keras file (")
        assert "\n" not in str(caught.value)

    def test_damaged_config(self, run):
        self.rewrite({"config.json": lambda data: data[:100]})
        with pytest.raises(UserError, match="model=bad.keras: not a readable .keras file"):
            load_generator("bad.keras")


class TestShippedModel:
    def test_is_small_and_can_be_made_again(self):
        assert SHIPPED_MODEL.stat().st_size <= 2 * 2**20
        config = load(TrainConfig, [f"config={SHIPPED_MODEL.with_suffix('.yaml')}"])
        assert (config.preset, config.source_dir) == ("recommended", "phone_bench/source")
