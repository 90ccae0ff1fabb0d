"""VGG-19 up to one of its ReLUs, frozen: the space in which content is compared."""

import os
import zipfile

import h5py
import keras
import numpy as np
from keras import ops

from ..errors import UserError
from .layers import statistics_dtype

CONVOLUTIONS = (2, 2, 4, 4, 4)
CHANNELS = (64, 128, 256, 512, 512)
LAYERS = tuple(
    f"relu{block}_{k}" for block, count in enumerate(CONVOLUTIONS, 1) for k in range(1, count + 1)
)
MEAN_BGR = (103.939, 116.779, 123.68)


class VGGFeatures(keras.Model):
    """Features of VGG-19 after a chosen ReLU, weights frozen.

    Pictures are scaled to 0–255, turned to BGR and reduced by ImageNet's means, as Keras's
    weights expect; max pooling 2×2 drops an odd row or column (Keras's VALID padding).

    Args:
        layer: `"relu1_1"` … `"relu5_4"`; nothing above it is built.

    Call arguments:
        inputs: (N, H, W, 3) RGB tensor in [0, 1].

    Returns:
        (N, h, w, C) tensor, float32 (float64 under a float64 policy).
    """

    def __init__(self, layer, **kwargs):
        super().__init__(**kwargs)
        last_block, last_conv = int(layer[4]), int(layer[6])
        self.convs = [
            [
                keras.layers.Conv2D(
                    CHANNELS[block - 1],
                    3,
                    padding="same",
                    activation="relu",
                    kernel_initializer="he_normal",
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
        x = inputs[..., ::-1] * 255.0 - ops.convert_to_tensor(MEAN_BGR, dtype=inputs.dtype)
        x = ops.cast(x, self.compute_dtype)
        for block, convs in enumerate(self.convs):
            if block > 0:
                x = ops.max_pool(x, 2, 2)
            for conv in convs:
                x = conv(x)
        return ops.cast(x, statistics_dtype(self.compute_dtype))


def load_vgg(layer, weights):
    """A `VGGFeatures` with weights from Keras, from a file, or drawn at random.

    Args:
        layer: `"relu1_1"` … `"relu5_4"`.
        weights: `"imagenet"` (Keras's download and cache), `"random"` (He normal, drawn from
            Keras's global seed) or the path of an `.h5` file as Keras publishes it, or of an
            `.npz` file with `block1_conv1.kernel`, `block1_conv1.bias`, …; layers above `layer`
            may be missing.

    Returns:
        The built model.

    Raises:
        UserError: where the weights cannot be had, with the ways there are; on a file that lacks
            a layer or has one of another shape.
    """
    vgg = VGGFeatures(layer, name="vgg")
    vgg.build(None)
    if weights == "random":
        return vgg
    find = _imagenet_weights() if weights == "imagenet" else _weights_in_file(weights)
    values = []
    for conv in vgg.conv_layers():
        found = find(conv.name)
        if found is None:
            raise UserError(
                f"vgg_weights={weights}: no {conv.name}, which content_layer={layer} needs"
            )
        expected = tuple(conv.kernel.shape)
        if found[0].shape != expected or found[1].shape != expected[-1:]:
            raise UserError(
                f"vgg_weights={weights}: {conv.name} has kernel {found[0].shape} and bias "
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
            f"({str(error).splitlines()[0][:120]}); give a file (vgg_weights=PATH.h5 or "
            "PATH.npz), or content_features=pixels, which needs no weights, or "
            "vgg_weights=random"
        ) from error
    return lambda name: model.get_layer(name).get_weights()


def _weights_in_file(path):
    if not os.path.isfile(path):
        raise UserError(
            f"vgg_weights={path}: no such file; expected imagenet, random, or the path of an "
            ".h5 or .npz file"
        )
    if path.endswith(".npz"):
        return _weights_in_npz(path)
    if path.endswith((".h5", ".hdf5")):
        return _weights_in_h5(path)
    raise UserError(f"vgg_weights={path}: expected an .h5 or .npz file")


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
