"""VGG-19 up to one of its ReLUs, frozen: the space in which content is compared."""

import os
import zipfile

import h5py
import keras
import numpy as np
import scipy.io
from keras import ops

from ..errors import UserError
from .layers import statistics_dtype

CONVOLUTIONS = (2, 2, 4, 4, 4)
CHANNELS = (64, 128, 256, 512, 512)
LAYERS = tuple(
    f"relu{block}_{k}" for block, count in enumerate(CONVOLUTIONS, 1) for k in range(1, count + 1)
)
STYLES = ("keras", "matconvnet", "report")
MEAN_RGB = (123.68, 116.779, 103.939)


class VGGFeatures(keras.Model):
    """Features of VGG-19 after a chosen ReLU, weights frozen.

    Pictures are scaled to 0–255 and reduced by ImageNet's means. What else they need depends on
    whose weights these are:

        keras        channels in BGR; max pooling 2×2 drops an odd row or column (VALID)
        matconvnet   channels in RGB; pooling keeps it (SAME): 100 → 50 → 25 → 13 → 7, DPED code
        report       as report-code feeds it: Keras's weights, but channels in RGB, from which the
                     means of BGR are subtracted

    Args:
        layer: `"relu1_1"` … `"relu5_4"`; nothing above it is built.
        style: `"keras"`, `"matconvnet"` or `"report"`.

    Call arguments:
        inputs: (N, H, W, 3) RGB tensor in [0, 1].

    Returns:
        (N, h, w, C) tensor, float32 (float64 under a float64 policy).

    Raises:
        ValueError: on an option outside those listed.
    """

    def __init__(self, layer, style="keras", **kwargs):
        super().__init__(**kwargs)
        if layer not in LAYERS:
            raise ValueError(f"layer: expected one of {', '.join(LAYERS)}, got {layer!r}")
        if style not in STYLES:
            raise ValueError(f"style: expected one of {', '.join(STYLES)}, got {style!r}")
        self.style = style
        last_block, last_conv = int(layer[4]), int(layer[6])
        self.convs = [
            [
                keras.layers.Conv2D(
                    CHANNELS[block - 1],
                    3,
                    padding="same",
                    activation="relu",
                    kernel_initializer="he_normal",
                    dtype=self.dtype_policy,
                    name=f"block{block}_conv{k}",
                )
                for k in range(1, (last_conv if block == last_block else count) + 1)
            ]
            for block, count in enumerate(CONVOLUTIONS[:last_block], 1)
        ]
        self.trainable = False

    def build(self, input_shape):
        channels = 3
        for conv in self.conv_layers():
            conv.build((None, None, None, channels))
            channels = conv.filters

    def conv_layers(self):
        """The convolutions in order, as a flat list."""
        return [conv for block in self.convs for conv in block]

    def call(self, inputs):
        mean = MEAN_RGB[::-1] if self.style == "report" else MEAN_RGB
        x = inputs * 255.0 - ops.convert_to_tensor(mean, dtype=inputs.dtype)
        if self.style == "keras":
            x = x[..., ::-1]
        padding = "same" if self.style == "matconvnet" else "valid"
        x = ops.cast(x, self.compute_dtype)
        for block, convs in enumerate(self.convs):
            if block > 0:
                x = ops.max_pool(x, 2, 2, padding)
            for conv in convs:
                x = conv(x)
        return ops.cast(x, statistics_dtype(self.compute_dtype))


def load_vgg(layer, weights, as_report=False):
    """A `VGGFeatures` with weights from Keras, from a file, or drawn at random.

    Args:
        layer: `"relu1_1"` … `"relu5_4"`.
        weights: `"imagenet"` (Keras's download and cache), `"random"` (He normal, drawn from
            Keras's global seed) or the path of a file, which may lack layers above `layer`:
            `.h5` as Keras publishes it, `.npz` with `block1_conv1.kernel`,
            `block1_conv1.bias`, …, or the `.mat` of MatConvNet that DPED code uses,
            `imagenet-vgg-verydeep-19.mat`, in any of the layouts it has had. The `.mat` gives
            a model of style `"matconvnet"`, everything else one of style `"keras"`.
        as_report: whether pictures are prepared as in report-code: style `"report"`.

    Returns:
        The built model.

    Raises:
        UserError: where the weights cannot be had, with the ways there are; on a file that lacks
            a layer or has one of another shape.
    """
    is_matconvnet = weights.lower().endswith(".mat")
    if as_report and is_matconvnet:
        raise UserError(f"vgg_weights={weights}: vgg_preprocessing=report needs Keras's weights")
    style = "report" if as_report else "matconvnet" if is_matconvnet else "keras"
    vgg = VGGFeatures(layer, style, name="vgg")
    vgg.build(None)
    if weights == "random":
        return vgg
    find = _imagenet_weights() if weights == "imagenet" else _weights_in_file(weights)
    values = []
    for conv in vgg.conv_layers():
        name = _matconvnet_name(conv.name) if is_matconvnet else conv.name
        found = find(name)
        if found is None:
            raise UserError(f"vgg_weights={weights}: no {name}, which content_layer={layer} needs")
        expected = tuple(conv.kernel.shape)
        if found[0].shape != expected or found[1].shape != expected[-1:]:
            raise UserError(
                f"vgg_weights={weights}: {name} has kernel {found[0].shape} and bias "
                f"{found[1].shape}, expected {expected} and {expected[-1:]}"
            )
        values.append(found)
    for conv, found in zip(vgg.conv_layers(), values):
        conv.set_weights(found)
    return vgg


