"""`python -m wespe_tf` lists the commands that there are."""

import importlib

from tests.shared import ROOT
from wespe_tf.__main__ import COMMANDS, main


def test_lists_the_console_scripts_and_the_modules(capsys):
    main()
    printed = capsys.readouterr().out
    for name, (module, meaning) in COMMANDS.items():
        assert f"  {name} " in printed and meaning in printed
        assert importlib.import_module(module).main.__doc__
    scripts = (ROOT / "setup.cfg").read_text().split("console_scripts =")[1].split("\n\n")[0]
    listed = {line.split("=")[0].strip() for line in scripts.strip().splitlines()}
    assert listed == {name for name in COMMANDS if " " not in name}
