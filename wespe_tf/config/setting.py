"""What a setting is, and which settings were removed."""

import dataclasses
import math
from typing import Any

# Settings of earlier versions, with the value that all runs have now. A `config.yaml` with this
# value can still be read.
RETIRED = {
    "generator_beta_1": 0.9,
    "balance_window": 5,
    "balance_generator_threshold": 0.015,
    "balance_discriminator_threshold": 0.55,
    "balance_start": "1:2",
    "balance_generators_behind": "1:0",
    "balance_discriminators_ahead": "3:1",
    "balance_discriminators_behind": "1:3",
}


def setting(
    default: Any,
    meaning: str,
    unit: str = "",
    choices: tuple[str, ...] | None = None,
    at_least: float | None = None,
    below: float = math.inf,
    at_most: float = math.inf,
    alias: str | None = None,
    first: bool = False,
) -> Any:
    """A dataclass field that `--help` can print and `load` can check.

    Args:
        default: value if the setting is not given.
        meaning: what it does, in words.
        unit: unit of a number.
        choices: the texts that are allowed.
        at_least: lowest value of a number.
        below: a number must be less than this.
        at_most: highest value of a number.
        alias: another name for it.
        first: whether `--help` shows it. `--help all` shows every setting.
    """
    metadata = {
        "meaning": meaning,
        "unit": unit,
        "choices": choices,
        "at_least": at_least,
        "below": below,
        "at_most": at_most,
        "alias": alias,
        "first": first,
    }
    return dataclasses.field(default=default, metadata=metadata)
