"""Several devices and several workers train as one device does."""

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.shared import ROOT
from tests.training.runs import LOSSES, checkpoints_of
from wespe_tf.config.loading import load, to_yaml
from wespe_tf.config.schema import TrainConfig
from wespe_tf.errors import UserError
from wespe_tf.models.wespe import BOTH, WESPE
from wespe_tf.training import cli
from wespe_tf.training import train as training
from wespe_tf.training.build import build_model
from wespe_tf.training.checkpoints import Log
from wespe_tf.training.distribution import is_chief, make_strategy
from wespe_tf.training.recorder import Recorder, log_columns
from wespe_tf.training.run_folder import RunFolder


class TestCheckDistribution:
    """Settings that several devices refuse."""

    @pytest.mark.parametrize(
        "arguments, devices, message",
        [
            (["batch_size=3"], 2, "batch_size=3: expected a multiple of the 2 devices"),
            (
                ["precision=float16", "batch_size=4"],
                2,
                "precision=float16: expected bfloat16 or float32 on 2 devices, which cannot share "
                "a loss scale",
            ),
            (
                ["distribute=multi_worker"],
                1,
                "distribute=multi_worker: expected run=NAME, the same for all workers",
            ),
        ],
    )
    def test_refused(self, arguments, devices, message):
        with pytest.raises(UserError) as caught:
            training.check_distribution(load(TrainConfig, arguments), devices)
        assert str(caught.value) == message

    def test_float16_on_one_device(self):
        training.check_distribution(load(TrainConfig, ["precision=float16"]), 1)


class TestMakeStrategy:
    def test_default_is_one_device_that_writes(self):
        strategy = make_strategy("none")
        assert strategy.num_replicas_in_sync == 1 and is_chief(strategy)

    def test_missing_cluster(self, monkeypatch):
        monkeypatch.delenv("TF_CONFIG", raising=False)
        with pytest.raises(UserError, match="multi_worker: TF_CONFIG is not set; expected {"):
            make_strategy("multi_worker")

    @pytest.mark.parametrize(
        "text",
        [
            "{",
            "[]",
            '{"cluster": {"worker": []}, "task": {"type": "worker", "index": 0}}',
            '{"cluster": {"worker": ["a:1"]}, "task": {"type": "ps", "index": 0}}',
            '{"cluster": {"worker": ["a:1"]}}',
        ],
    )
    def test_bad_cluster(self, monkeypatch, text):
        monkeypatch.setenv("TF_CONFIG", text)
        with pytest.raises(UserError, match="^TF_CONFIG: .*expected {"):
            make_strategy("multi_worker")


SETTINGS = [
    *("generator_width=8", "generator_blocks=1", "discriminator_width=0.1", "patch_size=32"),
    *("border=4", "batch_size=4", "num_train_iters=20", "warm_start_iters=2", "eval_step=10"),
    *("learning_rate=1e-5", "discriminator_learning_rate=1e-5", "precision=float32"),
]

