"""VGG-19: both styles against other implementations, and every kind of file, whole and broken."""

import h5py
import keras
import numpy as np
import pytest
import scipy.io
from keras.ops import convert_to_numpy as array

from tests.shared import SHARED, needs_shared
from wespe_tf.errors import UserError
from wespe_tf.models.options import VGG_CONVOLUTIONS, VGG_LAYERS
from wespe_tf.models.vgg import CHANNELS, VGGFeatures
from wespe_tf.weights.vgg import load_vgg

CONVS = [name.replace("relu", "conv") for name in VGG_LAYERS]
WIDTHS = [3] + [c for c, count in zip(CHANNELS, VGG_CONVOLUTIONS) for _ in range(count)]


def drawn_weights(count=16):
    """The kernels and biases that reference/dped_vgg.npz was computed with, as in the file."""
    pairs = []
    for n, (inputs, outputs) in enumerate(zip(WIDTHS[:count], WIDTHS[1:])):
        kernel = np.random.RandomState(200 + n).standard_normal((3, 3, inputs, outputs))
        kernel = (kernel * np.sqrt(2 / (9 * inputs))).astype(np.float32)
        pairs.append((kernel, np.full(outputs, 0.01, np.float32)))
    return pairs


def cell(*values):
    """A MATLAB cell array, 1×n."""
    array = np.empty((1, len(values)), object)
    array[0, :] = values
    return array


def current_layout(name, kernel, bias):
    """Fields of a convolution in the file as published since MatConvNet 1.0-beta17."""
    return {
        "name": name,
        "type": "conv",
        "weights": cell(kernel, bias.reshape(-1, 1)),
        "size": np.array(kernel.shape, float),
        "pad": np.ones((1, 4)),
        "stride": np.ones((1, 2)),
        "precious": 0.0,
        "dilate": 1.0,
        "opts": cell(),
    }


def beta16_layout(name, kernel, bias):
    """Fields as in the file that DPED code asks for: the weights come first."""
    return {
        "weights": cell(kernel, bias.reshape(1, -1)),
        "pad": np.ones((1, 4)),
        "type": "conv",
        "name": name,
        "stride": np.ones((1, 2)),
    }


def unnamed_layout(name, kernel, bias):
    """Fields of the first releases."""
    return {"type": "conv", "filters": kernel, "biases": bias.reshape(1, -1), "pad": 1.0}


LAYOUTS = (beta16_layout, current_layout, unnamed_layout)


def write_mat(path, pairs, layout, names=CONVS, compressed=False):
    """Writes a network of convolutions, ReLUs and poolings as a `.mat` file."""
    layers = []
    for name, (kernel, bias) in zip(names, pairs):
        if name.endswith("_1") and layers:
            layers.append({"type": "pool", "name": f"pool{int(name[4]) - 1}", "method": "max"})
        layers.append(layout(name, kernel, bias))
        layers.append({"type": "relu", "name": name.replace("conv", "relu")})
    content = {"meta": {"classes": "none"}, "layers": cell(*layers)}
    scipy.io.savemat(path, content, do_compression=compressed)
    return str(path)


@pytest.fixture
def pictures(rng):
    return rng.random((2, 27, 22, 3)).astype(np.float32)


def first_convolution_sees(style):
    """What the preprocessing of a style makes of a pixel (0.6, 0.7, 0.8)."""
    vgg = VGGFeatures("relu1_1", style)
    vgg.build(None)
    kernel = np.zeros((3, 3, 3, 64), np.float32)
    kernel[1, 1, range(3), range(3)] = 1
    vgg.conv_layers()[0].set_weights([kernel, np.zeros(64)])
    return array(vgg(np.full((1, 4, 4, 3), (0.6, 0.7, 0.8), np.float32)))[0, 1, 1, :3]


