"""The README's program runs and its table of modules equals the tree."""

import re
import runpy
from pathlib import Path

UNIT = Path(__file__).parents[1]
README = (UNIT / "README.md").read_text(encoding="utf-8")


def test_the_quick_start_runs(tmp_path, monkeypatch, capsys) -> None:
    found = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert found is not None
    (tmp_path / "quick_start.py").write_text(found[1])
    monkeypatch.chdir(tmp_path)
    runpy.run_path("quick_start.py")
    assert capsys.readouterr().out == "' sat on t' length\n' mat. the' length\n"


def test_the_module_table_equals_the_tree() -> None:
    source = UNIT / "src" / "lm_systems"
    paths = [path.relative_to(source) for path in source.rglob("*.py")]
    modules = {".".join(path.with_suffix("").parts) for path in paths if path.stem != "__init__"}
    assert set(re.findall(r"^\| `([\w.]+\.[\w.]+)` \|", README, re.MULTILINE)) == modules
