"""Files that crash their readers, or would if they were opened as they are."""

import io
import json
import zipfile

import h5py
import keras
import numpy as np
import pytest
import scipy.io

from wespe_tf.errors import UserError
from wespe_tf.models.generator import Generator, kernel_bytes
from wespe_tf.weights import untrusted
from wespe_tf.weights.generator import load_generator
from wespe_tf.weights.untrusted import ChildFailed, read_arrays, run_alone


class TestRunAlone:
    def script(self, tmp_path, text):
        path = tmp_path / "script.py"
        path.write_text(text)
        return path

    def test_gives_what_is_printed(self, tmp_path):
        script = self.script(tmp_path, "import sys; print(sys.argv[1:])")
        assert run_alone(script, 3, tmp_path) == f"['3', '{tmp_path}']\n"

    @pytest.mark.parametrize(
        "text, reason",
        [
            ("raise ValueError('of no use')", "ValueError: of no use"),
            ("import sys; sys.exit(7)", "status 7"),
            ("import os; os.kill(os.getpid(), 11)", "its reader crashed with SIGSEGV"),
            ("import os; os.kill(os.getpid(), 24)", "not read within 60 s"),
        ],
    )
    def test_says_why_it_failed(self, tmp_path, text, reason):
        script = self.script(tmp_path, text)
        with pytest.raises(ChildFailed) as caught:
            run_alone(script)
        assert str(caught.value) == reason


class TestReadArrays:
    def refused(self, path, kind, reason):
        with pytest.raises(ChildFailed, match=reason):
            read_arrays(path, kind)

    def test_structs_and_cells_by_names_and_numbers(self, tmp_path):
        path = tmp_path / "a.mat"
        layers = np.empty((1, 2), object)
        layers[0, 0] = {"name": "conv", "size": np.eye(2)}
        layers[0, 1] = {"name": "relu"}
        scipy.io.savemat(path, {"layers": layers, "other": np.eye(3)})
        found = read_arrays(path, "mat")
        assert set(found) == {"layers/0/name", "layers/0/size", "layers/1/name"}
        assert str(found["layers/1/name"]) == "relu"
        np.testing.assert_array_equal(found["layers/0/size"], np.eye(2))

    @pytest.mark.parametrize("kind", ["npz", "hdf5"])
    def test_large_arrays_are_left_out(self, tmp_path, kind):
        arrays = {"small": np.arange(3.0), "file": np.arange(5), "large": np.zeros(100_000)}
        with open(tmp_path / "file", "wb") as file:
            if kind == "npz":
                np.savez(file, **{"small": arrays["small"], "large": arrays["large"]})
            else:
                with h5py.File(file, "w") as content:
                    content["group/small"], content["large"] = arrays["small"], arrays["large"]
        found = read_arrays(tmp_path / "file", kind, largest=1000)
        ((name, array),) = found.items()
        assert name == {"npz": "small", "hdf5": "group/small"}[kind]
        np.testing.assert_array_equal(array, arrays["small"])

    def test_pickles_are_not_opened(self, tmp_path):
        np.savez(tmp_path / "a.npz", a=np.array([{"an": "object"}]))
        self.refused(tmp_path / "a.npz", "npz", "ValueError: Object arrays cannot be loaded")

    def test_links_do_not_lead_out_of_the_file(self, tmp_path):
        for name, link in (
            ("external", h5py.ExternalLink("other.h5", "/a")),
            ("soft", h5py.SoftLink("/gone")),
        ):
            with h5py.File(tmp_path / name, "w") as file:
                file["group/x"] = link
            self.refused(tmp_path / name, "hdf5", "group/x is a link, expected the data")
        with h5py.File(tmp_path / "outside", "w") as file:
            file.create_dataset("x", (3,), "f4", external=[("/etc/passwd", 0, 12)])
        self.refused(tmp_path / "outside", "hdf5", "x lies in other files")

    def test_groups_that_hold_themselves_end(self, tmp_path):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            group = file.create_group("group")
            group["again"], group["x"] = group, np.arange(3)
        (array,) = read_arrays(tmp_path / "a.h5", "hdf5").values()
        np.testing.assert_array_equal(array, np.arange(3))

    def test_sizes_beyond_the_memory_allowed(self, tmp_path, monkeypatch):
        """A file of some kilobytes that stands for 200 MB, three times."""
        monkeypatch.setattr(untrusted, "MEMORY", 500 * 10**6)
        with h5py.File(tmp_path / "a.h5", "w") as file:
            for name in "abc":
                file.create_dataset(name, (50_000_000,), "f4", chunks=(1_000_000,))
        assert (tmp_path / "a.h5").stat().st_size < 20_000
        self.refused(tmp_path / "a.h5", "hdf5", "Memory|allocate")


@pytest.fixture
def model(tmp_path):
    """A generator's file, and a function that writes it with other options."""
    generator = Generator(width=4, blocks=1)
    generator.build((None, None, None, 3))
    generator.save(tmp_path / "good.keras")
    with zipfile.ZipFile(tmp_path / "good.keras") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}

    def write(**options):
        described = json.loads(members["config.json"])
        described["config"] |= options
        with zipfile.ZipFile(tmp_path / "bad.keras", "w") as archive:
            for name, content in (members | {"config.json": json.dumps(described)}).items():
                archive.writestr(name, content)
        return str(tmp_path / "bad.keras")

    return generator, members, write


