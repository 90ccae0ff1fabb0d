"""precision=auto: bfloat16 where the processor has units for it."""

import pytest

from wespe_tf.training import train
from wespe_tf.training.summary import has_bfloat16_units

CPUINFO = "processor\t: 0\nflags\t\t: fpu sse avx2 {} fma\nbugs\t\t: amx_bf16\n"


@pytest.mark.parametrize(
    "flag, expected", [("avx512_bf16", True), ("amx_bf16", True), ("avx512f", False)]
)
def test_units_are_told_from_the_flags(tmp_path, flag, expected):
    info = tmp_path / "cpuinfo"
    info.write_text(CPUINFO.format(flag))
    assert has_bfloat16_units(info) == expected


def test_without_a_list_of_flags_there_are_none(tmp_path):
    assert not has_bfloat16_units(tmp_path / "missing")


@pytest.mark.parametrize("able, expected", [(True, "bfloat16"), (False, "float32")])
def test_auto_chooses_by_them_and_says_so(monkeypatch, capsys, able, expected):
    monkeypatch.setattr(train, "has_bfloat16_units", lambda: able)
    assert train.chosen_precision("auto") == expected
    assert f"precision: {expected}" in capsys.readouterr().out
    assert train.chosen_precision("float16") == "float16"
