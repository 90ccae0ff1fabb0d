"""Settings from presets, files and the command line: read, checked and printed."""

import dataclasses
import difflib
import importlib.resources
import math
import os
from collections.abc import Iterable
from typing import Any, TypeVar, cast

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ..errors import UserError
from .setting import RETIRED

Schema = TypeVar("Schema")

# Errors of PyYAML. For bad numbers, dates and tags, it raises Python's own errors.
YAML_ERRORS = (ValueError, LookupError, AttributeError, RecursionError, yaml.YAMLError)
# Settings that name photos to train on.
PHOTOS = {"source_dir", "target_dir", "model"}


def load(schema: type[Schema], arguments: list[str]) -> Schema:
    """Settings from command-line arguments.

    Later arguments win over the preset, and the preset over the schema's defaults.

    Args:
        schema: `TrainConfig` or another dataclass of `setting` fields.
        arguments: list of `key=value`. `preset=NAME` loads `presets/NAME.yaml`, or the `.yaml` file
            with that path. A preset's line `based_on: OTHER` loads that preset before it.
            `config=FILE` loads the settings of a run folder's `config.yaml` instead of a preset.

    Returns:
        A checked instance of `schema`.

    Raises:
        UserError: if a key is unknown, a value has another type or is out of range, a preset is
            missing, or `preset` or `scale` is given together with `config`.
    """
    fields = {field.name: field for field in dataclasses.fields(cast(Any, schema))}
    given = given_settings(schema, arguments)
    config_file = given.pop("config", None)
    layers = []
    if config_file is not None:
        for key in {"preset", "scale"} & set(fields) & set(given):
            raise UserError(f"{key}={_short(given[key])}: expected no {key}= together with config=")
        layers.append((config_file, _read_yaml(config_file, "config")))
        if "preset" in fields and not layers[0][1].get("preset"):
            layers[0][1]["preset"] = config_file
    elif "preset" in fields:
        given.setdefault("preset", "recommended" if PHOTOS & set(given) else "quickstart")
        layers += _preset_layers(given["preset"])
    values = {key: _parse(fields, key, text) for key, text in given.items()}

    config = OmegaConf.structured(schema)
    for origin, layer in layers:
        _update(config, fields, origin, layer)
    if "scale" in fields and config_file is None and values.get("scale", config.scale) == "small":
        _update(config, fields, "scale=small", _small(config))
    _update(config, fields, "", values)
    return cast(Schema, OmegaConf.to_object(config))


def _update(
    config: Any, fields: dict[str, dataclasses.Field], origin: str, layer: dict[str, Any]
) -> None:
    """Changes and checks settings. `origin` says where they come from; "" is the command line."""
    where = f"{origin}: " if origin else ""
    for key, value in layer.items():
        if origin and key in RETIRED:
            _check_retired(where, key, value)
            continue
        if key not in fields:
            raise UserError(f"{where}unknown setting {_short(key)!r}{_nearest(key, fields)}")
        if isinstance(value, str) and "${" in value:
            raise UserError(f"{where}{key}={_short(value)}: expected a value without ${{")
        try:
            OmegaConf.update(config, key, value)
            _check(fields[key], config[key], where)
        except OmegaConfBaseException as error:
            expected = getattr(fields[key].type, "__name__", fields[key].type)
            raise UserError(f"{where}{key}={_short(value)}: expected {expected}") from error


def given_settings(schema: type, arguments: list[str]) -> dict[str, str]:
    """The texts of the settings in command-line arguments, by name. Aliases are resolved.

    Raises:
        UserError: if an argument is not `key=value`.
    """
    aliases = {f.metadata["alias"]: f.name for f in dataclasses.fields(schema)}
    given: dict[str, str] = dict(_split(argument) for argument in arguments)
    return {aliases.get(key, key): text for key, text in given.items()}


def _check_retired(where: str, key: str, value: Any) -> None:
    """Accepts a setting of an earlier version in a file, if it has the value of all runs now."""
    if value != RETIRED[key]:
        raise UserError(
            f"{where}{key}={_short(value)}: this setting was removed; expected {RETIRED[key]}, "
            "which now holds for all runs"
        )


