"""Reads VGG-19 weights from files of Keras, MatConvNet, torchvision and NumPy."""

import os
import re
from collections.abc import Callable, Mapping

import keras
import numpy as np

from ..errors import UserError, first_line
from ..models.options import VGG_LAYERS
from ..models.vgg import VGGFeatures
from .untrusted import ChildFailed, read_arrays

# Larger arrays are not read, in bytes. They are dense layers; all convolutions are smaller.
LARGEST = 2**24

Arrays = Mapping[str, np.ndarray]
# Function from a layer's name to its [kernel, bias], or to None if there is no such layer.
Finder = Callable[[str], list[np.ndarray] | None]


def load_vgg(layer: str, weights: str, as_report: bool = False, norm: str = "none") -> VGGFeatures:
    """A `VGGFeatures` with weights from Keras, from a file, or drawn at random.

    Args:
        layer: `"relu1_1"` … `"relu5_4"`.
        weights: `"imagenet"` (Keras's download and cache), `"random"` (He normal, drawn from
            Keras's global seed) or the path of a file, which may lack layers above `layer`:
            `.h5` as Keras publishes it, `.npz` with `block1_conv1.kernel`,
            `block1_conv1.bias`, …, or the `.mat` of MatConvNet that DPED's code uses,
            `imagenet-vgg-verydeep-19.mat`, in any layout that it has had. The model's style is
            `"matconvnet"` for a `.mat`, `"torchvision"` for an `.npz` with torchvision's
            `features.0.weight`, `features.0.bias`, …, and `"keras"` for all others.
        as_report: whether pictures are prepared as in the report's code: style `"report"`.
        norm: see `VGGFeatures`. Norms that the weights lack have scale 1 and shift 0.

    Returns:
        The built model.

    Raises:
        UserError: if the weights cannot be found; if a file lacks a layer, has one of another
            shape, or has norms that `norm` does not use.
    """
    is_matconvnet = weights.lower().endswith(".mat")
    if as_report and is_matconvnet:
        raise UserError(f"vgg_weights={weights}: vgg_preprocessing=report needs Keras's weights")
    if weights in ("random", "imagenet"):
        style, find = "keras", _imagenet_weights() if weights == "imagenet" else None
    else:
        style, find = _weights_in_file(weights)
    vgg = VGGFeatures(layer, "report" if as_report else style, norm, name="vgg")
    vgg.build(None)
    if find is None:
        return vgg
    values = []
    for conv in vgg.conv_layers():
        name = _matconvnet_name(conv.name) if is_matconvnet else conv.name
        found = find(name)
        if found is None:
            raise UserError(f"vgg_weights={weights}: no {name}, which content_layer={layer} needs")
        expected = tuple(conv.kernel.shape)
        if found[0].shape != expected or any(a.shape != expected[-1:] for a in found[1:]):
            raise UserError(
                f"vgg_weights={weights}: {name} has kernel {found[0].shape} and bias "
                f"{found[1].shape}, expected {expected} and {expected[-1:]}"
            )
        if len(found) > 2 and norm == "none":
            raise UserError(f"vgg_weights={weights}: has batch norms; expected vgg_norm=batch")
        values.append(found)
    for conv, found in zip(vgg.conv_layers(), values):
        conv.set_weights(found[:2])
        if found[2:]:
            vgg.norms[conv.name].set_weights(found[2:])
    return vgg


def _imagenet_weights() -> Finder:
    try:
        model = keras.applications.VGG19(include_top=False, weights="imagenet")
    except Exception as error:  # Keras wraps every network failure in a bare Exception.
        raise UserError(
            "vgg_weights=imagenet: the download failed "
            f"({first_line(error)}); give a file (vgg_weights=PATH.h5, PATH.npz "
            "or PATH.mat), or content_features=pixels, which needs no weights, or "
            "vgg_weights=random"
        ) from error
    return lambda name: model.get_layer(name).get_weights()


def _weights_in_file(path: str) -> tuple[str, Finder]:
    """The style of a file, and its `Finder`.

    If a layer has a norm, its scale and shift follow after kernel and bias.
    """
    if not os.path.isfile(path):
        raise UserError(
            f"vgg_weights={path}: no such file; expected imagenet, random, or the path of an "
            ".h5, .npz or .mat file"
        )
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in FORMATS:
        raise UserError(f"vgg_weights={path}: expected an .h5, .npz or .mat file")
    kind, find_in = FORMATS[suffix]
    try:
        arrays = read_arrays(path, kind, LARGEST)
    except ChildFailed as error:
        raise UserError(f"vgg_weights={path}: not a readable {suffix} file ({error})") from error
    if kind == "mat" and not arrays:
        raise UserError(f"vgg_weights={path}: not a MatConvNet network: no variable `layers`")
    if "features.0.weight" in arrays:
        return "torchvision", _torchvision_layers(arrays)
    return "matconvnet" if kind == "mat" else "keras", find_in(arrays)


