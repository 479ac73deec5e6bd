import re
import shlex
import sys
from pathlib import Path

import pytest

from lm_scaling.commands.main import main
from lm_shared.testing.processes import run_python

UNIT = Path(__file__).parents[1]
README = (UNIT / "README.md").read_text(encoding="utf-8")


def test_the_quick_start_runs(tmp_path: Path) -> None:
    found = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert found is not None
    (tmp_path / "quick_start.py").write_text(found[1])
    result = run_python(["quick_start.py"], folder=tmp_path)
    assert result.returncode == 0, result.stderr
    law, planned = result.stdout.splitlines()
    assert law.startswith("L = 2.0")
    assert re.fullmatch(r"\d+M \d+ \d\.\d\d", planned)


def test_the_module_table_equals_the_tree() -> None:
    source = UNIT / "src" / "lm_scaling"
    paths = [path.relative_to(source) for path in source.rglob("*.py")]
    modules = {".".join(path.with_suffix("").parts) for path in paths if path.stem != "__init__"}
    assert set(re.findall(r"^\| `([\w.]+)` \|", README, re.MULTILINE)) == modules


def test_every_module_that_the_text_names_exists() -> None:
    named = set(re.findall(r"\(`([\w.]+)`\):", README))
    assert named <= set(re.findall(r"^\| `([\w.]+)` \|", README, re.MULTILINE))


@pytest.mark.parametrize("line", re.findall(r"^\| `uv run (scaling [^`]+)`", README, re.MULTILINE))
def test_the_commands_parse(
    line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", shlex.split(line))
    with pytest.raises(SystemExit) as stop:
        main()
    # Parsed, the command gets as far as the table, which this folder does not have.
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith("scaling: error: No such file")
