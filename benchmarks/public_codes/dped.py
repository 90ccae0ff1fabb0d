"""The authors' code, DPED (TensorFlow 1), beside this project's generator and `DPED`.

First their test_model.py enhances photos, then this project's generator with the same weights
does. Then their train_model.py and this project's `DPED` train from the same initial values, with
the same random draws, on patches of those photos. Their files are not changed. `run_theirs`
replaces what today's libraries no longer have.
"""

import json
import sys
import tempfile
import time
import types
from pathlib import Path

import numpy as np

from benchmarks.public_codes.processes import RECORD, run_process
from benchmarks.public_codes.summary import Column, relative_differences, table
from benchmarks.public_codes.vgg19 import write_matconvnet

# wespe_tf, and with it Keras, is imported in functions: the authors' process imports this file too,
# and must not hold more in memory than their code alone.

REPOSITORY = "aiff22/DPED"
FILES = (
    "test_model.py",
    "train_model.py",
    "models.py",
    "utils.py",
    "load_dataset.py",
    "ssim.py",
    "vgg.py",
)
AMPLIFIED = 50

TRAINING_PATCHES, TEST_PATCHES, PATCH_SIZE = 96, 16, 100
TRAIN_SIZE, BATCH_SIZE, EVAL_STEP = 48, 8, 1_000_000
# The first two iterations are not timed. The first one includes an evaluation.
UNTIMED = 2
LOSSES = ("generator", "content", "color", "texture", "tv", "discriminator")
# Calls of Session.run that are timed, by the last value they fetch; and more values to fetch.
WATCHED = {
    "enhanced": (),
    "train_step_gen": tuple(f"loss_{name}" for name in LOSSES[:-1]),
    "train_step_disc": ("loss_discrim",),
}
INITIAL_VALUES = "initial_values.npz"


def compare(config, photos):
    """Runs both codes.

    Args:
        config: settings of `compare_reference.py`.
        photos: paths of pictures.

    Returns:
        The `Column` of the table, and lines of the report.
    """
    from wespe_tf.images.picture import to_uint8

    reference, output = Path(config.reference).resolve(), Path(config.output).resolve()
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        prepare(scratch, reference, config.model, photos)
        differences, report = compare_photos(scratch, reference, output, config.model, photos)
        pairs = [load_theirs(scratch, config.model, k) for k in range(len(photos))]
        make_patches(scratch, config.model, [(photo, to_uint8(made)) for photo, made in pairs])
        provide_vgg(scratch / "vgg.mat", config.vgg)
        theirs, ours, more = compare_training(scratch, reference, output, config)
    names = [*LOSSES[:-1], "texture_disc"]
    losses = [[dict(zip(names, values)) for values in run["losses"]] for run in (theirs, ours)]
    column = Column(
        "DPED, float32",
        outputs=max(largest for largest, *_ in differences["ours_float16"]),
        losses=relative_differences(*losses),
        seconds=(seconds_per_iteration(theirs["ends"]), seconds_per_iteration(ours["ends"])),
        peak_memory=(theirs["peak_memory"], ours["peak_memory"]),
    )
    return column, report + more


def files_of(model):
    """Files of a checkout: the code, and the authors' trained `model`."""
    return [*FILES, *(f"models_orig/{model}{end}" for end in (".index", ".data-00000-of-00001"))]


# Files that both codes read.


def prepare(scratch, reference, model, photos):
    """Fills a working folder as the authors' code expects it. Photos are numbered from 0."""
    phone = model.removesuffix("_orig")
    full_size = scratch / "dped" / phone / "test_data" / "full_size_test_images"
    for folder in (full_size, *(scratch / name for name in ("models", "results"))):
        folder.mkdir(parents=True)
    (scratch / "visual_results").mkdir()
    (scratch / "models_orig").symlink_to(reference / "models_orig")
    for k, photo in enumerate(photos):
        (full_size / f"{k}{Path(photo).suffix}").symlink_to(Path(photo).resolve())


def make_patches(scratch, model, pairs):
    """Writes a miniature DPED tree: the same patches of both pictures of each pair.

    Args:
        scratch: the working folder.
        model: name of the authors' model.
        pairs: list of (phone's, camera's) (H, W, 3) uint8 arrays.
    """
    from wespe_tf.images.picture import write_picture

    phone = model.removesuffix("_orig")
    folders = [scratch / "dped" / phone / part for part in ("training_data", "test_data/patches")]
    for folder in folders:
        for side in (phone, "canon"):
            (folder / side).mkdir(parents=True)
    places = [(folders[0], k) for k in range(TRAINING_PATCHES)]
    places += [(folders[1], k) for k in range(TEST_PATCHES)]
    rng = np.random.default_rng(0)
    for k, pair in enumerate(pairs):
        for folder, number in places[k :: len(pairs)]:
            top, left = rng.integers(np.array(pair[0].shape[:2]) - PATCH_SIZE, endpoint=True)
            for side, picture in zip((phone, "canon"), pair):
                patch = picture[top : top + PATCH_SIZE, left : left + PATCH_SIZE]
                write_picture(folder / side / f"{number}.jpg", patch)


