"""A command: its settings, its `--help`, and one line for every error."""

import dataclasses
from collections.abc import Callable
from typing import Any

from ..errors import run_command
from .loading import load, preset_names

HELP = {"-h", "--help", "help"}


class Command:
    """A function of settings that can be called with command-line arguments.

    Args:
        work: what the command does, a function of the settings.
        usage: what `--help` prints above the settings.
        schema: dataclass of `setting` fields, or None if `usage` says everything.
        read: function from the list of arguments to the settings; by default `load`.
    """

    def __init__(
        self,
        work: Callable[[Any], None],
        usage: str,
        schema: Any = None,
        read: Callable[[list[str]], Any] | None = None,
    ) -> None:
        self.__doc__ = work.__doc__
        self.work = work
        self.usage = usage
        self.schema = schema
        self.read = read or (lambda arguments: load(schema, arguments))

    def __call__(self, arguments: list[str]) -> None:
        """Does the work, or prints the help.

        Args:
            arguments: `key=value`, or `--help`, or `--help all`.

        Raises:
            UserError: if there is a mistake in the arguments, or if the work raises it.
        """
        if not HELP & set(arguments):
            self.work(self.read(arguments))
        elif self.schema is None:
            print(self.usage)
        else:
            print(help_text(self.schema, self.usage, everything="all" in arguments))

    def run(self) -> None:
        """The command as a process: takes its arguments, and ends with status 2 on an error."""
        run_command(self)


def as_command(
    usage: str,
    schema: type | None = None,
    read: Callable[[list[str]], Any] | None = None,
) -> Callable[[Callable[[Any], None]], Command]:
    """Decorator that makes a `Command` of a function of settings, with the same arguments."""
    return lambda work: Command(work, usage, schema, read)


def help_text(schema: type, usage: str, everything: bool = False) -> str:
    """What `--help` prints: one line for each setting.

    Args:
        schema: dataclass of `setting` fields. Its base classes are groups of settings, and their
            docstrings are the headings.
        usage: printed above.
        everything: whether all settings are printed, in groups. If not, only those that are marked
            `first` are printed, unless there are none.
    """
    fields = {field.name: field for field in dataclasses.fields(schema)}
    first = [field for field in fields.values() if field.metadata["first"]]
    lines = [usage, ""]
    if first and not everything:
        lines += [_help_line(field) for field in first]
        lines += ["", f"--help all lists all {len(fields)} settings."]
    else:
        groups = [base for base in reversed(schema.__mro__) if dataclasses.is_dataclass(base)]
        for group in groups:
            names = [name for name in group.__dict__.get("__annotations__", {}) if name in fields]
            if names and len(groups) > 1:
                lines += [str(group.__doc__).strip(".")]
            lines += [_help_line(fields.pop(name)) for name in names]
            lines += [""] if names else []
        lines.pop()
    if any(field.name == "preset" for field in dataclasses.fields(schema)):
        lines += ["", f"presets: {', '.join(preset_names())}; config=FILE repeats a run"]
    return "\n".join(lines)


def _help_line(field: dataclasses.Field) -> str:
    """A line with key, default, meaning, unit and choices."""
    meta = field.metadata
    default = "" if field.default is None else field.default
    details = [meta["unit"]] if meta["unit"] else []
    if meta["choices"]:
        details.append(" | ".join(meta["choices"]))
    note = f" ({'; '.join(details)})" if details else ""
    return f"  {f'{field.name}={default}':<40} {meta['meaning']}{note}"
