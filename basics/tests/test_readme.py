"""The README tells the truth."""

import re
import shlex
import subprocess
from pathlib import Path

from basics.benchmarks import ablation_tables
from basics.benchmarks.tokenizer_table import (
    BEGIN,
    CLASSES_BEGIN,
    CLASSES_END,
    END,
    render_class_table,
    render_table,
)
from lm_basics.commands.main import main
from lm_basics.leaderboard import DIVISIONS
from lm_shared.files import read_json
from lm_shared.leaderboard import write_tables as write_leaderboards
from lm_shared.testing.processes import run_python
from lm_shared.testing.readmes import readme_faults

UNIT = Path(__file__).parents[1]
README = (UNIT / "README.md").read_text(encoding="utf-8")


def _run_program(index: int, folder: Path) -> subprocess.CompletedProcess[str]:
    script = folder / "program.py"
    script.write_text(re.findall(r"```python\n(.*?)```", README, re.DOTALL)[index])
    return run_python([script.name], folder=folder)


def test_the_quick_start_runs_and_warns_of_nothing(tmp_path: Path) -> None:
    result = _run_program(0, tmp_path)
    assert result.stdout.startswith("the dog sat on the log. the")
    assert result.stdout.endswith("loss below one: True\n")
    assert result.stderr == ""


def test_the_program_about_the_tokenizer_runs(tmp_path: Path) -> None:
    result = _run_program(1, tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "the| cat|1 13\nTrue\n"
    assert result.stderr == ""


def test_the_line_that_makes_a_corpus_does(tmp_path: Path) -> None:
    (line,) = re.findall(r"^python3 (-c '.*') > corpus.txt$", README, re.MULTILINE)
    result = run_python(shlex.split(line), folder=tmp_path)
    assert result.stdout.count("<|endoftext|>") > 50
    assert len(result.stdout) > 400_000


def test_what_it_says_is_so() -> None:
    assert readme_faults(UNIT, main) == []


def test_the_tokenizer_tables_are_those_of_the_results() -> None:
    results = read_json(UNIT / "benchmarks" / "results" / "cpu" / "tokenizer.json")
    assert f"{BEGIN}\n{render_table(results)}{END}" in README
    path = UNIT / "benchmarks" / "results" / "cpu" / "text_classes.json"
    if path.is_file():
        results = read_json(path)
        assert f"{CLASSES_BEGIN}\n{render_class_table(results)}{CLASSES_END}" in README


def test_the_tables_of_results_are_those_of_the_committed_numbers(tmp_path: Path) -> None:
    copy = tmp_path / "README.md"
    copy.write_text(README, encoding="utf-8")
    ablation_tables.write_tables(ablation_tables.RESULTS, copy)
    write_leaderboards(UNIT / "leaderboard", DIVISIONS.values(), copy)
    assert copy.read_text(encoding="utf-8") == README
