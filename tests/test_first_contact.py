"""Whatever the READMEs tell people to type works as typed, in that order."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# uv would look for a project; the commands are installed beside this Python.
PRELUDE = 'set -e; uv() { shift; "$@"; }\n'

# They fetch from the net, serve until Ctrl-C, or take minutes.
LONG = ("basics download", "basics tokenizer-page", "basics ablate", "basics leaderboard")


def typed(unit: str, heading: str) -> list[str]:
    """Return the lines of the shell blocks and the commands of the tables under a heading."""
    text = (ROOT / unit / "README.md").read_text(encoding="utf-8")
    section = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    found = re.findall(r"```sh\n(.*?)```|^\| `uv run ([^`]+)`", section, re.DOTALL | re.MULTILINE)
    lines = [line for block, row in found for line in (block.splitlines() or [f"uv run {row}"])]
    return [line for line in lines if not line.startswith(tuple(f"uv run {one}" for one in LONG))]


def type_in(lines: list[str], folder: Path) -> None:
    """Run the lines in a shell that stops at the first that fails."""
    scripts = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{scripts}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        ["bash", "-c", PRELUDE + "\n".join(lines)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert "Traceback" not in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("unit", "heading"),
    [("alignment", "Quick start"), ("scaling", "Commands"), ("data", "Commands")],
)
def test_commands_work_as_typed(unit: str, heading: str, tmp_path: Path) -> None:
    lines = typed(unit, heading)
    assert len(lines) >= 3
    type_in(lines, tmp_path)


@pytest.mark.slow
def test_the_tour_works_as_typed(tmp_path: Path) -> None:
    lines = typed("basics", "Commands")
    first = next(i for i, line in enumerate(lines) if "texts/*.txt" in line)
    assert first > 10
    # Its model is what the commands of systems are tried on.
    engine = typed("systems", "Commands")
    assert engine
    type_in([*lines[:first], *engine], tmp_path)


@pytest.mark.slow
def test_own_texts_and_pages_become_models(tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("to be or not to be, that is the question. " * 3_000)
    lines = typed("basics", "Commands")
    first = next(i for i, line in enumerate(lines) if "texts/*.txt" in line)
    # The default recipe takes minutes.
    small = "train default --d-model 32 --num-layers 1 --num-heads 2 --steps 2"
    own = [line.replace("train default", small) for line in lines[first:]]
    type_in(["uv run data sample-crawl smoke --output pages", *own], tmp_path)
