"""The report's own code, step by step: the drawn numbers and what it computed of them.

`../shared/reference/report_code_lockstep.npz` holds the results, REPORT_CODE_AND_WESPE_TF.md beside
it says what they are.
"""

import numpy as np
from keras.ops import convert_to_numpy as array

from benchmarks.public_codes import report_code
from tests.shared import SHARED

SIZES = {"full": (100, 3, 18), "small": (52, 2, 12)}


def stored(name, prefix):
    """The arrays of a reference file whose keys begin with a prefix, or are its `drawn_first8`."""
    with np.load(SHARED / "reference" / f"{name}.npz") as file:
        found = {key.removeprefix(f"{prefix}."): file[key] for key in file.files}
    return {key: value for key, value in found.items() if not key.startswith(("full.", "small"))}


def check_draws(named, expected):
    """Compares the values of variables with those that were drawn for the public code.

    Args:
        named: list of (name, kind, variable).
        expected: (variables, 8) array, the first eight values of each.
    """
    assert len(named) == len(expected)
    for (name, _, variable), first in zip(named, expected):
        value = array(variable).reshape(-1)[:8]
        tolerance = 10 * np.finfo(value.dtype).eps
        np.testing.assert_allclose(value, first[: len(value)], rtol=tolerance, err_msg=name)


class Recorded:
    """An optimizer of Keras, watched: what gradients it was given in each step."""

    def __init__(self, optimizer):
        self.optimizer, self.gradients = optimizer, []
        self._apply = optimizer.apply
        optimizer.apply = self.apply

    def apply(self, gradients, variables):
        """Keeps the gradients by their variables' paths, and lets the optimizer step."""
        self.gradients.append({v.path: array(g) for g, v in zip(gradients, variables)})
        self._apply(gradients, variables)


def make_model(prefix, reference):
    """`preset=report_code`, built for the pictures of a prefix, with the drawn values."""
    size, batch, _ = SIZES[prefix]
    model = report_code.make_model(size, batch)
    for network, named in report_code.variables(model).items():
        check_draws(named, reference[f"drawn_first8.{network}"])
    return model
