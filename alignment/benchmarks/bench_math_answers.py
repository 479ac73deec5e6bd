r"""Answers in mathematics, beside math-verify on the same pairs.

``tests/math_answers.tsv`` says of each pair whether the answer is that of the reference; both
judges read the answer out of ``\boxed{}``. The pairs are ours, so their choice favours us::

    uv run --with 'math-verify[antlr4-13-2]>=0.9' python -m alignment.benchmarks.bench_math_answers
"""

import argparse
import csv
import logging
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from math_verify import parse, verify  # pyright: ignore[reportMissingImports]

from lm_alignment.verifiers import BOXED, ExactAnswer
from lm_shared.files import write_json

PAIRS = Path(__file__).parents[1] / "tests" / "math_answers.tsv"
RESULTS = Path(__file__).parent / "results" / "cpu" / "math_answers.json"


def judge_here(answer: str, reference: str) -> bool:
    """Judge with this unit's verifier."""
    return ExactAnswer(pattern=BOXED)("", rf"\boxed{{{answer}}}", reference).value == 1


def judge_there(answer: str, reference: str) -> bool:
    """Judge with math-verify."""
    return verify(parse(rf"\boxed{{{reference}}}"), parse(rf"\boxed{{{answer}}}"))


def measure(judge: Callable[[str, str], bool], rows: list[list[str]]) -> dict[str, Any]:
    """Return both kinds of errors and the mean time of a pair."""
    judge("1", "1")
    start = time.perf_counter()
    verdicts = [judge(answer, reference) for answer, reference, _ in rows]
    elapsed_s = time.perf_counter() - start
    accepted, refused = (
        [row[:2] for row, verdict in zip(rows, verdicts, strict=True) if (row[2], verdict) == kind]
        for kind in (("0", True), ("1", False))
    )
    return {
        "wrong_accepted": len(accepted),
        "right_refused": len(refused),
        "ms_per_pair": 1e3 * elapsed_s / len(rows),
        "accepted": accepted,
        "refused": refused,
    }


def main() -> None:
    """Judge all pairs twice and write the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    # math-verify warns of every answer that it cannot read.
    logging.disable(logging.WARNING)
    with PAIRS.open(encoding="utf-8") as file:
        _, *rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
    results = {
        "pairs": len(rows),
        "right": sum(row[2] == "1" for row in rows),
        "python": platform.python_version(),
        "math_verify": version("math-verify"),
        "here": measure(judge_here, rows),
        "there": measure(judge_there, rows),
    }
    write_json(options.output, results)
    for name in ("here", "there"):
        print(name, {key: value for key, value in results[name].items() if "_" in key})


if __name__ == "__main__":
    main()