def provide_vgg(path, given):
    """Makes `path` the given .mat file. Without one, writes random weights with He's scale there.

    Args:
        path: of the file or link.
        given: path of a .mat file, or an empty string.
    """
    if given:
        path.symlink_to(Path(given).resolve())
        return
    rng = np.random.default_rng(0)

    def draw(_, shape):
        deviation = np.float32((2 / 9 / shape[2]) ** 0.5)
        return rng.standard_normal(shape, np.float32) * deviation, np.zeros(shape[3], np.float32)

    write_matconvnet(path, draw)


# Processes.


def run_theirs(reference, script, *arguments):
    """A process: one of the authors' scripts, unchanged, in the current folder.

    Functions that are gone are replaced: `imageio.imwrite` takes float pictures again (it writes
    them clipped, in 8 bits, and the floats to a .npy file beside), and `scipy.misc.imread` and
    `scipy.ndimage.filters` exist again. The calls of `Session.run` in `WATCHED` are timed, and also
    fetch the losses. Before the first training step, all variables are saved.
    """
    import imageio
    import scipy.ndimage
    from PIL import Image

    write = imageio.imwrite

    def imwrite(path, picture):
        if picture.dtype.kind == "f":
            np.save(Path(path).with_suffix(".npy"), picture)
            picture = np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)
        write(path, picture)

    imageio.imwrite = imwrite
    misc = types.ModuleType("scipy.misc")
    misc.imread = lambda path: np.array(Image.open(path))
    scipy.misc = sys.modules["scipy.misc"] = misc
    sys.modules["scipy.ndimage.filters"] = scipy.ndimage

    import tensorflow as tf

    session_run = tf.compat.v1.Session.run
    variables = {"__name__": "__main__"}
    calls = []

    def run(session, fetches, feed_dict=None, **options):
        last = fetches[-1] if isinstance(fetches, list) else fetches
        name = next((name for name in WATCHED if variables.get(name) is last), None)
        if name is None:
            return session_run(session, fetches, feed_dict, **options)
        if name == "train_step_gen" and not calls:
            trained = tf.compat.v1.trainable_variables()
            values = session_run(session, trained)
            np.savez(INITIAL_VALUES, **{v.op.name: value for v, value in zip(trained, values)})
        watched = [variables[loss] for loss in WATCHED[name]]
        start = time.perf_counter()
        result, losses = session_run(session, [fetches, watched], feed_dict, **options)
        end = time.perf_counter()
        calls.append({"name": name, "start": start, "end": end, "losses": list(map(float, losses))})
        return result

    tf.compat.v1.Session.run = run
    sys.path[0] = reference
    sys.argv = [script, *arguments]
    source = Path(reference, script).read_text(encoding="utf-8")
    exec(compile(source, script, "exec"), variables)
    Path(RECORD).write_text(json.dumps({"calls": calls}))


def run_our_photos(checkpoint, count):
    """A process: enhances `<k>_photo.npy` to `<k>_ours.npy` and `<k>_ours_float16.npy`, floats.

    It writes to `RECORD`: `seconds` of the network for each `<k>_ours.npy`.
    """
    from wespe_tf.weights.tf1_checkpoint import load_checkpoint

    generator = load_checkpoint(checkpoint)
    seconds = []
    for k in range(int(count)):
        photo = np.load(f"{k}_photo.npy")
        for name, dtype in (("ours", np.float32), ("ours_float16", np.float16)):
            inputs = (photo[None] / np.float32(255)).astype(dtype).astype(np.float32)
            start = time.perf_counter()
            outputs = np.asarray(generator(inputs))
            if name == "ours":
                seconds.append(time.perf_counter() - start)
            np.save(f"{k}_{name}.npy", outputs[0])
    Path(RECORD).write_text(json.dumps({"seconds": seconds}))


