"""Kernels of the exported files."""

import keras
import numpy as np
from ai_edge_litert.tools import flatbuffer_utils

from wespe_tf import Generator
from wespe_tf.export.conversion import Converter, half
from wespe_tf.export.portable import portable


class TestHalf:
    def test_values_are_those_of_float16_and_near(self, rng):
        kernel = rng.normal(0, 0.3, (3, 9, 9, 8)).astype(np.float32)
        found = half(kernel)
        assert np.array_equal(found, found.astype(np.float16))
        # Half a step of float16 for each of the 81 places, which one weight makes up for.
        assert np.abs(found - kernel).max() <= 81 * 2.0**-11

    def test_smooth_areas_keep_their_values(self, rng):
        """Plain rounding changes them ten times as much."""
        kernel = rng.normal(0, 0.3, (3, 9, 9, 8)).astype(np.float32)
        features = rng.uniform(0, 1, 8)
        answers = [
            np.einsum("ohwi,i->o", each.astype(np.float64), features)
            for each in (kernel, half(kernel), kernel.astype(np.float16))
        ]
        with_sums, plain = (np.abs(each - answers[0]).max() for each in answers[1:])
        assert with_sums < 1e-5 and plain > 10 * with_sums

    def test_a_kernel_of_one_place(self):
        kernel = np.array([[[[0.1, 1e-9, 3.0]]]], np.float32)
        assert np.array_equal(half(kernel), kernel.astype(np.float16))


def test_float16_files_hold_these_kernels():
    keras.utils.set_random_seed(2)
    generator = Generator(width=8, blocks=1)
    generator.build((None, None, None, 3))
    model = flatbuffer_utils.read_model_from_bytearray(
        bytearray(Converter(portable(generator), (32, 32))("float16"))
    )
    held = [
        np.frombuffer(bytes(model.buffers[tensor.buffer].data), np.float16)
        for graph in model.subgraphs
        for tensor in graph.tensors
        if tensor.type == flatbuffer_utils.TensorType.FLOAT16
    ]
    wanted = [
        half(step.conv.get_weights()[0].transpose(3, 0, 1, 2)).ravel() for step in generator.steps
    ]
    assert len(held) == len(wanted)
    assert {tuple(kernel) for kernel in held} == {tuple(kernel) for kernel in wanted}
