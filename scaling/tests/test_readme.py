"""The README tells the truth."""

import re
from pathlib import Path

from lm_scaling.commands.main import main
from lm_shared.testing.readmes import readme_faults, run_quick_start, source_modules

UNIT = Path(__file__).parents[1]


def test_the_quick_start_runs(tmp_path: Path) -> None:
    law, planned = run_quick_start(UNIT, tmp_path).splitlines()
    assert law.startswith("L = 2.0")
    assert re.fullmatch(r"\d+M \d+ \d\.\d\d", planned)


def test_what_it_says_is_so() -> None:
    assert readme_faults(UNIT, main) == []


def test_every_module_that_the_text_names_exists() -> None:
    readme = (UNIT / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\(`([\w.]+)`\):", readme)) <= source_modules(UNIT)
