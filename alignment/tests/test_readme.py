import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lm_alignment.commands.main import main

UNIT = Path(__file__).parents[1]
README = (UNIT / "README.md").read_text(encoding="utf-8")


def test_module_table_equals_the_tree():
    source = UNIT / "src" / "lm_alignment"
    paths = [path.relative_to(source) for path in source.rglob("*.py")]
    modules = {".".join(path.with_suffix("").parts) for path in paths if path.stem != "__init__"}
    table = README.partition("## Modules")[2].partition("## Commands")[0]
    assert set(re.findall(r"^\| `([\w.]+)` \|", table, re.MULTILINE)) == modules


def test_quick_start_runs(tmp_path):
    found = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert found is not None
    result = subprocess.run(
        [sys.executable, "-c", found[1]],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert re.fullmatch(r"reward 0\.\d{3} \[0\.\d{3}, 0\.\d{3}\]\n", result.stdout)


def test_commands_of_the_readme_parse():
    commands = re.findall(r"^\| `uv run alignment ([\w-]+)`", README, re.MULTILINE)
    assert commands == ["sft", "grpo", "evaluate"]
    for command in commands:
        with pytest.raises(SystemExit) as stopped:
            main([command, "--help"])
        assert stopped.value.code == 0
