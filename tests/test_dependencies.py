"""Each unit declares what it imports, so that it works alone."""

import ast
import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
# What a declared package cannot do without, and gives to others.
BROUGHT = {"llvmlite": "numba", "markupsafe": "jinja2", "cycler": "matplotlib"}
UNITS = ("shared", "basics", "systems", "scaling", "data", "alignment")


@cache
def _project(unit: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / unit / "pyproject.toml").read_text(encoding="utf-8"))


def _declared(unit: str, *, extras: frozenset[str], is_tested: bool) -> set[str]:
    """Return the packages that an installation of ``unit`` alone brings along by declaration."""
    project = _project(unit)["project"]
    lines = list(project["dependencies"])
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    if is_tested:
        lines += _project(unit)["dependency-groups"]["dev"]
    names: set[str] = set()
    for line in lines:
        name, wanted = re.match(r"([\w.-]+)(?:\[([\w,\s-]+)\])?", line).groups()  # type: ignore[union-attr]
        names.add(name.lower().replace("_", "-"))
        if name.startswith("lm-"):
            inner = frozenset(one.strip() for one in (wanted or "").split(",") if one.strip())
            names |= _declared(name.removeprefix("lm-"), extras=inner, is_tested=False)
    return names


def _imported(folder: Path) -> Iterator[tuple[str, str]]:
    """Return every package that is imported anywhere, but for attempts and what only types need."""
    for path in folder.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        attempts = {
            one
            for node in ast.walk(tree)
            if isinstance(node, ast.Try) or (isinstance(node, ast.If) and _is_for_types(node))
            for statement in node.body
            for one in ast.walk(statement)
        }
        for node in ast.walk(tree):
            if node in attempts:
                continue
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            else:
                continue
            yield from ((name.partition(".")[0], path.name) for name in names)


def _distributions(owners: Mapping[str, list[str]], name: str) -> set[str]:
    names = {one.lower().replace("_", "-") for one in owners.get(name, [name])}
    return names | {BROUGHT[one] for one in names & BROUGHT.keys()}


def _is_for_types(node: ast.If) -> bool:
    return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("folder", ["src", "tests"])
def test_a_unit_declares_what_it_imports(unit: str, folder: str) -> None:
    owners = importlib.metadata.packages_distributions()
    every_extra = frozenset(_project(unit)["project"].get("optional-dependencies", {}))
    declared = _declared(unit, extras=every_extra, is_tested=folder == "tests")
    known = {unit, "docs", *sys.stdlib_module_names, f"lm_{unit}"}
    missing = {
        f"{name} in {file}"
        for name, file in _imported(ROOT / unit / folder)
        if name not in known and not _distributions(owners, name) & declared
    }
    assert missing == set()