def _torchvision_layers(arrays: Arrays) -> Finder:
    """Finds `features.0.weight` (out, in, height, width) and `features.0.bias` of block1_conv1.

    torchvision numbers all layers: convolutions, norms if there are any, ReLUs, and poolings.
    """
    has_norms = arrays["features.1.weight"].ndim == 1 if "features.1.weight" in arrays else False
    names = [name.replace("relu", "block").replace("_", "_conv") for name in VGG_LAYERS]
    numbers = {name: k * (3 if has_norms else 2) + int(name[5]) - 1 for k, name in enumerate(names)}
    parts = [(0, "weight"), (0, "bias"), *([(1, "weight"), (1, "bias")] if has_norms else [])]

    def find(name: str) -> list[np.ndarray] | None:
        wanted = [f"features.{numbers[name] + layer}.{part}" for layer, part in parts]
        if not all(key in arrays for key in wanted) or arrays[wanted[0]].ndim != 4:
            return None
        kernel, *vectors = (arrays[key] for key in wanted)
        return [kernel.transpose(2, 3, 1, 0), *vectors]

    return find


def _named_arrays(arrays: Arrays) -> Finder:
    """Finds `block1_conv1.kernel` and `block1_conv1.bias`."""

    def find(name: str) -> list[np.ndarray] | None:
        names = f"{name}.kernel", f"{name}.bias"
        return [arrays[n] for n in names] if all(n in arrays for n in names) else None

    return find


def _keras_groups(arrays: Arrays) -> Finder:
    """Finds the layer groups of Keras's file: a 4-D kernel and a 1-D bias, with any names."""
    layers: dict[str, dict[int, np.ndarray]] = {}
    for name, array in arrays.items():
        layer = next((part for part in name.split("/") if part.startswith("block")), None)
        if layer is not None and array.ndim in (1, 4):
            layers.setdefault(layer, {})[array.ndim] = array

    def find(name: str) -> list[np.ndarray] | None:
        found = layers.get(name, {})
        return [found[4], found[1]] if len(found) == 2 else None

    return find


def _matconvnet_name(name: str) -> str:
    """`block3_conv4` of Keras → `conv3_4` of MatConvNet."""
    return name.replace("_conv", "_").replace("block", "conv")


def _matconvnet_layers(arrays: Arrays) -> Finder:
    """Finds layers in MatConvNet's list of structs by the names of their fields.

    A convolution holds `weights`, a cell of kernel and bias; before 2015 it held `filters` and
    `biases`. The order of the fields differs between the files. In early files, layers have no
    names; then the order of the convolutions counts. Kernels are stored (width, height, in, out).
    """
    layers: dict[int, dict[str, np.ndarray]] = {}
    for path, array in arrays.items():
        # In a MATLAB file, a list of one is not a list. A damaged name may contain line ends.
        parts = re.fullmatch(r"layers(?:/(\d+))?(?:/(.*))?", path, re.DOTALL)
        assert parts is not None, path  # `untrusted_reader` makes such names.
        number, field = parts.groups()
        layers.setdefault(int(number or 0), {})[field] = array
    convs = {}
    names = iter(VGG_LAYERS)
    for layer in layers.values():
        pair = _kernel_and_bias(layer)
        if pair is not None:
            in_order = next(names, "").replace("relu", "conv")
            convs[str(layer.get("name", "")) or in_order] = pair
    return convs.get


def _kernel_and_bias(layer: Arrays) -> list[np.ndarray] | None:
    """[kernel (height, width, in, out), bias (out,)] of a layer, or None if it has none."""
    for fields in (("weights/0", "weights/1"), ("filters", "biases")):
        if all(field in layer and layer[field].dtype.kind in "iuf" for field in fields):
            kernel, bias = (layer[field] for field in fields)
            if kernel.ndim == 4:
                return [kernel.transpose(1, 0, 2, 3), bias.reshape(-1)]
    return None


# By suffix: the kind of a file, and the function that makes its `Finder`.
FORMATS = {
    ".npz": ("npz", _named_arrays),
    ".h5": ("hdf5", _keras_groups),
    ".hdf5": ("hdf5", _keras_groups),
    ".mat": ("mat", _matconvnet_layers),
}
