"""The README tells the truth."""

import re
from pathlib import Path

import pytest

from lm_alignment.commands.main import main
from lm_shared.testing.readmes import (
    listed_commands,
    listed_modules,
    run_quick_start,
    source_modules,
)

UNIT = Path(__file__).parents[1]


def test_the_quick_start_runs(tmp_path: Path) -> None:
    printed = run_quick_start(UNIT, tmp_path)
    assert re.fullmatch(r"reward 0\.\d{3} \[0\.\d{3}, 0\.\d{3}\]\n", printed)


def test_the_module_table_equals_the_tree() -> None:
    assert listed_modules(UNIT) == source_modules(UNIT)


@pytest.mark.parametrize("command", listed_commands(UNIT), ids=" ".join)
def test_the_commands_of_the_table_parse(command: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*command[1:], "--help"])
    assert stopped.value.code == 0
