"""Measures training: patches per second of this project's step and of other ways to write it.

    python -m benchmarks.training [batches=10,30] [reference=CHECKOUT] [key=value …]

The WESPE of the paper, with VGG-19 up to relu5_4 and random weights, trains from the same values on
the same batch in four ways:

    tf1        a TensorFlow 1 graph as the authors write theirs, float32 (`plain_graph.py`)
    keras      a Keras `fit` with Keras's own layers, written the obvious way, float32
    float32    this project's loop and step
    bfloat16   the same with `precision=bfloat16`

Every way runs in a process of its own, and takes turns with `tf1`: one iteration each, `repeats`
times. The median counts. So the machine needs memory for two of them: about 15 GB at batch 30.
Nothing is written unless their losses are the same. With `reference=`, the same is done with DPED's
losses: the authors' unchanged code, run by `public_codes/dped.py`, and the graph here.

The share is that of the fastest matrix multiplication on this machine, in the way's precision. It
counts only the arithmetic that an iteration needs (`operations`). Pipelines are measured while
nothing trains. As for the ways, a patch in patches per second is a pair: one patch of each domain.
The memory of a pipeline is the memory that the process gained.

Then bfloat16 is trained from these files alone, for `steps` iterations. The slowest iteration is
compared with the median, to show whether a step waits for data. `loop alone` is the loop around a
step that computes nothing. It hands over batch and losses. Several steps in a call could not save
more. An instance norm, forward and backward, is compared with Keras's GroupNormalization.
Without a GPU, two workers with one core each take turns with a single one. They train over
loopback, each with the same batch. Results are appended to a CSV file, and the table of the latest
results between a document's lines `<!-- training -->` is replaced.
"""

import contextlib
import dataclasses
import json
import math
import multiprocessing
import os
import resource
import socket
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from benchmarks import plain
from benchmarks.photos import multiply
from benchmarks.plain_graph import PlainDPED, PlainWESPE
from benchmarks.public_codes import dped
from benchmarks.public_codes.processes import check_checkout
from wespe_tf.config.command import as_command
from wespe_tf.config.loading import load
from wespe_tf.config.schema import TrainConfig, setting
from wespe_tf.data.batches import training_data
from wespe_tf.data.patches import PatchStream
from wespe_tf.errors import UserError
from wespe_tf.guide.guide import Guide
from wespe_tf.models.layers import InstanceNormalization
from wespe_tf.models.wespe import WESPE
from wespe_tf.tables import append_row, read_rows, replace_tables
from wespe_tf.training import loop
from wespe_tf.training.build import build_model
from wespe_tf.training.distribution import make_strategy
from wespe_tf.training.summary import gpus, processor
from wespe_tf.training.train import set_seed_and_precision

HERE = Path(__file__).resolve().parent
USAGE = "usage: python -m benchmarks.training [key=value …]"
COLUMNS = (
    *("date", "processor", "cores", "gpu", "losses", "way", "batch", "patch", "patches_per_second"),
    *("times_tf1", "peak_share", "peak_memory", "all_reduced", "first_batch"),
    *("slowest", "milliseconds"),
)
# Graphs are traced in the first iterations.
UNTIMED = 2
IDLE_ITERATIONS, NORMED = 500, 30
LOOP_ALONE = "loop alone"
# Two layers that compute the same, and the generators' number of channels.
NORM_CHANNELS = 64
NORMS = {
    "instance norm": InstanceNormalization,
    "GroupNormalization": lambda: keras.layers.GroupNormalization(-1, epsilon=1e-3),
}
# TIMED is the number of iterations for each repeat. The authors' code takes long to start.
AUTHORS_MODEL, TIMED = "iphone_orig", 3
# So small that all iterations have the same losses as the first.
LEARNING_RATE = 1e-8
LOSS_WEIGHTS = {"content": 1.0, "color": 5e-3, "texture": 5e-3, "tv": 10.0}
# Largest relative difference between a loss and that of the first way.
AGREEMENT = {"tf1": 1e-4, "keras": 1e-4, "float32": 1e-4, "bfloat16": 0.1}
# Patches that are drawn from a pipeline before the clock starts, more than it reads in advance; and
# patches that are drawn then.
DRAINED, DRAWN = 300, 3000
PHOTOS, PHOTO_SIZE = 40, (2048, 1536)
DISTINCT_PATCHES = 300
# Bytes per second in each direction, from the makers' data.
LINKS = {"10 Gbit/s Ethernet": 1.25e9, "PCIe 4.0 ×16": 31.5e9, "NVLink 4": 450e9}


