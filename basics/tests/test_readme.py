"""The README tells the truth."""

from pathlib import Path

import pytest

from basics.benchmarks.tokenizer_table import BEGIN, END, render_table
from lm_basics.commands.main import main
from lm_shared.files import read_json
from lm_shared.testing.readmes import (
    listed_commands,
    listed_modules,
    run_quick_start,
    source_modules,
)

UNIT = Path(__file__).parents[1]


def test_the_quick_start_runs(tmp_path: Path) -> None:
    printed = run_quick_start(UNIT, tmp_path)
    assert printed.startswith("the dog sat on the log. the")
    assert printed.endswith("loss below one: True\n")


def test_the_module_table_equals_the_tree() -> None:
    assert listed_modules(UNIT) == source_modules(UNIT)


@pytest.mark.parametrize("command", listed_commands(UNIT), ids=" ".join)
def test_the_commands_of_the_table_parse(command: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*command[1:], "--help"])
    assert stopped.value.code == 0


def test_the_tokenizer_table_is_that_of_the_results() -> None:
    results = read_json(UNIT / "benchmarks" / "results" / "cpu" / "tokenizer.json")
    readme = (UNIT / "README.md").read_text(encoding="utf-8")
    assert f"{BEGIN}\n{render_table(results)}{END}" in readme