def _small(full: Any) -> dict[str, Any]:
    """The settings of `scale=small`, which come after a preset's: `full`."""
    at_most = {"num_train_iters": 400, "batch_size": 4, "patch_size": 48, "eval_step": 40}
    return {
        **{key: min(full[key], most) for key, most in at_most.items()},
        "generator_width": full.generator_width // 2,
        "discriminator_width": full.discriminator_width / 2,
        "content_layer": "relu3_4",
    }


def to_yaml(config: Any) -> str:
    """All settings as YAML text that `config=FILE` reads back."""
    return OmegaConf.to_yaml(OmegaConf.structured(config))


def preset_names() -> list[str]:
    """Names of the presets in the package, sorted."""
    folder = importlib.resources.files("wespe_tf") / "presets"
    names = [file.name for file in folder.iterdir()]
    return sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml"))


def _preset_layers(preset: str, above: tuple[str, ...] = ()) -> list[tuple[str, dict[str, Any]]]:
    """(origin, settings) of a preset, after those of the preset that it is based on."""
    if preset in above:
        raise UserError(f"preset={preset}: based on itself")
    values = _read_yaml(_preset_path(preset), "preset")
    base = values.pop("based_on", None)
    layers = _preset_layers(str(base), (*above, preset)) if base is not None else []
    return [*layers, (f"preset {preset}", values)]


def _preset_path(preset: str) -> str:
    if preset in preset_names():
        return str(importlib.resources.files("wespe_tf") / "presets" / f"{preset}.yaml")
    if preset.endswith(".yaml") and os.path.isfile(preset):
        return preset
    raise UserError(f"preset={_short(preset)}: no such preset{_nearest(preset, preset_names())}")


def _split(argument: str) -> tuple[str, str]:
    key, equals, text = argument.lstrip("-").partition("=")
    if not equals or not key:
        raise UserError(f"{_short(argument)!r}: expected key=value; --help lists the keys")
    return key, text


def _parse(fields: dict[str, dataclasses.Field], key: str, text: str) -> Any:
    """The value of a command-line text. The values of text settings do not change."""
    if key in fields and fields[key].type in (str, str | None):
        return None if text.lower() in ("null", "none") and fields[key].default is None else text
    try:
        return float(text) if "e" in text.lower() else yaml.safe_load(text)
    except YAML_ERRORS:
        return text


def _read_yaml(path: str, key: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            values = yaml.safe_load(file)
    except (OSError, *YAML_ERRORS) as error:
        raise UserError(f"{key}={path}: not a readable YAML file ({_short(error)})") from error
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise UserError(f"{key}={path}: expected `setting: value` lines")
    for name, value in values.items():
        if not isinstance(value, bool | int | float | str | None):
            raise UserError(f"{key}={path}: {_short(name)}: expected one value")
        if isinstance(value, int) and abs(value) >= 2**63:
            raise UserError(f"{key}={path}: {_short(name)}: expected a number below 2^63")
    return values


def _check(field: dataclasses.Field, value: Any, where: str) -> None:
    choices, at_least, below, at_most = (
        field.metadata[k] for k in ("choices", "at_least", "below", "at_most")
    )
    if choices and value not in choices:
        expected = f"expected one of {', '.join(choices)}"
        raise UserError(
            f"{where}{field.name}={_short(value)}: {expected}{_nearest(str(value), choices)}"
        )
    if at_least is None:
        return
    if not (at_least <= value < below and value <= at_most):
        bounds = f"at least {at_least}"
        if at_most < math.inf:
            bounds += f" and at most {at_most}"
        elif below < math.inf or not math.isfinite(value):
            bounds += f" and below {below}"
        raise UserError(f"{where}{field.name}={value}: expected {bounds}")


def _short(value: Any) -> str:
    """A value as one line of at most 150 characters."""
    return " ".join(str(value).split())[:150]


def _nearest(name: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""