@dataclasses.dataclass
class Settings:
    """Settings of this script."""

    batches: str = setting("10,30", "patches of each domain in a batch, with commas between them")
    patch_size: int = setting(100, "side of the patches", "pixels", at_least=32)
    repeats: int = setting(5, "number of timings of every way", at_least=1)
    steps: int = setting(60, "number of iterations that are trained from files", at_least=2)
    patches: int = setting(160_000, "number of JPEG patches of each domain on disk", at_least=1)
    reference: str = setting("", "checkout of the authors' repository, aiff22/DPED, or none")
    csv: str = setting(str(HERE / "training.csv"), "results are appended to it")
    document: str = setting(str(HERE / "README.md"), "its table is replaced")


@as_command(USAGE, Settings)
def main(config):
    """Measures."""
    if config.reference:
        files = dped.files_of(AUTHORS_MODEL)
        check_checkout("reference", config.reference, dped.REPOSITORY, files)
    try:
        batches = [int(size) for size in config.batches.split(",")]
    except ValueError as error:
        raise UserError(f"batches={config.batches}: expected numbers, as in 10,30") from error
    table = Path(config.csv)

    def note(**row):
        machine = {"date": date.today().isoformat(), "processor": processor()}
        machine |= {"cores": os.cpu_count(), "gpu": ", ".join(gpus())}
        row = {**machine, "patch": config.patch_size, **row}
        append_row(table, COLUMNS, row)
        print("  ".join(f"{key}={value}" for key, value in row.items()), flush=True)

    peaks = {p: alone(multiply, p)["rate"] for p in ("float32", "bfloat16")}
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        alone(draw_weights, scratch, config.patch_size)
        for batch in batches:
            measure_steps(config, scratch, batch, peaks, note)
        if config.reference:
            measure_dped(config, scratch, note)
        measure_workers(config, scratch, batches[0], note)
        measure_parts(config, batches[0], note)
        measure_files(config, scratch, batches, note)
    replace_tables(Path(config.document), list(lines(read_rows(table))), "training")


def measure_steps(config, scratch, batch, peaks, note):
    """Writes two rows for every way to train on WESPE's losses: itself, and tf1 by turns."""
    ways = {
        name: (train, scratch, batch, config.patch_size, config.repeats + UNTIMED, *more)
        for name, (train, *more) in WAYS.items()
    }
    networks = load_weights(scratch)
    work = batch * operations(networks, config.patch_size)
    first, *others = ways
    for other in others:
        timings, reports = race({name: ways[name] for name in (first, other)}, config.repeats)
        check_losses({name: report["losses"] for name, report in reports.items()})
        seconds = {name: statistics.median(found) for name, found in timings.items()}
        for name in seconds:
            peak = peaks["bfloat16" if name == "bfloat16" else "float32"]
            note(
                losses="WESPE",
                way=name,
                batch=batch,
                patches_per_second=f"{batch / seconds[name]:.2f}",
                times_tf1=f"{seconds[first] / seconds[name]:.2f}",
                peak_share=f"{work / seconds[name] / peak:.2f}",
                peak_memory=f"{reports[name]['peak_memory']:.2f}",
                all_reduced=4 * parameters(networks),
            )


def measure_dped(config, scratch, note):
    """Writes two rows for DPED's losses: the authors' unchanged code, and the graph here."""
    folder = scratch / "authors"
    folder.mkdir()
    reference = Path(config.reference).resolve()
    dped.prepare(folder, reference, AUTHORS_MODEL, [])
    pictures = random_batch(1, 2 * dped.PATCH_SIZE)
    dped.make_patches(folder, AUTHORS_MODEL, [[side[0] for side in pictures]])
    dped.provide_vgg(folder / "vgg.mat", "")
    arguments = dped.training_arguments(AUTHORS_MODEL, dped.UNTIMED + TIMED)
    batch, theirs, ours = dped.BATCH_SIZE, [], []
    with Worker(train_dped, scratch, batch, UNTIMED + TIMED * config.repeats) as graph:
        for _ in range(UNTIMED):
            graph.ask()
        for _ in range(config.repeats):
            record = dped.train_theirs(folder, folder / "authors.log", reference, arguments)
            theirs.append(dped.seconds_per_iteration(record["ends"]))
            ours.append(statistics.median(graph.ask() for _ in range(TIMED)))
        report = graph.receive()
    memory = {"authors": record["peak_memory"], "tf1": report["peak_memory"]}
    for way, found in (("authors", theirs), ("tf1", ours)):
        note(
            losses="DPED",
            way=way,
            batch=batch,
            patch=dped.PATCH_SIZE,
            patches_per_second=f"{batch / statistics.median(found):.2f}",
            times_tf1=f"{statistics.median(ours) / statistics.median(found):.2f}",
            peak_memory=f"{memory[way]:.2f}",
        )


