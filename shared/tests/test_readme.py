"""The README tells the truth."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from lm_shared.testing.readmes import readme_faults, run_quick_start, source_modules

UNIT = Path(__file__).parents[1]


def test_the_quick_start_runs(tmp_path: Path) -> None:
    assert run_quick_start(UNIT, tmp_path).splitlines()[-1] == "0.5 128"


def test_what_it_says_is_so() -> None:
    assert readme_faults(UNIT) == []


def _unit(folder: Path, readme: str) -> Path:
    (folder / "src" / "lm_unit" / "nn").mkdir(parents=True)
    for name in ("__init__", "loss", "nn/__init__", "nn/norm"):
        (folder / "src" / "lm_unit" / f"{name}.py").touch()
    (folder / "README.md").write_text(readme)
    return folder


def test_what_is_not_so_is_told(tmp_path: Path) -> None:
    unit = _unit(
        tmp_path / "unit",
        "[here](src/lm_unit/loss.py#top) [gone](gone.md)\n\n## Rooms\n| `loss` | x |\n"
        "| `nn.norm` | x |\n| `loss` | x |\n\n## Commands\n| `uv run unit fit 'a b' …` | x |\n"
        "```sh\nuv run unit plan   # a word\nuv run another fit\n```\n",
    )
    asked = []

    def command(words: Sequence[str]) -> object:
        asked.append(list(words))
        raise SystemExit(2 if words[0] == "plan" else 0)

    assert readme_faults(unit, command) == [
        "the table of rooms lacks nn",
        "the table of rooms lists nn.norm",
        "loss is listed twice",
        "the link to gone.md leads nowhere",
        "no such command: plan",
    ]
    assert asked == [["fit", "a b", "--help"], ["plan", "--help"]]
    assert "no such command: fit 'a b'" in readme_faults(unit)
    assert source_modules(unit) == {"loss", "nn.norm"}


def test_a_quick_start_that_is_missing_or_fails_is_an_error(tmp_path: Path) -> None:
    unit = _unit(tmp_path, "no program")
    with pytest.raises(ValueError, match="no Python program"):
        run_quick_start(unit, tmp_path)
    (unit / "README.md").write_text("```python\n1 / 0\n```\n")
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        run_quick_start(unit, tmp_path)
