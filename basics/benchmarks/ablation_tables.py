"""The tables of the shipped ablations in the unit's README, and the figures beside their numbers.

The studies are run on the default corpus first, each into a folder of its own below one folder::

    for study in learning-rate norm position feedforward optimizer batch-size; do
        uv run basics ablate --output ablations/$study --jobs 2 $study
    done
    uv run python -m basics.benchmarks.ablation_tables ablations

Without a folder the tables are made again from the committed numbers.
"""

import argparse
import shutil
from pathlib import Path

from lm_basics.ablation.page import curve_figure, effect_figure, markdown_table
from lm_basics.ablation.results import StudyResults
from lm_shared.config import load_config
from lm_shared.figures import write_png
from lm_shared.files import replace_between

STUDIES = ("learning-rate", "norm", "position", "feedforward", "optimizer", "batch-size")
RESULTS = Path(__file__).parent / "results" / "cpu" / "ablations"
README = Path(__file__).parent.parent / "README.md"
BEGIN = "<!-- ablations: begin -->"
END = "<!-- ablations: end -->"


def collect(runs: Path, results: Path) -> None:
    """Copy the numbers of every study that was run, and draw its figures beside them.

    Raises:
        FileNotFoundError: there is none.
    """
    found = [name for name in STUDIES if (runs / name / "results.json").is_file()]
    if not found:
        raise FileNotFoundError(f"{runs} holds none of the studies {', '.join(STUDIES)}")
    for name in found:
        results.mkdir(parents=True, exist_ok=True)
        shutil.copy(runs / name / "results.json", results / f"{name}.json")
        numbers = load_config(StudyResults, results / f"{name}.json")
        write_png(curve_figure(numbers), results / f"{name}-curves.png")
        write_png(effect_figure(numbers), results / f"{name}-effects.png")


def render_tables(results: Path) -> str:
    """Return the tables of the committed studies as Markdown."""
    parts = []
    for name in STUDIES:
        path = results / f"{name}.json"
        if path.is_file():
            place = f"benchmarks/results/cpu/ablations/{name}"
            parts.append(
                f"### {name}\n\n{markdown_table(load_config(StudyResults, path))}\n"
                f"![Effects with their intervals]({place}-effects.png)\n\n"
                f"![Learning curves]({place}-curves.png)\n"
            )
    return "\n".join(parts)


def write_tables(results: Path, readme: Path) -> None:
    """Replace the block between the two markers of a README.

    Raises:
        ValueError: the markers are missing.
    """
    replace_between(readme, BEGIN, END, f"\n\n{render_tables(results)}\n")


def main() -> None:
    """Collect the studies, if a folder is given, and write the README's tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("runs", type=Path, nargs="?", help="folder with a folder for each study")
    options = parser.parse_args()
    if options.runs is not None:
        collect(options.runs, RESULTS)
    write_tables(RESULTS, README)
    print(f"wrote {README.name}")


if __name__ == "__main__":
    main()
