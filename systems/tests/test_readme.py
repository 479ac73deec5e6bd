"""The README tells the truth."""

from pathlib import Path

from lm_shared.testing.readmes import readme_faults, run_quick_start
from lm_systems.commands.main import main

UNIT = Path(__file__).parents[1]


def test_the_quick_start_runs(tmp_path: Path) -> None:
    assert run_quick_start(UNIT, tmp_path) == "' sat on t' length\n' mat. the' length\n"


def test_what_it_says_is_so() -> None:
    assert readme_faults(UNIT, main) == []