def run_our_training(*arguments):
    """A process: trains as `preset=dped` does with these settings, from `INITIAL_VALUES`.

    Pixels are rounded to float16, as in the authors' loader. It writes to `RECORD`: `losses`, a
    list of `LOSSES` for every iteration; and `ends`, the time when each iteration ended.
    """
    import keras
    import tensorflow as tf

    from wespe_tf.config.loading import load
    from wespe_tf.config.schema import TrainConfig
    from wespe_tf.data.pairs import training_batches
    from wespe_tf.training.dped import build_dped, open_pairs

    config = load(TrainConfig, ["preset=dped", *arguments])
    data, sampler = open_pairs(config)
    model = build_dped(config)
    with np.load(INITIAL_VALUES) as values:
        assign_values(model, values)

    def round_pixels(*element):
        *pictures, swaps = element
        pixels = (tf.cast(picture, tf.float32) / 255 for picture in pictures)
        rounded = (tf.cast(tf.cast(p, tf.float16), tf.float32) * 255 for p in pixels)
        return (*rounded, swaps)

    losses, ends = [], []

    def note(_, logs):
        values = {**logs, "discriminator": logs["texture_disc"]}
        losses.append([float(values[name]) for name in LOSSES])
        ends.append(time.perf_counter())

    model.fit(
        training_batches(data, sampler).map(round_pixels),
        steps_per_epoch=config.num_train_iters,
        callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=note)],
        shuffle=False,
        verbose=0,
    )
    Path(RECORD).write_text(json.dumps({"losses": losses, "ends": ends}))


def assign_values(model, values):
    """Gives a `DPED` the values of the authors' variables.

    Args:
        model: built `DPED`.
        values: arrays by the authors' names. The variables of their discriminator are numbered in
            the order in which they were made: kernel, bias, and then shift and scale of the norm.
    """
    from wespe_tf.weights.tf1_checkpoint import checkpoint_variables

    for name, variable in checkpoint_variables(model.generator):
        variable.assign(values[name])
    ordered = []
    for conv, norm in zip(model.discriminator.convs, model.discriminator.norms):
        ordered += [conv.kernel, conv.bias]
        ordered += [norm.shift, norm.scale] if norm is not None else []
    for dense in model.discriminator.denses:
        ordered += [dense.kernel, dense.bias]
    for k, variable in enumerate(ordered):
        variable.assign(values["discriminator/Variable" + (f"_{k}" if k else "")])


# The comparison of photos.


def compare_photos(scratch, reference, output, model, photos):
    """Enhances with both codes, and writes the side-by-side pictures.

    Returns:
        Lists of `difference`s for `"ours_float16"` and `"ours"`, and lines of the report.
    """
    from wespe_tf.images.picture import to_uint8, write_picture

    theirs = run_process(
        scratch,
        output / "theirs_test_model.log",
        run_theirs,
        reference,
        "test_model.py",
        f"model={model}",
        "test_subset=full",
    )
    theirs["seconds"] = [call["end"] - call["start"] for call in theirs["calls"]]
    for k in range(len(photos)):
        np.save(scratch / f"{k}_photo.npy", load_theirs(scratch, model, k)[0])
    ours = run_process(
        scratch,
        output / "ours_photos.log",
        run_our_photos,
        reference / "models_orig" / model,
        len(photos),
    )

    differences = {"ours_float16": [], "ours": []}
    for k, path in enumerate(photos):
        photo, their_picture = load_theirs(scratch, model, k)
        for name, found in differences.items():
            our_picture = np.load(scratch / f"{k}_{name}.npy")
            found.append(difference(their_picture, our_picture))
        amplified = AMPLIFIED * np.abs(their_picture - our_picture)
        pictures = [to_uint8(picture) for picture in (their_picture, our_picture, amplified)]
        write_picture(output / f"{k}_{Path(path).stem}.png", np.hstack(pictures))
    height, width = photo.shape[:2]
    return differences, [
        "",
        f"## DPED, photos: {len(photos)} of {width}×{height} pixels, {model}",
        "",
        *photo_table(theirs, ours, differences),
        "",
        "Differences are to theirs, on pictures in [0, 1] before they become 8-bit; a pixel is "
        "identical when its three channels are. Their code rounds pixels through float16 before "
        "the network; this project's does not, except in the column that says so. Seconds are "
        "those of the network alone.",
    ]


def load_theirs(scratch, model, k):
    """Photo `k` (uint8) and the authors' result (float), from their before_after picture."""
    both = np.load(scratch / "visual_results" / f"{model}_{k}_before_after.npy")
    photo, enhanced = np.split(both, 2, axis=1)
    return unround(photo), enhanced


def unround(pixels):
    """8-bit values of pixels in [0, 1] that were rounded to float16, exactly."""
    return np.rint(pixels.astype(np.float32) * 255).astype(np.uint8)


def difference(one, other):
    """Largest and mean absolute difference of float pictures, and share of equal 8-bit pixels."""
    from wespe_tf.images.picture import to_uint8

    apart = np.abs(one.astype(np.float64) - other)
    same = np.all(to_uint8(one) == to_uint8(other), axis=-1)
    return float(apart.max()), float(apart.mean()), float(same.mean())


