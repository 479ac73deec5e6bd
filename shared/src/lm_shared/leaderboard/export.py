"""An entry as a project of its own: ``uv run main.py`` makes it again, with the code inside."""

import importlib
import importlib.metadata
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_shared.config import save_config
from lm_shared.files import atomic_folder, claim_folder, resolve_path, write_text
from lm_shared.leaderboard.entry import Submission, read_entry
from lm_shared.leaderboard.rules import Division

_PROJECT_FILE = "pyproject.toml"
# What the project makes, which took hours, is none of it.
_CONTENTS = ("src", "recipe.json", "main.py", "README.md", "uv.lock", "__pycache__")
_PROJECT_NAME = 'name = "leaderboard-entry"'
_REQUIREMENT = re.compile(r"([\w.-]+)\s*(?:\[([\w,\s.-]+)\])?")
_EXTRA = re.compile(r"extra\s*==\s*[\"']([\w.-]+)[\"']")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")  # PEP 508
_VERSION = re.compile(  # PEP 440: epoch, release, pre, post, dev, local
    r"(?:[0-9]+!)?[0-9]+(?:\.[0-9]+)*(?:(?:a|b|rc)[0-9]+)?(?:\.post[0-9]+)?(?:\.dev[0-9]+)?"
    r"(?:\+[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*)?"
)
_README = """# {name}

{description}

Division {division}: {title} Claimed: {score:.4f} {unit} in {wall_s:.0f} s.

```sh
uv run main.py{arguments}
```

It runs `recipe.json` with the code in `src` and writes the folder `entry`, which
`{verify} entry` checks. `uv lock` pins what `pyproject.toml` names.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Project:
    """What a unit's code needs in order to stand alone."""

    distribution: str
    """The unit's own, such as ``lm-basics``; its code goes along, as does that of all units that
    it imports."""
    main: str
    """Text of ``main.py``, which reads ``recipe.json`` beside it and writes ``entry``."""
    recipe: Any
    """Configuration that goes into ``recipe.json``."""
    verify: str
    """Command that verifies an entry, without its folder."""
    arguments: str = ""
    """What ``main.py`` must be given."""
    data: tuple[str, ...] = ()
    """Distributions that serve as data: their code, and what that needs, is never imported."""


def export_entry(
    entry: Path, output: Path, *, division: Division, project: Project, overwrite: bool = False
) -> None:
    """Write the project: code, recipe, pinned requirements, main.py and a README.

    Raises:
        FileNotFoundError: ``entry`` is none.
        ValueError: it is damaged, a version in it is none, or ``output`` holds something
            else, such as what an earlier project has made, or without ``overwrite`` an earlier
            project.
    """
    submission = read_entry(entry).submission
    _check_output(entry, output, overwrite=overwrite)
    with atomic_folder(output) as partial:
        for distribution in _vendored(project.distribution):
            package = importlib.import_module(distribution.replace("-", "_"))
            source = Path(str(package.__file__)).parent
            skipped = shutil.ignore_patterns("__pycache__", "testing")
            shutil.copytree(source, partial / "src" / source.name, ignore=skipped)
        save_config(project.recipe, partial / "recipe.json")
        write_text(partial / "main.py", project.main)
        write_text(partial / _PROJECT_FILE, _pyproject(project, submission.versions))
        write_text(partial / "README.md", _readme(project, submission, division))


def _readme(project: Project, submission: Submission, division: Division) -> str:
    return _README.format(
        name=submission.name,
        description=submission.description,
        division=division.name,
        title=division.title,
        score=submission.score,
        unit=division.score,
        wall_s=submission.wall_s,
        arguments=project.arguments and f" {project.arguments}",
        verify=project.verify,
    )


def _check_output(entry: Path, output: Path, *, overwrite: bool) -> None:
    """Raise ``ValueError`` unless the folder is new, empty, or an export to be replaced."""
    inner, outer = resolve_path(output), resolve_path(entry)
    if inner == outer or inner in outer.parents or outer in inner.parents:
        raise ValueError(f"{output} and the entry {entry} overlap: choose another folder")
    project = output / _PROJECT_FILE
    is_export = project.is_file() and _PROJECT_NAME in project.read_text(encoding="utf-8")
    claim_folder(
        output,
        "an exported entry",
        markers=[_PROJECT_FILE] if is_export else (),
        contents=_CONTENTS if is_export else (),
        overwrite=overwrite,
    )


def _pyproject(project: Project, versions: Mapping[str, str]) -> str:
    """Return the project file, pinned to the entry's versions, or else to those here."""
    names = {name for own in _vendored(project.distribution).values() for name in own}
    found = {name: versions.get(name, _version(name)) for name in sorted(names | {*project.data})}
    pins = [f"    {json.dumps(_requirement(*one))},\n" for one in found.items()]
    data_only = "".join(
        f"\n[[tool.uv.dependency-metadata]]\nname = {json.dumps(name)}\nrequires-dist = []\n"
        for name in project.data
    )
    return (
        f'[project]\n{_PROJECT_NAME}\nversion = "0.1.0"\n'
        f'requires-python = ">=3.11"\ndependencies = [\n{"".join(pins)}]\n\n'
        f"[tool.uv]\npackage = false\n{data_only}"
    )


def _requirement(name: str, version: str | None) -> str:
    """Return what pins a package, of text that anybody may have written: nothing else gets in."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a package")
    if version is None:
        return name
    if not _VERSION.fullmatch(version):
        raise ValueError(f"the entry has no version of {name}, but {version!r}")
    return f"{name}=={version.partition('+')[0]}"


def _vendored(distribution: str) -> dict[str, set[str]]:
    """Return the units that go along, and for each the packages of others that it needs."""
    found: dict[str, set[str]] = {}
    waiting: list[tuple[str, set[str]]] = [(distribution, set())]
    while waiting:
        unit, extras = waiting.pop()
        needed = found.setdefault(unit, set())
        for line in importlib.metadata.requires(unit) or ():
            match = _REQUIREMENT.match(line)
            extra = _EXTRA.search(line)
            if match is None or (extra is not None and extra[1] not in extras):
                continue
            name, inner = match[1], {one.strip() for one in (match[2] or "").split(",") if one}
            if name.startswith("lm-"):
                waiting.append((name, inner))
            else:
                needed.add(name)
    return found


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
