"""What a unit's README promises, for the tests that hold it to that."""

import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from lm_shared.testing.processes import run_python

_ROOMS = "Rooms"


def readme_faults(
    unit: Path, command: Callable[[Sequence[str]], object] | None = None
) -> list[str]:
    """Return what the README of ``unit`` says and what is not so, a line each.

    Its table of rooms lists every package and top-level module once and nothing else, its links
    resolve, and every ``uv run UNIT …`` in it asks for a command that ``command``, the unit's
    console command, has.
    """
    return [*_room_faults(unit), *_link_faults(unit), *_command_faults(unit, command)]


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


def listed_rooms(unit: Path) -> list[str]:
    """Return the first column of the table under the README's heading "Rooms"."""
    table = _readme(unit).partition(f"\n## {_ROOMS}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `([\w.]+)` \|", table, re.MULTILINE)


def rooms(unit: Path) -> set[str]:
    """Return the packages and the top-level modules of ``unit``, named as in the README's table."""
    package = _package(unit)
    folders = {path.parent.relative_to(package) for path in package.rglob("__init__.py")}
    packages = {".".join(folder.parts) for folder in folders if folder.parts}
    return packages | {name for name in source_modules(unit) if "." not in name}


def source_modules(unit: Path) -> set[str]:
    """Return all modules of the one package of ``unit``, named from inside of it."""
    package = _package(unit)
    paths = [path.relative_to(package) for path in package.rglob("*.py")]
    return {".".join(path.with_suffix("").parts) for path in paths if path.stem != "__init__"}


def listed_commands(unit: Path) -> list[list[str]]:
    """Return the command lines of the README, from tables and programs, split into words."""
    text = _readme(unit).replace("\\\n", "")
    lines = re.findall(r"^(?:\| `)?uv run ([^`\n]+)", text, re.MULTILINE)
    words = [shlex.split(line.replace("…", ""), comments=True) for line in lines]
    return [line for line in words if line[0] == unit.resolve().name]


def _package(unit: Path) -> Path:
    (package,) = (unit / "src").iterdir()
    return package


def _room_faults(unit: Path) -> Iterator[str]:
    listed, there = listed_rooms(unit), rooms(unit)
    yield from (f"the table of rooms lacks {name}" for name in sorted(there - set(listed)))
    yield from (f"the table of rooms lists {name}" for name in listed if name not in there)
    yield from (f"{name} is listed twice" for name in sorted(there) if listed.count(name) > 1)


def _link_faults(unit: Path) -> Iterator[str]:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", _readme(unit)):
        if not target.startswith(("https://", "http://")) and not (unit / target).exists():
            yield f"the link to {target} leads nowhere"


def _command_faults(unit: Path, command: Callable[[Sequence[str]], object] | None) -> Iterator[str]:
    for _, *words in listed_commands(unit):
        code: object = None
        try:
            code = "no commands" if command is None else command([*words, "--help"])
        except SystemExit as stopped:
            code = stopped.code
        if code:
            yield f"no such command: {shlex.join(words)}"


def _readme(unit: Path) -> str:
    return (unit / "README.md").read_text(encoding="utf-8")