class TestKerasStyle:
    @pytest.mark.parametrize("layer", ["relu1_1", "relu2_2", "relu3_4", "relu5_4"])
    def test_equals_keras_applications(self, pictures, layer):
        reference = keras.applications.VGG19(include_top=False, weights=None)
        block, k = layer[4], layer[6]
        reference = keras.Model(
            reference.input, reference.get_layer(f"block{block}_conv{k}").output
        )
        vgg = VGGFeatures(layer)
        vgg.build(None)
        for conv in vgg.conv_layers():
            conv.set_weights(reference.get_layer(conv.name).get_weights())
        inputs = keras.applications.vgg19.preprocess_input(pictures * 255)
        expected = array(reference(inputs))
        np.testing.assert_allclose(array(vgg(pictures)), expected, rtol=1e-4, atol=1e-3)

    def test_weights_are_frozen(self):
        vgg = load_vgg("relu2_1", "random")
        assert vgg.style == "keras"
        assert len(vgg.weights) == 6 and not vgg.trainable_weights

    @needs_shared
    def test_reads_the_npz_of_imagenet(self, pictures):
        path = SHARED / "vgg19_imagenet_blocks1-3.npz"
        vgg = load_vgg("relu3_4", str(path))
        with np.load(path) as stored:
            np.testing.assert_array_equal(
                array(vgg.convs[2][1].kernel), stored["block3_conv2.kernel"]
            )
        assert vgg.style == "keras"
        assert array(vgg(pictures)).shape == (2, 6, 5, 256)

    def test_reads_the_h5_of_keras(self, tmp_path):
        """In the layout of `vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5`."""
        path = str(tmp_path / "vgg.h5")
        pairs = drawn_weights(4)
        names = ("block1_conv1", "block1_conv2", "block2_conv1", "block2_conv2")
        with h5py.File(path, "w") as file:
            for name, (kernel, bias) in zip(names, pairs):
                file[f"{name}/{name}_W_1:0"] = kernel
                file[f"{name}/{name}_b_1:0"] = bias
            file.create_group("block1_pool")
        vgg = load_vgg("relu2_2", path)
        assert vgg.style == "keras"
        for conv, pair in zip(vgg.conv_layers(), pairs):
            for value, expected in zip(conv.get_weights(), pair):
                np.testing.assert_array_equal(value, expected)


