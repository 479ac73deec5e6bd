"""What a unit's README promises, for the tests that hold it to that."""

import re
import shlex
from pathlib import Path

from lm_shared.testing.processes import run_python


def run_quick_start(unit: Path, folder: Path) -> str:
    """Run the first Python program of the README of ``unit`` in ``folder``; return what it prints.

    Raises:
        ValueError: The README holds no Python program.
        RuntimeError: The program failed; the message is what it wrote to standard error.
    """
    found = re.search(r"```python\n(.*?)```", _readme(unit), re.DOTALL)
    if found is None:
        raise ValueError(f"{unit / 'README.md'} holds no Python program")
    script = folder / "quick_start.py"
    script.write_text(found[1], encoding="utf-8")
    result = run_python([script.name], folder=folder)
    if result.returncode != 0:
        raise RuntimeError(result.stderr)
    return result.stdout


def listed_modules(unit: Path) -> set[str]:
    """Return the modules in the table under the README's heading "Modules"."""
    table = _readme(unit).partition("\n## Modules\n")[2].partition("\n## ")[0]
    return set(re.findall(r"^\| `([\w.]+)` \|", table, re.MULTILINE))


def source_modules(unit: Path) -> set[str]:
    """Return the modules of the one package of ``unit``, named as in the README's table."""
    (package,) = (unit / "src").iterdir()
    paths = [path.relative_to(package) for path in package.rglob("*.py")]
    return {".".join(path.with_suffix("").parts) for path in paths if path.stem != "__init__"}


def listed_commands(unit: Path) -> list[list[str]]:
    """Return the command lines that begin a row of a README's table, split into words."""
    lines = re.findall(r"^\| `uv run ([^`]+)`", _readme(unit), re.MULTILINE)
    return [shlex.split(line.replace("…", "")) for line in lines]


def _readme(unit: Path) -> str:
    return (unit / "README.md").read_text(encoding="utf-8")
