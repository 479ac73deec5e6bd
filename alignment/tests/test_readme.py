"""The README tells the truth."""

import re
from pathlib import Path

from lm_alignment.commands.main import main
from lm_shared.testing.readmes import readme_faults, run_quick_start

UNIT = Path(__file__).parents[1]


def test_the_quick_start_runs(tmp_path: Path) -> None:
    printed = run_quick_start(UNIT, tmp_path)
    assert re.fullmatch(r"reward 0\.\d{3} \[0\.\d{3}, 0\.\d{3}\]\n", printed)


def test_what_it_says_is_so() -> None:
    assert readme_faults(UNIT, main) == []
