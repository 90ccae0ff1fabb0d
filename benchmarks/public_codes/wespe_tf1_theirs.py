"""A process that trains with WESPE-TF (TensorFlow 1), JuheonYi/WESPE-TensorFlow.

Their WESPE.py builds the graph and trains. Their files are not changed. `run_theirs` replaces what
does not run today.
"""

import os
import sys
import time
import types

import numpy as np

from benchmarks.public_codes import drawing
from benchmarks.public_codes.vgg19 import write_matconvnet

REPOSITORY = "JuheonYi/WESPE-TensorFlow"
FILES = ("WESPE.py", "modules.py", "ops.py", "utils.py", "vgg19.py", "dataloader/dataloader.py")
# By network: what the names of its variables begin with there, and the seed of the first one.
NETWORKS = {
    "G": ("generator/", 6000),
    "F": ("generator_inverse/", 7000),
    "D_color": ("discriminator_color/", 8000),
    "D_texture": ("discriminator_texture/", 9000),
}
VGG_SEED, VGG_LAYERS = 5900, ("conv1_1", "conv1_2", "conv2_1", "conv2_2")
PHONE_SEED, DSLR_SEED = 30, 40
# Settings of their paired notebook.
THEIR_SETTINGS = {
    "mode": "RGB",
    "channels": 3,
    "augmentation": False,
    "content_layer": "relu2_2",
    "learning_rate": 1e-4,
    "w_content": 0.1,
    "w_color": 20,
    "w_texture": 3,
    "w_tv": 1 / 400,
    "test_every": sys.maxsize,
    "checkpoint_dir": "",
    "dataset_name": "",
}


def draw_data(iterations, size):
    """Phone and DSLR pictures by iteration."""
    return tuple(drawing.batches(seed, iterations, size) for seed in (PHONE_SEED, DSLR_SEED))


def draw_vgg(path, dtype):
    """Writes VGG-19 with drawn values up to conv2_2, and zeros above, which nothing uses."""

    def draw(name, shape):
        if name not in VGG_LAYERS:
            return np.zeros(shape, dtype), np.zeros(shape[-1], dtype)
        seed = VGG_SEED + 2 * VGG_LAYERS.index(name)
        kernel = drawing.drawn(seed, "vgg_kernel", shape)
        return kernel.astype(dtype), drawing.drawn(seed + 1, "bias", shape[-1:]).astype(dtype)

    write_matconvnet(path, draw)


def run_theirs(checkout, iterations, size, precision):
    """A process: trains with the unchanged code.

    These are replaced: `tensorflow` by its TensorFlow 1 interface, whose layers come from tf_keras;
    what was in `tf.contrib`; modules that only read and write pictures; and the pictures, the
    evaluation and the checkpoint in their `train`. In float64, what asks for float32 gets float64,
    and so do gray and Adam's powers of β.
    """
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    import tensorflow

    tf = tensorflow.compat.v1
    tf.disable_v2_behavior()
    sys.modules["tensorflow"] = as_tensorflow_1(tf, precision)
    for name, *functions in (("scipy.misc", "imresize"), ("imageio",), ("cv2",)):
        sys.modules[name] = types.ModuleType(name)
        vars(sys.modules[name]).update(dict.fromkeys(functions))
    sys.path.insert(0, checkout)

    import WESPE

    iterations = int(iterations)
    phone, dslr = draw_data(iterations, int(size))
    data = [(WESPE.preprocess(x), WESPE.preprocess(y)) for x, y in zip(phone, dslr)]
    # In iteration 0, another batch is asked for to print losses.
    batches = iter([data[0], *data])
    WESPE.get_batch = lambda *_: next(batches)
    WESPE.WESPE.test_generator = WESPE.WESPE.save = lambda *_: None
    draw_vgg("vgg.mat", precision)
    settings = types.SimpleNamespace(
        **THEIR_SETTINGS,
        batch_size=drawing.BATCH_SIZE,
        patch_size=int(size),
        vgg_dir="vgg.mat",
        train_iter=iterations,
    )
    session = tf.Session()
    model = WESPE.WESPE(session, settings, [], [])
    networks = {
        name: [v for v in tf.trainable_variables() if v.name.startswith(begin)]
        for name, (begin, _) in NETWORKS.items()
    }
    for name, variables in networks.items():
        for k, variable in enumerate(variables):
            kind = drawing.kind_of(variable.op.name, len(variable.shape))
            shape = tuple(map(int, variable.shape))
            variable.load(drawing.drawn(NETWORKS[name][1] + k, kind, shape), session)

    watched = {
        model.G_optimizer: {
            "generator": model.G_loss,
            "content": model.content_loss,
            "color": model.color_loss,
            "texture": model.texture_loss,
            "tv": model.tv_loss,
        },
        model.D_optimizer_color: {"color_disc": model.d_loss_color},
        model.D_optimizer_texture: {"texture_disc": model.d_loss_texture},
    }
    losses, ends, session_run = [], [], session.run

    def run(fetches, feed_dict):
        step = fetches[0] if isinstance(fetches, list) else fetches
        if step not in watched:
            return session_run(fetches, feed_dict)
        result, values = session_run([fetches, watched[step]], feed_dict)
        if step is model.G_optimizer:
            losses.append({})
        losses[-1].update({name: float(value) for name, value in values.items()})
        if step is model.D_optimizer_texture:
            ends.append(time.perf_counter())
        return result

    x, y = data[0]
    enhanced = session.run(model.enhanced_patch, {model.phone_patch: x, model.dslr_patch: y})
    drawing.save("first", {"enhanced": [enhanced]})
    drawing.save("before", session.run(networks))
    session.run = run
    model.train(load=False)
    drawing.save("after", session_run(networks))
    drawing.save_record(losses, ends)


def as_tensorflow_1(tf, precision):
    """A module that stands for TensorFlow 1, with what was in `tf.contrib`.

    Args:
        tf: `tensorflow.compat.v1`.
        precision: `"float32"` or `"float64"`, in which TensorFlow 1 computes some things in float32
            nevertheless; these are replaced.
    """
    module = types.ModuleType("tensorflow")
    vars(module).update(vars(tf))
    module.layers = tf.layers
    module.contrib = types.SimpleNamespace(
        layers=types.SimpleNamespace(
            xavier_initializer=tf.glorot_uniform_initializer, flatten=tf.layers.flatten
        )
    )
    if precision == "float64":
        module.float32 = tf.float64
        gray = np.array([0.2989, 0.5870, 0.1140])
        module.image = types.SimpleNamespace(
            total_variation=tf.image.total_variation,
            rgb_to_grayscale=lambda x: tf.reduce_sum(x * gray, -1, keepdims=True),
        )
        numbers = np.array([0.9, 0.999, 1e-8])  # β, and ε; Adam keeps the dtype of what it is given
        module.train = types.SimpleNamespace(
            Saver=tf.train.Saver,
            AdamOptimizer=lambda rate: tf.train.AdamOptimizer(np.float64(rate), *numbers),
        )
    return module