WITHOUT_GUIDE = ("w_guide=0", "warm_start_iters=0")


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("localhost", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def start_workers(folders, *settings, of_the_last=()):
    """Processes of `train.py` on one machine, one for each of their working folders."""
    script = ROOT / "train.py"
    cluster = {"worker": [f"localhost:{port}" for port in free_ports(len(folders))]}
    workers = []
    for index, folder in enumerate(folders):
        task = {"type": "worker", "index": index}
        environment = os.environ | {"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})}
        command = [sys.executable, str(script), *settings, "distribute=multi_worker", "run=mine"]
        if index == len(folders) - 1:
            command += of_the_last
        with open(folder / f"worker{index}.log", "w") as log:
            workers.append(
                subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
            )
    return workers


def last_line(log):
    """Of what a worker said."""
    return log.read_text().splitlines()[-1]


@pytest.fixture
def new_run(tmp_path, make_folder):
    """Settings of a new run on tiny photos."""
    folders = [
        f"{side}_dir={make_folder(tmp_path / 'photos' / side, seed=number)}"
        for number, side in enumerate(("source", "target"))
    ]
    return [*SETTINGS, *folders]


@pytest.fixture
def alone(monkeypatch, eager):
    """Function that trains a run `mine` in a folder on one device, in this process.

    `until` is the number of iterations after which SIGTERM comes.
    """

    def train(folder, *settings, until=None):
        folder.mkdir(exist_ok=True)
        count, write_row = itertools.count(1), Recorder.on_train_batch_end

        def counted(*arguments, **logs):
            write_row(*arguments, **logs)
            if next(count) == until:
                signal.raise_signal(signal.SIGTERM)

        with monkeypatch.context() as patch, eager():
            patch.chdir(folder)
            patch.setattr(Recorder, "on_train_batch_end", counted)
            with contextlib.nullcontext() if until is None else pytest.raises(SystemExit):
                cli.main([*settings, "run=mine"])

    return train


def read_log(folder):
    return np.genfromtxt(folder / "models" / "mine" / "log.csv", delimiter=",", names=True)


def assert_same_losses(folder, other, rtol=1e-4):
    """As far as both logs go."""
    logs = [read_log(f) for f in (folder, other)]
    count = min(map(len, logs))
    assert count >= 4
    for name in LOSSES:
        pair = (log[name][1:count] for log in logs)
        np.testing.assert_allclose(*pair, rtol=rtol, err_msg=name)


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_two_devices_have_the_losses_of_one(tmp_path, new_run, monkeypatch):
    """With everything that looks at the whole batch; and spectral norm, whose vectors every
    device has for itself."""
    program = (
        "import sys, tensorflow as tf\n"
        "device = tf.config.list_physical_devices('CPU')[0]\n"
        "halves = 2 * [tf.config.LogicalDeviceConfiguration()]\n"
        "tf.config.set_logical_device_configuration(device, halves)\n"
        "from wespe_tf.training.cli import main\n"
        "main(sys.argv[1:])\n"
    )
    settings = [*new_run, "run=mine", "num_train_iters=4", "eval_step=2"]
    settings += ["color_norm=spectral", "texture_norm=batch", "generator_norm=batch"]
    settings += ["content_features=vgg19", "vgg_weights=random", "content_layer=relu1_1"]
    settings += ["content_normalise=true", "content_extra_division=true", "w_content=100"]
    # Patches are on its slope, where each device alone would find another factor.
    settings += ["texture_limit=1.04"]
    folder = tmp_path / "two"
    folder.mkdir()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program, *settings, "distribute=mirrored"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

    traced, compute_losses = [], WESPE.compute_losses

    def noted(*args, **kwargs):
        traced.append(kwargs["turn"])
        return compute_losses(*args, **kwargs)

    monkeypatch.setattr(WESPE, "compute_losses", noted)
    (tmp_path / "one").mkdir()
    monkeypatch.chdir(tmp_path / "one")
    cli.main(settings)
    assert_same_losses(folder, tmp_path / "one")
    # Evaluations and checkpoints between them do not make the step be traced anew.
    assert traced == [BOTH]


@pytest.mark.slow
class TestTwoWorkers:
    def test_have_the_losses_of_one(self, tmp_path, new_run, alone):
        two, one = tmp_path / "two", tmp_path / "one"
        two.mkdir()
        workers = start_workers([two, two], *new_run)
        alone(one, *new_run)
        for worker in workers:
            assert worker.wait(600) == 0, (two / "worker0.log").read_text()
        assert_same_losses(two, one)
        assert len(read_log(two)) == 21
        assert "validation" not in (two / "worker1.log").read_text()

    def test_one_that_dies_ends_the_others_and_any_number_goes_on(self, tmp_path, new_run, alone):
        endless = [*new_run, *WITHOUT_GUIDE, "num_train_iters=100000"]
        alone(tmp_path, *endless, until=3)
        rows = len(read_log(tmp_path)) + 4
        first, second = start_workers(2 * [tmp_path], "resume=true")
        self.wait_for_rows(tmp_path, rows, first)
        second.kill()
        assert first.wait(600) == 2
        assert last_line(tmp_path / "worker0.log").startswith(
            "error: distribute=multi_worker: another worker has stopped"
        )
        rows = len(read_log(tmp_path)) + 4
        workers = start_workers(2 * [tmp_path], "resume=true")
        self.wait_for_rows(tmp_path, rows, workers[0])
        workers[1].terminate()
        assert [worker.wait(600) for worker in workers] == 2 * [128 + signal.SIGTERM]
        last = len(read_log(tmp_path)) - 1
        alone(tmp_path, "resume=true", until=4)
        rows = read_log(tmp_path)
        assert len(rows) == last + 5
        alone(tmp_path / "one", *endless, until=last + 4)
        assert_same_losses(tmp_path, tmp_path / "one", rtol=1e-3)

    def test_one_that_cannot_begin_ends_the_others(self, tmp_path, new_run):
        workers = start_workers(2 * [tmp_path], *new_run, of_the_last=["source_dir=gone"])
        assert [worker.wait(600) for worker in workers] == [2, 2]
        assert last_line(tmp_path / "worker1.log") == "error: source_dir: no folder gone"
        assert last_line(tmp_path / "worker0.log").startswith(
            "error: distribute=multi_worker: another worker has stopped"
        )
        assert not (tmp_path / "models").exists()

    def test_one_that_waits_in_vain_can_be_interrupted(self, tmp_path, new_run, monkeypatch):
        monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
        worker, other = start_workers(2 * [tmp_path], *new_run)
        other.kill()
        log, end = tmp_path / "worker0.log", time.monotonic() + 600
        while "Waiting for 1/2 tasks to connect" not in log.read_text():
            assert worker.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.2)
        assert "distribute=multi_worker: waiting for all workers to start" in log.read_text()
        worker.send_signal(signal.SIGINT)
        assert worker.wait(600) == -signal.SIGINT

    def test_that_find_other_checkpoints_are_refused(self, tmp_path, new_run):
        """As on machines that share no folder."""
        mine, other = tmp_path / "mine", tmp_path / "other"
        config = load(TrainConfig, [*new_run, *WITHOUT_GUIDE, "run=mine"])
        for folder in (mine, other):
            (folder / "models" / "mine").mkdir(parents=True)
            (folder / "models" / "mine" / "config.yaml").write_text(to_yaml(config))
        with RunFolder(mine / "models" / "mine") as run:
            log = Log(run.path / "log.csv", log_columns(LOSSES))
            log.open()
            checkpoints_of(run, build_model(config), log=log).save(3)
        workers = start_workers([mine, other], "resume=true")
        assert [worker.wait(600) for worker in workers] == [2, 2]
        for index, folder in enumerate((mine, other)):
            assert last_line(folder / f"worker{index}.log") == (
                "error: run=mine: the workers found different checkpoints in models/mine; expected "
                "a folder that all of them share"
            )

    @staticmethod
    def wait_for_rows(folder, count, process):
        """Waits until the log of a running process has so many rows."""
        log = folder / "models" / "mine" / "log.csv"
        while not (log.exists() and len(log.read_text().splitlines()) > count + 1):
            assert process.poll() is None, (folder / "worker0.log").read_text()
            time.sleep(0.2)
