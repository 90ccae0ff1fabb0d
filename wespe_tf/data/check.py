"""The command `check`: looks for faults in folders of photos, before they are trained on."""

import dataclasses
import itertools
import sys
from pathlib import Path

from ..config.command import as_command
from ..config.loading import load
from ..errors import UserError
from ..files import write_atomically
from ..progress import progress
from .check_page import as_text, check_page, table_of
from .findings import Finding, find_between, find_in_dped, find_in_folder
from .folders import find_pictures
from .inspection import inspect
from .pages import count
from .settings import CheckConfig

USAGE = """\
usage: python -m wespe_tf.data check PHONE [GOOD …] [key=value …]
       python -m wespe_tf.data check dped_dir=FOLDER

Looks for photos that spoil a training. The first folder holds the phone's photos, the others hold
good photos. Prints a table of the folders, then every fault: broken, small, repeated and edited
photos, screenshots, and photos that are in two folders. check.html shows the same with pictures.
With dped_dir= it checks whether a data set in DPED's layout is complete. The exit status is 1 if
something must be mended."""

# How many files of a finding are named in the terminal.
NAMED = 5


def settings(arguments: list[str]) -> tuple[list[str], CheckConfig]:
    """The folders that arguments name, and the settings."""
    folders = [argument for argument in arguments if "=" not in argument]
    return folders, load(CheckConfig, [argument for argument in arguments if "=" in argument])


@as_command(USAGE, CheckConfig, settings)
def main(given: tuple[list[str], CheckConfig]) -> None:
    """Runs `check`."""
    if not check(*given):
        sys.exit(1)


def check(folders: list[str], config: CheckConfig) -> bool:
    """Reads all photos, prints what was found and writes the page.

    Args:
        folders: folders of photos, the phone's first.
        config: the settings.

    Returns:
        True if nothing must be mended.

    Raises:
        UserError: if no folder is given, one is missing or empty, or the page cannot be written.
    """
    if not folders and config.dped_dir is None:
        raise UserError("check: expected folders of photos, or dped_dir=FOLDER")
    photos = {}
    for folder in folders:
        paths = progress(find_pictures(folder, "check"), desc=f"reading {folder}")
        photos[folder] = [inspect(path) for path in paths]
    findings = []
    for number, (folder, found) in enumerate(photos.items()):
        here = find_in_folder(folder, found, config.patch_size, is_source=number == 0)
        findings += [(f"{folder}: ", finding) for finding in here]
    for one, other in itertools.combinations(photos, 2):
        findings += [
            (f"{one}, {other}: ", finding) for finding in find_between(photos[one], photos[other])
        ]
    if config.dped_dir is not None:
        findings += [(f"{config.dped_dir}: ", finding) for finding in find_in_dped(config.dped_dir)]
    named = [
        dataclasses.replace(finding, what=f"{where}{finding.what}") for where, finding in findings
    ]

    table = table_of(photos)
    if photos:
        print(as_text(list(photos), table))
    for finding in named:
        print(_line(finding))
    wrong = sum(finding.mend for finding in named)
    verdict = f"{count(wrong, 'thing')} to mend" if wrong else "nothing to mend"
    write_atomically(Path(config.output), check_page(list(photos), table, named, verdict))
    print(f"{verdict}; {config.output} shows it")
    return not wrong


def _line(finding: Finding) -> str:
    """A finding as a line for the terminal, with the first of its files."""
    files = [f"{path} ({reason})" if reason else path for path, reason in finding.files[:NAMED]]
    more = [f"{len(finding.files) - NAMED} more"] if len(finding.files) > NAMED else []
    kind = "mend" if finding.mend else "note"
    return f"{kind}: {finding.what}" + (f": {', '.join(files + more)}" if files else "")