class TestMatConvNetStyle:
    @pytest.mark.slow
    @needs_shared
    def test_features_are_those_of_the_authors_code(self, tmp_path):
        path = write_mat(tmp_path / "vgg.mat", drawn_weights(), beta16_layout)
        with np.load(SHARED / "reference" / "dped_vgg.npz") as file:
            stored = dict(file)
        pictures = stored["input_uint8"].astype(np.float32) / 255

        features = array(load_vgg("relu5_4", path)(pictures))
        assert features.shape == (2, 7, 7, 512)
        difference = np.linalg.norm(features - stored["relu5_4"])
        assert difference < 1e-5 * np.linalg.norm(stored["relu5_4"])
        assert np.abs(features - stored["relu5_4"]).max() < 1e-5 * stored["relu5_4"].max()
        for layer in ("relu2_2", "relu3_4"):
            means = array(load_vgg(layer, path)(pictures)).mean(axis=(1, 2))
            expected = stored[f"{layer}_channel_means"]
            np.testing.assert_allclose(means, expected, rtol=0, atol=1e-5 * expected.max())

    def test_the_authors_reader_finds_the_same_weights(self, tmp_path):
        """That the files made here are nested as those that DPED code reads by position."""
        pairs = drawn_weights(4)
        path = write_mat(tmp_path / "vgg.mat", pairs, beta16_layout)
        kernel, bias = scipy.io.loadmat(path)["layers"][0][2][0][0][0][0]
        np.testing.assert_array_equal(kernel, pairs[1][0])
        np.testing.assert_array_equal(bias.reshape(-1), pairs[1][1])
        found = load_vgg("relu1_2", path).convs[0][1]
        np.testing.assert_array_equal(array(found.kernel), pairs[1][0].transpose(1, 0, 2, 3))

    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_every_layout_gives_the_same_features(self, tmp_path, pictures, layout):
        pairs = drawn_weights(5)
        vgg = load_vgg("relu3_1", write_mat(tmp_path / "a.MAT", pairs, layout))
        assert vgg.style == "matconvnet"
        for conv, (kernel, bias) in zip(vgg.conv_layers(), pairs):
            np.testing.assert_array_equal(array(conv.kernel), kernel.transpose(1, 0, 2, 3))
            np.testing.assert_array_equal(array(conv.bias), bias)

    def test_named_layers_are_found_in_any_order(self, tmp_path):
        pairs = drawn_weights(2)
        path = write_mat(tmp_path / "a.mat", pairs[::-1], current_layout, CONVS[:2][::-1])
        vgg = load_vgg("relu1_2", path)
        np.testing.assert_array_equal(
            array(vgg.convs[0][0].kernel), pairs[0][0].transpose(1, 0, 2, 3)
        )

    def test_means_are_rgb_and_odd_pictures_keep_their_edge(self):
        vgg = VGGFeatures("relu2_1", "matconvnet")
        vgg.build(None)
        for conv in vgg.conv_layers():
            kernel = np.zeros(conv.kernel.shape, np.float32)
            kernel[1, 1, range(3), range(3)] = 1  # passes red, green and blue on
            conv.set_weights([kernel, np.zeros(conv.filters)])
        picture = np.zeros((1, 5, 3, 3), np.float32)
        picture[0, 4, 2] = (0.6, 0.7, 0.8)
        features = array(vgg(picture))
        assert features.shape == (1, 3, 2, 128)
        expected = np.array([0.6, 0.7, 0.8]) * 255 - [123.68, 116.779, 103.939]
        np.testing.assert_allclose(features[0, 2, 1, :3], expected, rtol=1e-5)
        assert np.abs(features[0, :2]).max() == 0

    def test_the_reports_input_is_rgb_less_the_means_of_bgr(self):
        expected = np.array([0.6, 0.7, 0.8]) * 255 - [103.939, 116.779, 123.68]
        np.testing.assert_allclose(first_convolution_sees("report"), expected, rtol=1e-5)
        assert load_vgg("relu1_1", "random", as_report=True).style == "report"

    def test_batch_norm_counts_the_batch_at_hand(self, rng):
        vgg = VGGFeatures("relu1_1", "report", "batch")
        vgg.build(None)
        kernel, bias = rng.normal(size=(3, 3, 3, 64)), rng.normal(size=64)
        scale, shift = rng.normal(size=(2, 64))
        vgg.conv_layers()[0].set_weights([kernel, bias])
        vgg.norms["block1_conv1"].set_weights([scale, shift])
        pictures = rng.random((2, 6, 5, 3)).astype(np.float32)
        x = pictures * 255 - np.array([103.939, 116.779, 123.68])
        x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        z = bias + sum(
            x[:, i : i + 6, j : j + 5] @ kernel[i, j] for i in range(3) for j in range(3)
        )
        z = (z - z.mean((0, 1, 2))) / np.sqrt(z.var((0, 1, 2)) + 1e-5)
        expected = np.maximum(z * scale + shift, 0)
        for training in (False, True):
            found = array(vgg(pictures, training=training))
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
        assert not vgg.trainable_weights

    def test_batch_norm_takes_scale_away_and_leaves_swapped_means_at_the_border(self, rng):
        """Two of the report's faults: 0–255 for 0–1, and the means of BGR taken from RGB."""
        found = {}
        for name, style in (("report", "report"), ("scaled", "report"), ("means", "matconvnet")):
            keras.utils.set_random_seed(0)
            vgg = VGGFeatures("relu1_1", style, "batch")
            vgg.build(None)
            kernel = vgg.conv_layers()[0].kernel
            if name == "scaled":
                kernel.assign(kernel / 255)
            pictures = np.random.default_rng(0).random((2, 32, 32, 3)).astype(np.float32)
            found[name] = array(vgg(pictures))
        apart = {name: np.abs(found[name] - found["report"]) for name in ("scaled", "means")}
        assert apart["scaled"].max() < 1e-3
        assert apart["means"][:, [0, -1]].mean() > 5 * apart["means"][:, 1:-1, 1:-1].mean() > 0

    def test_float64_reaches_every_layer(self, pictures):
        vgg = VGGFeatures("relu2_1", "matconvnet", dtype="float64")
        vgg.build(None)
        assert {v.dtype for v in vgg.weights} == {"float64"}
        assert vgg(pictures.astype(np.float64)).dtype == "float64"