class TestGeneratorFiles:
    def test_options_and_weights_come_back(self, model):
        generator, _, write = model
        loaded = load_generator(write(tanh_scale=0.5))
        assert (loaded.width, loaded.blocks, loaded.tanh_scale) == (4, 1, 0.5)
        for pair in zip(loaded.get_weights(), generator.get_weights(), strict=True):
            np.testing.assert_array_equal(*pair)

    @pytest.mark.parametrize("norm", ["instance", "batch", "layer", "none"])
    def test_every_weight_is_where_keras_puts_it(self, tmp_path, norm):
        generator = Generator(width=4, blocks=6, norm=norm)
        generator.build((None, None, None, 3))
        rng = np.random.default_rng(0)
        generator.set_weights([rng.normal(size=array.shape) for array in generator.get_weights()])
        generator.save(tmp_path / "a.keras")
        expected = keras.saving.load_model(tmp_path / "a.keras").get_weights()
        found = load_generator(str(tmp_path / "a.keras")).get_weights()
        for pair in zip(found, expected, strict=True):
            np.testing.assert_array_equal(*pair)

    @pytest.mark.parametrize("change", ["missing", "shape"])
    def test_weights_that_do_not_fit(self, model, tmp_path, change):
        _, members, _ = model
        weights = io.BytesIO(members["model.weights.h5"])
        with h5py.File(weights, "r+") as file:
            del file["layers/conv2d_2/vars/1"]
            if change == "shape":
                file["layers/conv2d_2/vars/1"] = np.zeros(5, np.float32)
        with zipfile.ZipFile(tmp_path / "a.keras", "w") as archive:
            for name, content in {**members, "model.weights.h5": weights.getvalue()}.items():
                archive.writestr(name, content)
        with pytest.raises(UserError, match=r"a.keras: not a readable .keras file \(") as caught:
            load_generator(str(tmp_path / "a.keras"))
        assert len(str(caught.value).splitlines()) == 1

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "options, reason",
        [
            ({"width": 10**6}, "it holds less than its options need"),
            ({"blocks": 10**9}, "it holds less than its options need"),
            ({"width": 2.5}, "width: expected a number of at least 4, got 2.5"),
            ({"width": -4}, "width: expected a number of at least 4, got -4"),
            ({"blocks": None}, "blocks: expected a number of at least 0, got None"),
            ({"tanh_scale": 0}, "tanh_scale: expected a number of at least 0.001, got 0"),
            ({"norm_epsilon": float("nan")}, "norm_epsilon: expected a number of at least 0"),
            ({"activity_regularizer": "l2"}, "unknown option 'activity_regularizer'"),
        ],
    )
    def test_options_of_no_use(self, model, options, reason):
        _, _, write = model
        path = write(**options)
        with pytest.raises(UserError) as caught:
            load_generator(path)
        assert str(caught.value).startswith(f"model={path}: not a readable .keras file ({reason}")

    def test_what_else_a_file_names_is_not_looked_up(self, model):
        """A dtype that would be a Lambda layer, were it made."""
        _, _, write = model
        code = {"module": "keras.layers", "class_name": "Lambda", "config": {"function": "x"}}
        assert load_generator(write(dtype=code)).head.compute_dtype == "float32"

    def test_an_archive_within_nothing_escapes(self, model, tmp_path):
        _, members, _ = model
        inside = tmp_path / "inside"
        inside.mkdir()
        with zipfile.ZipFile(inside / "a.keras", "w") as archive:
            for name, content in {**members, "../escaped": b"x", "/escaped": b"x"}.items():
                archive.writestr(name, content)
        before = sorted(tmp_path.rglob("*"))
        load_generator(str(inside / "a.keras"))
        assert sorted(tmp_path.rglob("*")) == before

    @pytest.mark.slow
    def test_a_member_that_unpacks_to_more_than_allowed(self, model, tmp_path, monkeypatch):
        monkeypatch.setattr(untrusted, "MEMORY", 300 * 10**6)
        _, members, _ = model
        path = tmp_path / "bomb.keras"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("config.json", members["config.json"])
            with archive.open("model.weights.h5", "w", force_zip64=True) as member:
                for _ in range(400):
                    member.write(bytes(2**20))
        with pytest.raises(UserError, match=r"bomb.keras: not a readable .keras file \(MemoryErr"):
            load_generator(str(path))

    def test_links_in_the_weights(self, model, tmp_path):
        _, members, _ = model
        weights = io.BytesIO(members["model.weights.h5"])
        with h5py.File(weights, "r+") as file:
            del file["head/vars/0"]
            file["head/vars/0"] = h5py.ExternalLink("/etc/passwd", "/")
        with zipfile.ZipFile(tmp_path / "a.keras", "w") as archive:
            for name, content in {**members, "model.weights.h5": weights.getvalue()}.items():
                archive.writestr(name, content)
        with pytest.raises(UserError, match="head/vars/0 is a link"):
            load_generator(str(tmp_path / "a.keras"))


@pytest.mark.parametrize("ending", ["dped", "plain"])
@pytest.mark.parametrize("width, blocks", [(4, 0), (6, 2), (64, 4)])
def test_bytes_of_the_kernels(width, blocks, ending):
    generator = Generator(width=width, blocks=blocks, ending=ending)
    generator.build((None, None, None, 3))
    kernels = [v for v in generator.weights if v.name == "kernel"]
    assert kernel_bytes(width, blocks, ending) == sum(4 * np.prod(v.shape) for v in kernels)