def photo_table(theirs, ours, differences):
    """Markdown lines.

    Args:
        theirs: dictionary of `seconds`, a list by photo, and `peak_memory`, GB.
        ours: the same.
        differences: lists of `difference`s for the columns `"ours_float16"` and `"ours"`.
    """
    largest, mean, same = {}, {}, {}
    for name, found in differences.items():
        values = np.array(found)
        largest[name] = f"{values[:, 0].max():.2e}"
        mean[name] = f"{values[:, 1].mean():.2e}"
        same[name] = f"{values[:, 2].mean():.3%}"

    def others(seconds):
        return f"{np.median(seconds[1:]):.1f}" if len(seconds) > 1 else "–"

    rows = [
        ("", "theirs", "ours, pixels through float16", "ours"),
        ("---", "---:", "---:", "---:"),
        ("largest absolute difference", "", largest["ours_float16"], largest["ours"]),
        ("mean absolute difference", "", mean["ours_float16"], mean["ours"]),
        ("identical 8-bit pixels", "", same["ours_float16"], same["ours"]),
        ("seconds, first photo", f"{theirs['seconds'][0]:.1f}", "", f"{ours['seconds'][0]:.1f}"),
        ("seconds, median of others", others(theirs["seconds"]), "", others(ours["seconds"])),
        ("peak memory, GB", f"{theirs['peak_memory']:.2f}", "", f"{ours['peak_memory']:.2f}"),
    ]
    return table(rows)


# The comparison of training.


def compare_training(scratch, reference, output, config):
    """Trains with both codes.

    Returns:
        What `run_process` returns of theirs and of ours, and lines of the report.
    """
    arguments = training_arguments(config.model, config.iterations)
    theirs = train_theirs(scratch, output / "theirs_train_model.log", reference, arguments)
    ours = run_process(scratch, output / "ours_training.log", run_our_training, *arguments)
    weights = config.vgg or "drawn weights"
    report = [
        "",
        f"## DPED, {config.iterations} iterations, batch {BATCH_SIZE}, VGG: {weights}",
        "",
        *loss_table(theirs["losses"], ours["losses"]),
        "",
        "Both start from the same values and see the same patches in the same order; theirs also "
        "evaluates once, which is not timed. Float32 training is chaotic: Adam with ε = 1e-8 "
        "divides gradients that are rounding errors by their own size, so two codes can agree "
        "only at the start: in the generator's losses of iteration 0, which come before any "
        "step. The authors' own graph departs from a float64 run of the same loop by 1e-3 from "
        "the second iteration on and later by up to 10 % in texture and discriminator.",
    ]
    return theirs, ours, report


def training_arguments(model, iterations):
    """`key=value` for the authors' training script, and for `run_our_training`."""
    return [
        f"model={model.removesuffix('_orig')}",
        f"batch_size={BATCH_SIZE}",
        f"train_size={TRAIN_SIZE}",
        f"num_train_iters={iterations}",
        f"eval_step={EVAL_STEP}",
        "dped_dir=dped/",
        "vgg_dir=vgg.mat",
    ]


def train_theirs(scratch, log, reference, arguments):
    """Trains with the authors' code in the working folder, in a process of its own.

    Returns:
        What `run_process` returns, and `losses` and `ends` of every iteration.
    """
    theirs = run_process(scratch, log, run_theirs, reference, "train_model.py", *arguments)
    return theirs | iterations_of(theirs["calls"])


def iterations_of(calls):
    """`losses` and `ends` of every iteration, from the calls of the two training steps."""
    steps = {
        name: [call for call in calls if call["name"] == name]
        for name in ("train_step_gen", "train_step_disc")
    }
    pairs = list(zip(steps["train_step_gen"], steps["train_step_disc"], strict=True))
    return {
        "losses": [one["losses"] + other["losses"] for one, other in pairs],
        "ends": [other["end"] for _, other in pairs],
    }


def loss_table(theirs, ours):
    """Markdown lines: every loss, both codes' values and their relative difference.

    Args:
        theirs: list of `LOSSES` for every iteration.
        ours: the same.

    Returns:
        List of lines.
    """
    rows = [
        ("loss", "iteration", "theirs", "ours", "relative difference"),
        ("---", "---:", "---:", "---:", "---:"),
    ]
    for k, name in enumerate(LOSSES):
        for iteration, (one, other) in enumerate(zip(theirs, ours, strict=True)):
            apart = abs(other[k] - one[k]) / max(abs(one[k]), 1e-30)
            rows.append((name, iteration, f"{one[k]:.7g}", f"{other[k]:.7g}", f"{apart:.1e}"))
    return table(rows)


def seconds_per_iteration(ends):
    """Median seconds of the iterations that are timed. `ends` says when each iteration ended."""
    return np.median(np.diff(ends)[UNTIMED - 1 :])
