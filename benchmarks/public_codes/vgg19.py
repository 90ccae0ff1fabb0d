"""VGG-19 as the public codes want it: MatConvNet's file, or torchvision's layers."""

import types

import numpy as np

BLOCKS = ((2, 64), (2, 128), (4, 256), (4, 512), (4, 512))


def write_matconvnet(path, draw):
    """Writes a .mat file with VGG-19, which both TensorFlow 1 codes read.

    It has one struct for every layer up to the last pooling. The first field of a convolution is a
    cell of kernel (width, height, in, out) and bias.

    Args:
        path: of the file.
        draw: function of a convolution's name, such as `"conv1_2"`, and its kernel's shape. It
            returns kernel (height, width, in, out) and bias (out,).
    """
    import scipy.io

    layers, channels = [], 3
    for block, (count, outputs) in enumerate(BLOCKS, 1):
        for k in range(1, count + 1):
            kernel, bias = draw(f"conv{block}_{k}", (3, 3, channels, outputs))
            weights = np.empty((1, 2), object)
            weights[0] = kernel.transpose(1, 0, 2, 3), bias[None]
            layers.append({"weights": weights, "name": f"conv{block}_{k}", "type": "conv"})
            layers.append({"name": f"relu{block}_{k}", "type": "relu"})
            channels = outputs
        layers.append({"name": f"pool{block}", "type": "pool"})
    cells = np.empty((1, len(layers)), object)
    cells[0] = layers
    scipy.io.savemat(path, {"layers": cells})


def torchvision_with_norms():
    """torchvision's VGG-19 with batch norm: its `features`, with PyTorch's initial weights."""
    from torch import nn

    layers, channels = [], 3
    for count, outputs in BLOCKS:
        for _ in range(count):
            convolution = nn.Conv2d(channels, outputs, 3, padding=1)
            layers += [convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
            channels = outputs
        layers.append(nn.MaxPool2d(2, 2))
    return types.SimpleNamespace(features=nn.Sequential(*layers))
