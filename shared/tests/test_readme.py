"""The README tells the truth."""

from pathlib import Path

import pytest

from lm_shared.testing.readmes import (
    listed_commands,
    listed_modules,
    run_quick_start,
    source_modules,
)

UNIT = Path(__file__).parents[1]


def test_the_quick_start_runs(tmp_path: Path) -> None:
    assert run_quick_start(UNIT, tmp_path).splitlines()[-1] == "0.5 128"


def test_the_module_table_equals_the_tree() -> None:
    assert listed_modules(UNIT) == source_modules(UNIT)


def _unit(folder: Path, readme: str) -> Path:
    (folder / "src" / "lm_unit" / "nn").mkdir(parents=True)
    for name in ("__init__", "loss", "nn/__init__", "nn/norm"):
        (folder / "src" / "lm_unit" / f"{name}.py").touch()
    (folder / "README.md").write_text(readme)
    return folder


def test_the_promises_of_a_readme_are_found(tmp_path: Path) -> None:
    unit = _unit(
        tmp_path,
        "\n## Modules\n| `loss` | x |\n| `nn.gone` | x |\n\n## Commands\n"
        "| `uv run unit fit 'a b' …` | x |\n",
    )
    assert listed_modules(unit) == {"loss", "nn.gone"}
    assert source_modules(unit) == {"loss", "nn.norm"}
    assert listed_commands(unit) == [["unit", "fit", "a b"]]


def test_a_quick_start_that_is_missing_or_fails_is_an_error(tmp_path: Path) -> None:
    unit = _unit(tmp_path, "no program")
    with pytest.raises(ValueError, match="no Python program"):
        run_quick_start(unit, tmp_path)
    (unit / "README.md").write_text("```python\n1 / 0\n```\n")
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        run_quick_start(unit, tmp_path)