def _imagenet_weights():
    try:
        model = keras.applications.VGG19(include_top=False, weights="imagenet")
    except Exception as error:  # Keras wraps every network failure in a bare Exception.
        raise UserError(
            "vgg_weights=imagenet: the download failed "
            f"({str(error).splitlines()[0][:120]}); give a file (vgg_weights=PATH.h5, PATH.npz "
            "or PATH.mat), or content_features=pixels, which needs no weights, or "
            "vgg_weights=random"
        ) from error
    return lambda name: model.get_layer(name).get_weights()


def _weights_in_file(path):
    readers = {
        ".npz": _weights_in_npz,
        ".h5": _weights_in_h5,
        ".hdf5": _weights_in_h5,
        ".mat": _weights_in_mat,
    }
    if not os.path.isfile(path):
        raise UserError(
            f"vgg_weights={path}: no such file; expected imagenet, random, or the path of an "
            ".h5, .npz or .mat file"
        )
    read = readers.get(os.path.splitext(path)[1].lower())
    if read is None:
        raise UserError(f"vgg_weights={path}: expected an .h5, .npz or .mat file")
    return read(path)


def _weights_in_npz(path):
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"vgg_weights={path}: not a readable .npz file ({error})") from error

    def find(name):
        if f"{name}.kernel" not in arrays or f"{name}.bias" not in arrays:
            return None
        return [arrays[f"{name}.kernel"], arrays[f"{name}.bias"]]

    return find


def _weights_in_h5(path):
    """Reads the layer groups of Keras's file: one 4-D kernel and one 1-D bias, however named."""
    layers = {}

    def visit(name, item):
        parts = name.split("/")
        layer = next((part for part in parts if part.startswith("block")), None)
        if layer is not None and isinstance(item, h5py.Dataset) and item.ndim in (1, 4):
            layers.setdefault(layer, {})[item.ndim] = item[()]

    try:
        with h5py.File(path, "r") as file:
            file.visititems(visit)
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise UserError(f"vgg_weights={path}: not a readable HDF5 file ({error})") from error

    def find(name):
        arrays = layers.get(name, {})
        return [arrays[4], arrays[1]] if len(arrays) == 2 else None

    return find


def _matconvnet_name(name):
    """`block3_conv4` of Keras → `conv3_4` of MatConvNet."""
    return name.replace("_conv", "_").replace("block", "conv")


def _weights_in_mat(path):
    """Reads MatConvNet's list of layer structs by the names of their fields.

    A convolution holds `weights`, a cell of kernel and bias; before 2015 it held `filters` and
    `biases`. The order of the fields differs between the files, and early ones name no layers:
    then the order of the convolutions counts. Kernels are stored (width, height, in, out).
    """
    try:
        content = scipy.io.loadmat(
            path, variable_names=["layers"], simplify_cells=True, appendmat=False
        )
    except Exception as error:  # A damaged file can fail anywhere in SciPy's reader.
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise UserError(f"vgg_weights={path}: not a readable .mat file ({reason})") from error
    if "layers" not in content:
        raise UserError(f"vgg_weights={path}: not a MatConvNet network: no variable `layers`")

    convs = {}
    names = iter(LAYERS)
    for layer in np.atleast_1d(np.asarray(content["layers"], dtype=object)):
        pair = _kernel_and_bias(layer)
        if pair is not None:
            in_order = next(names, "").replace("relu", "conv")
            name = layer.get("name")
            convs[name if isinstance(name, str) and name else in_order] = pair
    return convs.get


def _kernel_and_bias(layer):
    """[kernel (height, width, in, out), bias (out,)] of a layer struct, None if it has none."""
    if not isinstance(layer, dict):
        return None
    pair = layer.get("weights", (layer.get("filters"), layer.get("biases")))
    if not isinstance(pair, (tuple, list, np.ndarray)) or len(pair) != 2:
        return None
    kernel, bias = (np.asarray(array) for array in pair)
    if kernel.ndim != 4 or not all(np.issubdtype(a.dtype, np.number) for a in (kernel, bias)):
        return None
    return [kernel.transpose(1, 0, 2, 3), bias.reshape(-1)]
