"""`--help` of every command, and what calls it."""

import dataclasses

import pytest

from wespe_tf.config.command import as_command, help_text
from wespe_tf.config.loading import preset_names
from wespe_tf.config.schema import ExportConfig, TrainConfig
from wespe_tf.config.schema import TestConfig as EnhanceConfig
from wespe_tf.config.setting import setting
from wespe_tf.errors import UserError

SCHEMAS = (TrainConfig, EnhanceConfig, ExportConfig)


def keys(text):
    """Names of the settings that a text has lines of, in order."""
    return [line.split("=")[0].strip() for line in text.splitlines() if line.startswith("  ")]


class TestHelpText:
    @pytest.mark.parametrize("schema", SCHEMAS)
    def test_all_has_a_line_for_every_setting(self, schema):
        """With its default, meaning, unit and choices."""
        lines = help_text(schema, "usage: …", everything=True).splitlines()
        for field in dataclasses.fields(schema):
            (line,) = [line for line in lines if line.strip().startswith(f"{field.name}=")]
            default = "" if field.default is None else str(field.default)
            assert line.strip().split(" ")[0] == f"{field.name}={default}"
            meta = field.metadata
            assert meta["meaning"] and meta["meaning"] in line
            assert meta["unit"] in line
            assert all(choice in line for choice in meta["choices"] or ())

    def test_all_is_in_groups(self):
        lines = help_text(TrainConfig, "usage", everything=True).splitlines()
        headings = [line.split(":")[0] for line in lines[2:] if line[:1].strip()]
        groups = ["Run", "Data", "Patches", "Networks", "Losses", "Optimization", "Output"]
        assert headings == [*groups, "presets"]
        assert lines[lines.index("Output") + 1].startswith("  eval_step=")

    @pytest.mark.parametrize("schema", [TrainConfig, EnhanceConfig])
    def test_first_come_the_ten_that_most_need(self, schema):
        text = help_text(schema, "usage")
        assert len(keys(text)) == 10
        assert {"source_dir", "run"} <= set(keys(text)) or {"input", "output"} <= set(keys(text))
        assert f"--help all lists all {len(dataclasses.fields(schema))} settings." in text

    def test_presets_and_usage_are_listed(self):
        text = help_text(TrainConfig, "usage: python train.py")
        assert text.startswith("usage: python train.py")
        assert all(name in text for name in preset_names())
        assert "presets:" not in help_text(EnhanceConfig, "usage")


@dataclasses.dataclass
class Settings:
    number: int = setting(3, "how many")


class TestCommand:
    def test_gets_the_settings(self):
        found = []
        main = as_command("usage: it", Settings)(found.append)
        main(["number=4"])
        assert found == [Settings(4)]
        with pytest.raises(UserError, match="number=x: expected int"):
            main(["number=x"])

    @pytest.mark.parametrize("flags", [["--help"], ["-h"], ["help"], ["help", "all"]])
    def test_help_does_nothing_else(self, flags, capsys):
        main = as_command("usage: it", Settings)(lambda config: pytest.fail("was called"))
        main([*flags, "nonsense"])
        printed = capsys.readouterr().out
        assert printed.startswith("usage: it") and keys(printed) == ["number"]

    def test_as_a_process_ends_with_status_2(self, monkeypatch, capsys):
        monkeypatch.setattr("sys.argv", ["it", "numbr=4"])
        with pytest.raises(SystemExit) as ended:
            as_command("usage: it", Settings)(print).run()
        assert ended.value.code == 2
        expected = "error: unknown setting 'numbr'; did you mean 'number'?\n"
        assert capsys.readouterr().err == expected