def measure_workers(config, scratch, batch, note):
    """Writes two rows: one worker with one core, and two workers with one core each."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(cores) < 2 or gpus():
        return
    cluster = {"worker": [f"localhost:{port}" for port in free_ports(2)]}
    arguments = scratch, batch, config.patch_size, config.repeats + UNTIMED
    timings = {1: [], 2: []}
    with contextlib.ExitStack() as stack:
        teams = {
            1: [Worker(train_on_core, *arguments, cores[0])],
            2: [Worker(train_on_core, *arguments, cores[k], cluster, k) for k in range(2)],
        }
        for worker in teams[1] + teams[2]:
            stack.enter_context(worker)
        for _ in range(UNTIMED + config.repeats):
            for size, team in teams.items():
                for worker in team:
                    worker.pipe.send("go")
                timings[size].append(max([worker.receive() for worker in team]))
    for size, found in timings.items():
        seconds = statistics.median(found[UNTIMED:])
        note(
            losses="WESPE",
            way=f"float32, {size} × 1 core",
            batch=size * batch,
            patches_per_second=f"{size * batch / seconds:.2f}",
        )


def measure_parts(config, batch, note):
    """Writes rows for the loop without a step, and for the norms."""
    parts = {LOOP_ALONE: alone(run_idle, batch, config.patch_size)}
    parts |= {name: alone(run_norm, name, batch, config.patch_size) for name in NORMS}
    for name, seconds in parts.items():
        note(losses="", way=name, batch=batch, milliseconds=f"{1e3 * seconds:.2f}")


def measure_files(config, scratch, batches, note):
    """Writes rows for every source of patches and batch size: for drawing, and for training."""
    folders = {
        f"{config.patches} JPEG patches": make_patches(scratch, config.patch_size, config.patches),
        f"{PHOTOS} JPEG photos": make_photos(scratch),
    }
    for batch in batches:
        measure_pipelines(config, folders, batch, note)
        for name, folder in folders.items():
            found = alone(train_on_files, folder, batch, config.patch_size, config.steps)
            median = statistics.median(found)
            note(
                losses="WESPE",
                way=f"bfloat16, {name}",
                batch=batch,
                patches_per_second=f"{batch / median:.2f}",
                slowest=f"{max(found) / median:.2f}",
            )


def measure_pipelines(config, folders, batch, note):
    """Writes rows for drawing batches from every folder, and from the last one with a guide."""
    ways = {
        name: (draw_batches, folder, batch, config.patch_size, config.repeats)
        for name, folder in folders.items()
    }
    last = list(folders)[-1]
    ways[f"{last}, with guide"] = (*ways[last], True)
    timings, reports = race(ways, config.repeats, untimed=0)
    for name, found in timings.items():
        note(
            losses="",
            way=name,
            batch=batch,
            patches_per_second=f"{DRAWN / statistics.median(found):.0f}",
            peak_memory=f"{reports[name]['peak_memory']:.2f}",
            first_batch=f"{reports[name]['first_batch']:.1f}",
        )


def race(ways, repeats, untimed=UNTIMED):
    """Seconds of several functions that take turns, each in a process of its own.

    Args:
        ways: by name, a function of this file and its arguments.
        repeats: number of turns that are timed, for each.
        untimed: number of turns before these.

    Returns:
        Two dictionaries by name: lists of seconds, and the reports of the functions at the end.
    """
    timings = {name: [] for name in ways}
    with contextlib.ExitStack() as stack:
        workers = {name: stack.enter_context(Worker(*way)) for name, way in ways.items()}
        for turn in range(untimed + repeats):
            for name, worker in workers.items():
                seconds = worker.ask()
                if turn >= untimed:
                    timings[name].append(seconds)
        return timings, {name: worker.receive() for name, worker in workers.items()}


def check_losses(losses):
    """Raises a `UserError` if a way has other losses than the first."""
    first, *others = losses
    for name in others:
        for key in losses[first].keys() & losses[name].keys():
            wanted, found = losses[first][key], losses[name][key]
            if not math.isclose(found, wanted, rel_tol=AGREEMENT[name], abs_tol=1e-6):
                raise UserError(f"{name}: the loss {key} is {found}, but {wanted} in {first}")


# Arithmetic.


def operations(networks, side):
    """The smallest number of multiplications and additions in an iteration, for one patch.

    Nearly all are in convolutions and dense layers. A layer has up to three passes of equal cost:
    forward, gradient of its kernel, gradient of its input. G, F and the discriminators have all
    three. VGG has no gradients of kernels, and for x, which no variable changes, only the forward
    pass. A first layer has no gradient of its input, if that is data. The discriminators judge two
    pictures, and need another backward pass from the fake one to G.

    Args:
        networks: from `load_weights`.
        side: side of the patch, in pixels.
    """
    counts = {name: multiplications(kernels(network), side) for name, network in networks.items()}
    total = 0
    for name, layers in counts.items():
        every, first = sum(layers), layers[0]
        total += {
            "generator": 3 * every - first,
            "inverse_generator": 3 * every,
            "vgg": 3 * every,
        }.get(name, 2 * (3 * every - first) + every)
    return 2 * total


def multiplications(shapes, side):
    """Multiplications of each layer for a square patch.

    Args:
        shapes: dictionary of kernels' shapes by the layers' names, in order.
        side: side of the patch, in pixels.
    """
    strides = {"conv1": 4, "conv2": 2, "conv5": 2} if "dense" in shapes else {}
    found, block = [], "block1"
    for name, shape in shapes.items():
        if name.startswith("block") and not name.startswith(block):
            block, side = name[: len(block)], side // 2
        side = -(-side // strides.get(name, 1))
        places = side**2 if len(shape) == 4 else 1
        found.append(places * math.prod(shape))
    return found


def kernels(network):
    """Shapes of a network's kernels by the layers' names, in order."""
    return {
        name.removesuffix(".kernel"): value.shape
        for name, value in network.items()
        if name.endswith(".kernel")
    }


def parameters(networks):
    """Number of parameters that WESPE trains."""
    return sum(v.size for name in networks if name != "vgg" for v in networks[name].values())


# Processes.


class Worker:
    """A context: a process that runs a function of this file and answers through a pipe.

    On a GPU, it takes only the memory that it needs. By default, TensorFlow would take all of it.

    Args:
        function: function of the process's end of the pipe and of `arguments`.
        arguments: its other arguments.
    """

    def __init__(self, function, *arguments):
        os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
        context = multiprocessing.get_context("spawn")
        self.name = function.__name__
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=function, args=(other, *arguments), daemon=True)
        self.process.start()
        other.close()

    def __enter__(self):
        return self

    def __exit__(self, *reason):
        self.process.terminate()
        self.process.join()

    def ask(self):
        """Lets the process take a turn, and returns its answer.

        Raises:
            UserError: if it has ended.
        """
        with contextlib.suppress(BrokenPipeError):
            self.pipe.send("go")
        return self.receive()

    def receive(self):
        """The next answer of the process.

        Raises:
            UserError: if it has ended.
        """
        try:
            return self.pipe.recv()
        except EOFError as error:
            self.process.join()
            raise UserError(f"{self.name}: ended with status {self.process.exitcode}") from error


def free_ports(count):
    """Ports of this machine that are not in use."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("localhost", 0))
        return [one.getsockname()[1] for one in sockets]