class TestOptions:
    def test_refuses_others(self):
        with pytest.raises(ValueError, match="layer: expected one of relu1_1, .*got 'conv1_1'"):
            VGGFeatures("conv1_1")
        with pytest.raises(ValueError, match="style: expected one of keras, .*got 'caffe'"):
            VGGFeatures("relu1_1", "caffe")


def refused(layer, path):
    """The one line that loading ends with."""
    with pytest.raises(UserError) as caught:
        load_vgg(layer, str(path))
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"vgg_weights={path}: ")
    return message.split(": ", 1)[1]


class TestBadFiles:
    def test_missing_file(self, tmp_path):
        assert refused("relu1_1", tmp_path / "no.mat").startswith("no such file; expected imagenet")

    def test_unknown_type(self, tmp_path):
        path = tmp_path / "vgg.ckpt"
        path.touch()
        assert refused("relu1_1", path) == "expected an .h5, .npz or .mat file"

    @pytest.mark.parametrize("name", ["a.mat", "a.npz", "a.h5"])
    @pytest.mark.parametrize("content", [b"", b"not a file of that type" * 40])
    def test_something_else(self, tmp_path, name, content):
        path = tmp_path / name
        path.write_bytes(content)
        assert refused("relu1_1", path).startswith("not a readable .") or name == "a.h5"

    @pytest.mark.slow
    @pytest.mark.parametrize("compressed", [True, False])
    def test_truncated_mat(self, tmp_path, compressed):
        path = tmp_path / "vgg.mat"
        write_mat(path, drawn_weights(2), beta16_layout, compressed=compressed)
        whole = path.read_bytes()
        for length in (60, 130, 1000, len(whole) // 2, len(whole) - 1000):
            path.write_bytes(whole[:length])
            refused("relu1_2", path)

    def test_a_field_whose_name_has_a_line_end(self, tmp_path):
        path = tmp_path / "vgg.mat"
        write_mat(path, drawn_weights(1), current_layout)
        path.write_bytes(path.read_bytes().replace(b"weights\0", b"wei\nhts\0"))
        assert refused("relu1_1", path) == "no conv1_1, which content_layer=relu1_1 needs"

    @pytest.mark.slow
    def test_damaged_mat_never_ends_in_another_error(self, tmp_path, rng):
        path = tmp_path / "vgg.mat"
        write_mat(path, drawn_weights(1), beta16_layout, compressed=True)
        whole = np.frombuffer(path.read_bytes(), np.uint8)
        for _ in range(10):
            damaged = whole.copy()
            damaged[rng.integers(136, len(whole), 20)] ^= rng.integers(1, 256, 20, np.uint8)
            path.write_bytes(damaged.tobytes())
            refused("relu1_1", path)  # the file's own checksum sees everything

    @pytest.mark.parametrize("layers", [1.0, "text", np.eye(3), cell("a", 2.0), {"a": 1.0}])
    def test_mat_with_other_layers(self, tmp_path, layers):
        path = tmp_path / "other.mat"
        scipy.io.savemat(path, {"layers": layers})
        assert refused("relu1_1", path) == "no conv1_1, which content_layer=relu1_1 needs"

    def test_mat_without_layers(self, tmp_path):
        path = tmp_path / "other.mat"
        scipy.io.savemat(path, {"weights": np.eye(3)})
        assert refused("relu1_1", path) == "not a MatConvNet network: no variable `layers`"

    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_mat_that_ends_early(self, tmp_path, layout):
        path = write_mat(tmp_path / "vgg.mat", drawn_weights(3), layout)
        assert refused("relu2_2", path) == "no conv2_2, which content_layer=relu2_2 needs"

    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_mat_with_another_shape(self, tmp_path, layout):
        pairs = drawn_weights(3)
        pairs[1] = (pairs[1][0][..., :32], pairs[1][1][:32])
        path = write_mat(tmp_path / "vgg.mat", pairs, layout)
        assert refused("relu2_1", path) == (
            "conv1_2 has kernel (3, 3, 64, 32) and bias (32,), expected (3, 3, 64, 64) and (64,)"
        )

    def test_npz_that_lacks_a_layer_or_has_another_shape(self, tmp_path):
        path = tmp_path / "vgg.npz"
        (kernel, bias), (other, _) = drawn_weights(2)
        arrays = {"block1_conv1.kernel": kernel, "block1_conv1.bias": bias}
        np.savez(path, **arrays)
        assert load_vgg("relu1_1", str(path)).style == "keras"
        assert refused("relu1_2", path) == "no block1_conv2, which content_layer=relu1_2 needs"
        np.savez(path, **{**arrays, "block1_conv1.kernel": other})
        assert refused("relu1_1", path).startswith("block1_conv1 has kernel (3, 3, 64, 64) and")

    @pytest.mark.parametrize("norm", ["none", "batch"])
    def test_names_of_torchvision(self, tmp_path, rng, norm):
        """Of convolutions 0 and 2, or 0 and 3 with norms; kernels are (out, in, height, width)."""
        step = {"none": 2, "batch": 3}[norm]
        arrays, layers = {}, {}
        for number, (inputs, outputs) in enumerate(((3, 64), (64, 64))):
            layers[number] = rng.normal(size=(outputs, inputs, 3, 3)), rng.normal(size=outputs)
            arrays[f"features.{step * number}.weight"] = layers[number][0]
            arrays[f"features.{step * number}.bias"] = layers[number][1]
            if norm == "batch":
                for part in ("weight", "bias", "running_mean", "running_var"):
                    arrays[f"features.{step * number + 1}.{part}"] = rng.normal(size=outputs)
        path = tmp_path / "vgg.npz"
        np.savez(path, **arrays)
        vgg = load_vgg("relu1_2", str(path), norm=norm)
        assert vgg.style == "torchvision"
        for number, conv in enumerate(vgg.conv_layers()):
            kernel, bias = layers[number]
            np.testing.assert_allclose(array(conv.kernel), kernel.transpose(2, 3, 1, 0), rtol=1e-6)
            np.testing.assert_allclose(array(conv.bias), bias, rtol=1e-6)
        if norm == "batch":
            found = vgg.norms["block1_conv2"]
            np.testing.assert_allclose(array(found.scale), arrays["features.4.weight"], rtol=1e-6)
            np.testing.assert_allclose(array(found.shift), arrays["features.4.bias"], rtol=1e-6)
            assert refused("relu1_2", path) == "has batch norms; expected vgg_norm=batch"

    def test_torchvision_style_scales_as_its_weights_expect(self):
        expected = (np.array([0.6, 0.7, 0.8]) - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        np.testing.assert_allclose(first_convolution_sees("torchvision"), expected, rtol=1e-5)

    def test_download_that_fails_names_the_ways_out(self, monkeypatch):
        def fail(**options):
            raise Exception("URL fetch failure\nwith details")

        monkeypatch.setattr(keras.applications, "VGG19", fail)
        message = refused("relu1_1", "imagenet")
        assert message.startswith("the download failed (URL fetch failure); give a file")
