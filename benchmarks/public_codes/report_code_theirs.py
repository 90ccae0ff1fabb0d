"""A process that trains with the report's own code (PyTorch), sanityseeker/wespe.

Their train.py trains: `prepare_models` makes networks and optimizers, and `train_epoch_mod` runs
the iterations as `train` calls it, with the balance. Their files are not changed. `run_theirs`
replaces what does not run today, and what draws at random.
"""

import sys
import time
import types

import numpy as np

from benchmarks.public_codes import drawing
from benchmarks.public_codes.vgg19 import torchvision_with_norms

REPOSITORY = "sanityseeker/wespe"
FILES = ("train.py", "model.py", "dataset.py", "blur.py", "plots.py", "saver.py")
# Seeds of the first variable of each network, of pictures, and of the labels' smoothing.
SEEDS = {"G": 1000, "F": 2000, "D_color": 3000, "D_texture": 4000, "vgg": 5000}
PHONE_SEED, DSLR_SEED, SMOOTHING_SEED = 10, 20, 7


def draw_data(iterations, size):
    """Phone and DSLR pictures by iteration, and the numbers in [0, 1) that smooth the labels."""
    found = (drawing.batches(seed, iterations, size) for seed in (PHONE_SEED, DSLR_SEED))
    return *found, np.random.RandomState(SMOOTHING_SEED).random_sample(iterations)


def run_theirs(checkout, iterations, size, precision):
    """A process: trains with the unchanged code.

    These are replaced: the pooling with a window of 128, which fails on a map of 7, by the mean
    over the map; `scipy.signal.gaussian`, which has moved; torchvision, of which the code needs
    VGG-19 alone, by the same network without a download; the pictures of the progress, which are
    not drawn; and the random number of each iteration. In float64, what asks for float32 gets
    float64.
    """
    import scipy.signal
    import torch
    from torch import nn

    if precision == "float64":
        torch.set_default_dtype(torch.float64)
        torch.float = torch.float64
        torch.Tensor.float = torch.Tensor.double
        torch.FloatTensor = torch.tensor
    nn.AvgPool2d = lambda window: nn.AdaptiveAvgPool2d(1)
    scipy.signal.gaussian = scipy.signal.windows.gaussian
    torchvision = types.ModuleType("torchvision")
    torchvision.models = types.SimpleNamespace(vgg19_bn=lambda pretrained: torchvision_with_norms())
    sys.modules["torchvision"] = torchvision
    sys.path.insert(0, checkout)

    import train

    train.plot_iter = lambda images, filename: None
    iterations = int(iterations)
    phone, dslr, smoothing = draw_data(iterations, int(size))
    draws = iter(smoothing)
    torch.rand = lambda count: torch.full((count,), next(draws))

    device = torch.device("cpu")
    models, optimizers = train.prepare_models(device, False)
    networks = dict(zip(drawing.NETWORKS, (model for _, model in models)))
    vgg = train.Vgg19(device)
    for name, network in {**networks, "vgg": vgg}.items():
        draw_parameters(network, name)

    losses, ends = watch_losses(train), []

    def pictures_of(batch):
        values = torch.tensor(batch.transpose(0, 3, 1, 2)).to(torch.get_default_dtype())
        return values / 255

    def batches():
        for batch in zip(phone, dslr):
            yield tuple(map(pictures_of, batch))
            ends.append(time.perf_counter())

    with torch.no_grad():
        enhanced = networks["G"](pictures_of(phone[0]))
    drawing.save("first", {"enhanced": [enhanced.numpy().transpose(0, 2, 3, 1)]})
    drawing.save("before", parameters(networks))
    kernel = train.blur.gaussian_kernel().to(device)
    train.train_epoch_mod(models, optimizers, batches(), device, vgg, kernel, 1, 2, True, 0)
    drawing.save("after", parameters(networks))
    drawing.save_record(losses, ends)


def watch_losses(train):
    """Has their module `train` note its losses.

    Returns:
        List of dictionaries by name, one for each iteration. It grows while they train.
    """
    from torch.nn import functional

    losses, terms = [], []
    of_generators = train.compute_generator_loss
    of_discriminators = train.compute_discriminator_losses

    def noted(function):
        def call(*arguments, **options):
            result = function(*arguments, **options)
            terms.append(float(result))
            return result

        return call

    def compute_generator_loss(*arguments):
        terms.clear()
        total = of_generators(*arguments)
        color, texture, rows, columns, content = terms
        count = arguments[2].numel()  # of the enhanced pictures
        found = {"generator": float(total), "color": color, "texture": texture}
        losses.append({**found, "tv": (rows + columns) / count, "content": content / count})
        return total

    def compute_discriminator_losses(*arguments):
        pair = of_discriminators(*arguments)
        losses.append(dict(zip(("color_disc", "texture_disc"), map(float, pair))))
        return pair

    for name in ("mse_loss", "binary_cross_entropy_with_logits"):
        setattr(functional, name, noted(getattr(functional, name)))
    train.compute_generator_loss = compute_generator_loss
    train.compute_discriminator_losses = compute_discriminator_losses
    return losses


def draw_parameters(network, name):
    """Gives the parameters of a network of PyTorch their drawn values."""
    import torch

    base = SEEDS[name]
    for k, (label, parameter) in enumerate(network.named_parameters()):
        kind = drawing.kind_of(label, parameter.ndim)
        if name == "vgg" and kind == "kernel":
            kind = "vgg_kernel"
        shape = in_our_order(parameter.detach()).shape
        value = drawing.drawn(base + k, kind, tuple(shape))
        with torch.no_grad():
            in_our_order(parameter).copy_(torch.tensor(value))


def in_our_order(parameter):
    """A view with the axes (height, width, in, out) or (in, out) of a PyTorch tensor."""
    axes = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}
    return parameter.permute(axes[parameter.ndim])


def parameters(networks):
    """Values of all parameters, by network."""
    return {
        name: [in_our_order(parameter.detach()).numpy() for parameter in network.parameters()]
        for name, network in networks.items()
    }