def alone(function, *arguments):
    """Runs a function in a process of its own, and returns its result."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()


class Turns(keras.callbacks.Callback):
    """Begins each iteration when the other end of a pipe says so, and sends it the seconds."""

    def __init__(self, pipe):
        super().__init__()
        self.pipe = pipe
        self.losses = None

    def on_train_batch_begin(self, batch, logs=None):
        self.pipe.recv()
        self.start = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        losses = {name: float(value) for name, value in (logs or {}).items()}
        self.pipe.send(time.perf_counter() - self.start)
        self.losses = self.losses or losses

    def report(self):
        """Sends the losses of the first iteration and the memory of the process."""
        self.pipe.send({"losses": self.losses, "peak_memory": peak_memory()})


def peak_memory():
    """Peak memory of this process so far, in GB."""
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def random_batch(batch, side):
    """Source and target patches, (N, side, side, 3) uint8 arrays."""
    return tuple(np.random.default_rng(0).integers(0, 256, (2, batch, side, side, 3), np.uint8))


def make_model(precision, batch, side):
    """A `WESPE` of the paper with random VGG weights."""
    settings = [
        *("preset=wespe", "vgg_weights=random", f"precision={precision}", f"batch_size={batch}"),
        *(f"patch_size={side}", f"learning_rate={LEARNING_RATE}"),
        f"discriminator_learning_rate={LEARNING_RATE}",
    ]
    config = load(TrainConfig, settings)
    set_seed_and_precision(config)
    return build_model(config)


def variables_of(model):
    """A `WESPE`'s variables, with VGG's, by network and by the names of `plain`."""
    return {**plain.wespe_variables(model), "vgg": vgg_variables(model.vgg)}


def vgg_variables(vgg):
    """The variables of a `VGGFeatures` by the names of `PlainGraph`."""
    found = {}
    for conv in vgg.conv_layers():
        found |= {f"{conv.name}.kernel": conv.kernel, f"{conv.name}.bias": conv.bias}
    return found


def assign(model, weights):
    """Gives a `WESPE` the values of arrays by network and by name."""
    for network, variables in variables_of(model).items():
        for name, variable in variables.items():
            variable.assign(weights[network][name])


def draw_weights(scratch, side):
    """Writes the values that all ways start from."""
    networks = variables_of(make_model("float32", 1, side))
    arrays = {f"{n}/{k}": v.numpy() for n, found in networks.items() for k, v in found.items()}
    np.savez(scratch / "weights.npz", **arrays)


def load_weights(scratch):
    """The values from `draw_weights`: arrays by network and by name."""
    networks = {}
    with np.load(scratch / "weights.npz") as arrays:
        for key in arrays.files:
            network, name = key.split("/")
            networks.setdefault(network, {})[name] = arrays[key]
    return networks


def train_tf1(pipe, scratch, batch, side, iterations):
    """A process: trains WESPE's plain graph."""
    tf.compat.v1.disable_v2_behavior()
    graph = PlainWESPE(load_weights(scratch), batch, side, LEARNING_RATE, LOSS_WEIGHTS)
    feed = graph.feed(*(pictures / np.float32(255) for pictures in random_batch(batch, side)))
    turns = Turns(pipe)
    turns.losses = graph.evaluate(feed)
    train_graph(graph, turns, iterations, feed)


