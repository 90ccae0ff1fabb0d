"""The runtimes compute what Keras does, and the right one is chosen."""

import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from keras.ops import convert_to_numpy as array

from tests.generators import make_generator
from tests.shared import ROOT
from wespe_tf.enhance.runtimes import choose_runtime
from wespe_tf.enhance.tiles import Enhancer, Plan
from wespe_tf.errors import UserError


class TestChoice:
    def test_a_hidden_gpu_is_none(self, monkeypatch):
        gpu = SimpleNamespace(device_type="GPU")
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [gpu])
        monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: [])
        assert choose_runtime("auto", "float32").name == "openvino"
        monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: [gpu])
        assert choose_runtime("auto", "float32").name == "keras"


class TestRuntimes:
    @pytest.mark.slow
    def test_openvino_computes_the_same(self, make_photo):
        photo = make_photo(61, 83).astype(np.uint16) * 257
        model = make_generator("instance")
        ours = Enhancer(model, choose_runtime("openvino", "float32"))
        keras_enhancer = Enhancer(model, choose_runtime("keras"))
        for plan in (Plan("whole"), Plan("streamed", rows=32, in_memory=20)):
            expected = keras_enhancer(photo, plan)
            assert np.abs(ours(photo, plan).astype(int) - expected).max() <= 6

    @pytest.mark.slow
    def test_openvino_adds_up_large_photos_as_keras_does(self, make_photo):
        """In float32, where neither fused norms nor means of means would come as near."""
        photo = make_photo(1000, 1500)[None].astype(np.float32) / 255
        model = make_generator("instance")
        runtime = choose_runtime("openvino", "float32")
        ours = runtime.ready(runtime.prepare(model))(photo)
        off = 10 * np.log10(np.square(ours - array(model(photo))).mean())
        assert off < -100, off

    @pytest.mark.slow
    def test_openvino_reports_to_nobody(self, tmp_path):
        """Its telemetry forks a process, and leaves an identity in the home folder."""
        program = (
            "import multiprocessing, sys\n"
            "from wespe_tf import Generator\n"
            "from wespe_tf.enhance.runtimes import choose_runtime\n"
            "generator = Generator(width=4, blocks=1)\n"
            "generator.build((None, None, None, 3))\n"
            "runtime = choose_runtime('openvino', 'float32')\n"
            "runtime.ready(runtime.prepare(generator))\n"
            "print(sys.modules['openvino_telemetry'], multiprocessing.active_children())\n"
        )
        environment = {k: v for k, v in os.environ.items() if k not in ("CI", "TF_BUILD")}
        environment |= {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", program]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == "None []"
        assert not (tmp_path / "intel").exists()

    def test_keras_has_no_bfloat16(self):
        with pytest.raises(UserError, match="runtime=keras: computes in float32"):
            choose_runtime("keras", "bfloat16")
