"""The README tells the truth."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from lm_basics.commands.main import main

UNIT = Path(__file__).parents[1]
README = (UNIT / "README.md").read_text(encoding="utf-8")


def test_the_quick_start_runs(tmp_path: Path) -> None:
    found = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert found is not None
    command = [sys.executable, "-c", found[1]]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert result.stdout.startswith("the dog sat on the log. the")
    assert result.stdout.endswith("loss below one: True\n")


def test_the_module_table_equals_the_tree() -> None:
    source = UNIT / "src" / "lm_basics"
    paths = [path.relative_to(source) for path in source.rglob("*.py")]
    modules = {".".join(path.with_suffix("").parts) for path in paths if path.stem != "__init__"}
    assert set(re.findall(r"^\| `([\w.]+)` \|", README, re.MULTILINE)) == modules


def test_the_commands_of_the_table_parse(monkeypatch: pytest.MonkeyPatch) -> None:
    commands = re.findall(r"^\| `uv run basics ([\w-]+)", README, re.MULTILINE)
    assert commands == ["train-tokenizer", "encode", "train", "generate"]
    for command in commands:
        monkeypatch.setattr(sys, "argv", ["basics", command, "--help"])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert stopped.value.code == 0
