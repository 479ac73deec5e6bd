"""The README tells the truth."""

import re
from pathlib import Path

import pytest

from lm_scaling.commands.main import main
from lm_shared.testing.readmes import (
    listed_commands,
    listed_modules,
    run_quick_start,
    source_modules,
)

UNIT = Path(__file__).parents[1]


def test_the_quick_start_runs(tmp_path: Path) -> None:
    law, planned = run_quick_start(UNIT, tmp_path).splitlines()
    assert law.startswith("L = 2.0")
    assert re.fullmatch(r"\d+M \d+ \d\.\d\d", planned)


def test_the_module_table_equals_the_tree() -> None:
    assert listed_modules(UNIT) == source_modules(UNIT)


def test_every_module_that_the_text_names_exists() -> None:
    readme = (UNIT / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\(`([\w.]+)`\):", readme)) <= source_modules(UNIT)


@pytest.mark.parametrize("command", listed_commands(UNIT), ids=" ".join)
def test_the_commands_of_the_table_parse(
    command: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(command[1:])
    # Parsed, the command gets as far as the table, which this folder does not have.
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith("scaling: error: No such file")