def train_dped(pipe, scratch, batch, iterations):
    """A process: trains DPED's plain graph."""
    tf.compat.v1.disable_v2_behavior()
    side = dped.PATCH_SIZE
    graph = PlainDPED(load_weights(scratch), batch, side, LEARNING_RATE)
    pictures = [pictures / np.float32(255) for pictures in random_batch(batch, side)]
    swaps = np.arange(batch)[:, None] % 2
    feeds = graph.feed(*pictures, 0 * swaps), graph.feed(*pictures, swaps)
    train_graph(graph, Turns(pipe), iterations, *feeds)


def train_graph(graph, turns, iterations, *feeds):
    """Trains a `PlainGraph`, one iteration a turn."""
    for number in range(iterations):
        turns.on_train_batch_begin(number)
        graph.iterate(*feeds)
        turns.on_train_batch_end(number)
    turns.report()


def train_keras(pipe, scratch, batch, side, iterations):
    """A process: trains `ObviousWESPE` with Keras's `fit`."""
    model = ObviousWESPE(side)
    model.assign(load_weights(scratch))
    model.compile()
    data = tf.data.Dataset.from_tensors(random_batch(batch, side)).repeat()
    turns = Turns(pipe)
    model.fit(data, steps_per_epoch=iterations, callbacks=[turns], shuffle=False, verbose=0)
    turns.report()


def train_ours(pipe, scratch, batch, side, iterations, precision):
    """A process: trains as `train.py` does."""
    model = make_model(precision, batch, side)
    assign(model, load_weights(scratch))
    data = tf.data.Dataset.from_tensors(random_batch(batch, side)).repeat()
    turns = Turns(pipe)
    loop.fit(model, data, iterations, iterations, [turns])
    turns.report()


def train_on_core(pipe, scratch, batch, side, iterations, core, cluster=None, index=0):
    """A process: trains in float32 on one core, by itself or as a worker of a cluster."""
    os.sched_setaffinity(0, {core})
    if cluster is not None:
        task = {"type": "worker", "index": index}
        os.environ["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": task})
    strategy = make_strategy("none" if cluster is None else "multi_worker")
    with strategy.scope():
        model = make_model("float32", batch, side)
    assign(model, load_weights(scratch))
    data = strategy.distribute_datasets_from_function(
        lambda _: tf.data.Dataset.from_tensors(random_batch(batch, side)).repeat()
    )
    loop.fit(model, data, iterations, iterations, [Turns(pipe)])


