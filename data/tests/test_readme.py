"""The README tells the truth."""

from pathlib import Path

from lm_data.commands.main import main
from lm_shared.testing.readmes import readme_faults, run_quick_start

UNIT = Path(__file__).parents[1]


def test_the_quick_start_runs(tmp_path: Path) -> None:
    assert run_quick_start(UNIT, tmp_path).splitlines()[-1] == "1.0 1.0"


def test_what_it_says_is_so() -> None:
    assert readme_faults(UNIT, main) == []