def train_on_files(folder, batch, side, steps):
    """Seconds of each iteration in bfloat16, on `source` and `target` in a folder."""
    streams = [PatchStream(folder / name, side, 0, name) for name in ("source", "target")]
    model = make_model("bfloat16", batch, side)
    return seconds_of_iterations(model, training_data(*streams, batch), steps)


def seconds_of_iterations(model, data, count):
    """Seconds of each of `count` iterations, from the end of one to the end of the next."""
    ends, iterations = [], 1 + UNTIMED + count
    clock = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: ends.append(time.perf_counter())
    )
    loop.fit(model, data, iterations, iterations, [clock])
    return np.diff(ends)[UNTIMED:].tolist()


class Idle(keras.Model):
    """A model whose step only takes a batch and returns as many losses as a `WESPE`'s."""

    def train_step(self, data):
        loss = tf.cast(data[0][0, 0, 0, 0], tf.float32)
        return dict.fromkeys(WESPE.loss_names(), loss)


def run_idle(batch, side):
    """Median seconds of an iteration whose step computes nothing."""
    data = tf.data.Dataset.from_tensors(random_batch(batch, side)).repeat()
    return statistics.median(seconds_of_iterations(Idle(), data, IDLE_ITERATIONS))


def run_norm(name, batch, side):
    """Median seconds of a norm of `NORMS`, forward and backward, float32."""
    norm = keras.Sequential([NORMS[name]()])
    pictures = tf.random.uniform((batch, side, side, NORM_CHANNELS))
    norm.build(pictures.shape)

    @tf.function
    def gradients():
        with tf.GradientTape() as tape:
            tape.watch(pictures)
            loss = tf.reduce_sum(norm(pictures, training=True) ** 2)
        return tape.gradient(loss, [*norm.trainable_variables, pictures])

    seconds = []
    for _ in range(UNTIMED + NORMED):
        start = time.perf_counter()
        gradients()[0].numpy()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[UNTIMED:])


def draw_batches(pipe, folder, batch, side, repeats, guided=False):
    """A process: draws batches from the folders `source` and `target` in a folder."""
    before = peak_memory()
    start = time.perf_counter()
    streams = [PatchStream(folder / name, side, 0, name) for name in ("source", "target")]
    guide = Guide.fit(*(stream.samples for stream in streams)) if guided else None
    batches = iter(training_data(*streams, batch, guide))
    next(batches)
    first_batch = time.perf_counter() - start
    for _ in range(repeats):
        pipe.recv()
        for _ in range(-(-DRAINED // batch)):
            next(batches)
        start = time.perf_counter()
        count = -(-DRAWN // batch)
        for _ in range(count):
            next(batches)
        pipe.send((time.perf_counter() - start) * DRAWN / (count * batch))
    pipe.send({"first_batch": first_batch, "peak_memory": peak_memory() - before})


# The obvious way.


class ObviousWESPE(keras.Model):
    """WESPE from Keras's own layers, with a tape and a pass through G for each optimizer.

    Args:
        side: side of the patches, in pixels.
    """

    def __init__(self, side):
        super().__init__()
        self.generator = make_obvious_generator()
        self.inverse_generator = make_obvious_generator()
        self.color_discriminator = make_obvious_discriminator((side, side, 3))
        self.texture_discriminator = make_obvious_discriminator((side, side, 1))
        vgg = keras.applications.VGG19(include_top=False, weights=None, input_shape=(side, side, 3))
        self.vgg = keras.Model(vgg.input, vgg.get_layer("block5_conv4").output)
        self.vgg.trainable = False
        k = np.arange(-10, 11)
        kernel = np.exp(-(k[:, None] ** 2 + k[None, :] ** 2) / 6)
        self.blur = keras.layers.DepthwiseConv2D(
            21,
            padding="same",
            use_bias=False,
            depthwise_initializer=keras.initializers.Constant(
                np.repeat((kernel / kernel.sum())[:, :, None, None], 3, axis=2)
            ),
            trainable=False,
        )
        self.cross_entropy = keras.losses.BinaryCrossentropy(from_logits=True)
        self.optimizers = [keras.optimizers.Adam(LEARNING_RATE, epsilon=1e-8) for _ in range(3)]

    def assign(self, weights):
        """Takes the values of arrays by network and by the names of `plain`."""
        names = {"scale": "gamma", "shift": "beta"}
        for network, arrays in weights.items():
            for name, value in arrays.items():
                layer, kind = name.split(".")
                layer = getattr(self, network).get_layer(layer)
                getattr(layer, names.get(kind, kind)).assign(value)

    def train_step(self, data):
        source, target = (tf.cast(pictures, tf.float32) / 255 for pictures in data)
        with tf.GradientTape() as tape:
            losses = self.generator_losses(source)
        generators = self.generator.trainable_variables + self.inverse_generator.trainable_variables
        self.step(tape, losses["generator"], generators, self.optimizers[0])
        views = {"color": self.blur, "texture": tf.image.rgb_to_grayscale}
        for (name, view), optimizer in zip(views.items(), self.optimizers[1:]):
            judge = getattr(self, f"{name}_discriminator")
            with tf.GradientTape() as tape:
                real = judge(view(target), training=True)
                fake = judge(view(self.generator(source, training=True)), training=True)
                loss = self.judged(real, [1, 0]) + self.judged(fake, [0, 1])
            losses[f"{name}_disc"] = loss
            self.step(tape, loss, judge.trainable_variables, optimizer)
        return losses

    def generator_losses(self, source):
        enhanced = self.generator(source, training=True)
        reconstructed = self.inverse_generator(enhanced, training=True)
        apart = self.features(source) - self.features(reconstructed)
        gray = tf.image.rgb_to_grayscale(enhanced)
        across = tf.reduce_mean((enhanced[:, :, 1:] - enhanced[:, :, :-1]) ** 2)
        down = tf.reduce_mean((enhanced[:, 1:] - enhanced[:, :-1]) ** 2)
        losses = {
            "content": tf.reduce_mean(apart**2),
            "color": self.judged(self.color_discriminator(self.blur(enhanced)), [1, 0]),
            "texture": self.judged(self.texture_discriminator(gray), [1, 0]),
            "tv": across + down,
        }
        total = sum(LOSS_WEIGHTS[name] * loss for name, loss in losses.items())
        return {**losses, "generator": total}

    def features(self, pictures):
        return self.vgg(keras.applications.vgg19.preprocess_input(pictures * 255))

    def judged(self, logits, answer):
        return self.cross_entropy(tf.ones_like(logits) * answer, logits)

    def step(self, tape, loss, variables, optimizer):
        optimizer.apply(tape.gradient(loss, variables), variables)


def make_obvious_generator():
    """The generator of DPED's code, from Keras's own layers."""
    layers = keras.layers
    numbers = iter(range(1, 13))

    def conv(x, filters, size):
        return layers.Conv2D(filters, size, padding="same", name=f"conv{next(numbers)}")(x)

    pictures = x = keras.Input((None, None, 3))
    x = layers.ReLU()(conv(x, 64, 9))
    for block in range(4):
        branch = x
        for k in (1, 2):
            norm = layers.GroupNormalization(-1, epsilon=1e-3, name=f"norm{2 * block + k}")
            branch = layers.ReLU()(norm(conv(branch, 64, 3)))
        x = layers.Add()([x, branch])
    for _ in range(2):
        x = layers.ReLU()(conv(x, 64, 3))
    x = layers.Activation("tanh")(conv(x, 3, 9))
    return keras.Model(pictures, layers.Rescaling(0.58, 0.5)(x))


def make_obvious_discriminator(shape):
    """The discriminator of DPED's code, from Keras's own layers, for pictures of a shape."""
    layers = keras.layers
    pictures = x = keras.Input(shape)
    for k, (filters, size, strides) in enumerate(
        [(48, 11, 4), (128, 5, 2), (192, 3, 1), (192, 3, 1), (128, 3, 2)], 1
    ):
        x = layers.Conv2D(filters, size, strides, padding="same", name=f"conv{k}")(x)
        x = layers.LeakyReLU(0.2)(x)
        if k > 1:
            x = layers.GroupNormalization(-1, epsilon=1e-3, name=f"norm{k}")(x)
    x = layers.Flatten()(x)
    x = layers.LeakyReLU(0.2)(layers.Dense(1024, name="dense")(x))
    return keras.Model(pictures, layers.Dense(2, name="logits")(x))


# Data.


def make_patches(scratch, side, count):
    """A folder of `source` and `target`, each with `count` names of a few hundred JPEG patches."""
    return make_domains(scratch / "patches", DISTINCT_PATCHES, count, (side, side))


def make_photos(scratch):
    """A folder of `source` and `target`, each with more JPEG photos than the cache holds."""
    return make_domains(scratch / "photos", 4, PHOTOS, PHOTO_SIZE)


def make_domains(folder, distinct, count, size):
    """Writes `distinct` JPEG pictures of (width, height) and links to them under `count` names."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for number in range(min(distinct, count)):
        coarse = rng.integers(0, 256, (1 + size[1] // 16, 1 + size[0] // 16, 3), np.uint8)
        smooth = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
        noisy = np.clip(smooth + rng.normal(0, 8, (*size[::-1], 3)), 0, 255)
        Image.fromarray(noisy.astype(np.uint8)).save(folder / f"{number}.jpg", quality=90)
    for name in ("source", "target"):
        (folder / name).mkdir()
        for number in range(count):
            os.link(folder / f"{number % distinct}.jpg", folder / name / f"{number}.jpg")
    return folder


# What is shown.


def lines(rows):
    """Lines of Markdown: the latest row of every way, then what several devices exchange."""
    latest = {}
    for row in rows:
        latest[tuple(row[name] for name in ("losses", "way", "batch", "patch"))] = row
    parts = {row["way"]: row for row in latest.values() if row["milliseconds"]}
    yield "| losses | way | batch, patch | patches/s | times tf1 | share | slowest | GB | first |"
    yield "|---|---|---|---:|---:|---:|---:|---:|---:|"
    for row in latest.values():
        if row["milliseconds"]:
            continue
        cells = [
            *(row["losses"] or "–", row["way"], f"{row['batch']}, {row['patch']}"),
            *(row[name] for name in ("patches_per_second", "times_tf1", "peak_share", "slowest")),
            *(row["peak_memory"], f"{row['first_batch']} s" if row["first_batch"] else ""),
        ]
        yield f"| {' | '.join(cells)} |"
    ours = [row for row in latest.values() if row["way"] == "bfloat16"]
    if parts and ours:
        yield from part_lines(parts, ours)
    if ours:
        yield from all_reduce_lines(ours)


def part_lines(parts, rows):
    """Lines of Markdown: the cost of the loop compared with the steps, and of both norms."""
    milliseconds = float(parts[LOOP_ALONE]["milliseconds"])
    shares = [
        f"{milliseconds / 1e3 * float(row['patches_per_second']) / int(row['batch']):.2%} at batch "
        f"{row['batch']}"
        for row in rows
    ]
    yield ""
    yield (
        "The loop without the step hands over a batch and reads "
        f"{len(WESPE.loss_names())} losses. It takes {milliseconds:.2f} ms in an iteration. This "
        f"share of the bfloat16 steps above is {', '.join(shares)}. Several steps in one call "
        "could not save more."
    )
    norms = [f"{parts[name]['milliseconds']} ms ({name})" for name in NORMS]
    batch, side = (parts[LOOP_ALONE][name] for name in ("batch", "patch"))
    yield ""
    yield (
        f"A norm of {NORM_CHANNELS} channels takes, forward and backward, at batch {batch} with "
        f"patches of {side} pixels: {', '.join(norms)}."
    )


def all_reduce_lines(rows):
    """Lines of Markdown: time that a ring of many devices takes for the gradients of a step."""
    size = int(rows[-1]["all_reduced"])
    yield ""
    yield (
        f"In each step several devices add up {size / 1e6:.1f} MB of gradients, in float32. In a "
        "ring of n devices each one sends 2·(n − 1)/n times as much: with many devices, twice as "
        "much. The table shows how long this takes, and its share of the bfloat16 steps above:"
    )
    yield ""
    steps = [f"batch {row['batch']} a device" for row in rows]
    yield f"| link | ms | {' | '.join(steps)} |"
    yield "|---|---:|" + "---:|" * len(steps)
    for link, rate in LINKS.items():
        seconds = 2 * size / rate
        shares = [seconds * float(r["patches_per_second"]) / int(r["batch"]) for r in rows]
        yield f"| {link} | {1e3 * seconds:.1f} | {' | '.join(f'{s:.2%}' for s in shares)} |"


WAYS = {
    "tf1": (train_tf1,),
    "keras": (train_keras,),
    "float32": (train_ours, "float32"),
    "bfloat16": (train_ours, "bfloat16"),
}

if __name__ == "__main__":
    main.run()
