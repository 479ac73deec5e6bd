"""A leaderboard that knows nothing of models: who adds up a long sequence best, term by term.

It stands for the units to come, and holds the frame to what it says of itself.
"""

import math
import time
from dataclasses import dataclass
from pathlib import Path

from lm_shared.config import load_config, save_config
from lm_shared.leaderboard import (
    About,
    Check,
    Division,
    EntryRecord,
    Project,
    Submission,
    Verification,
    check_data,
    check_origin,
    check_replayed,
    check_speed,
    division_of,
    judge_entry,
    read_steps,
    refuse_finished,
    submit_entry,
)
from lm_shared.leaderboard.rules import RUN_NAME
from lm_shared.runs import load_receipt, record_run

DIVISIONS = {
    "sums": Division(
        name="sums",
        title="Least error of a sum.",
        time_limit_s=60,
        score="error",
        max_cores=1,
        gpu=None,
    )
}
DATA = {"sequence": "0" * 64}
PROJECT = Project(distribution="lm-shared", main="", recipe=None, verify="sums verify")


@dataclass(frozen=True, kw_only=True, slots=True)
class SumRecipe:
    """How a sequence is added up."""

    num_terms: int
    """Terms of 1 + 1/2 + 1/4 + …"""
    factor: float = 1.0
    """What each is multiplied by; a cheat is not 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SumRecord(EntryRecord):
    """What an entry's files say."""

    recipe: SumRecipe
    """How it was added up."""


def partial_sums(recipe: SumRecipe) -> list[float]:
    """Return the sum after each term."""
    return [recipe.factor * (2 - 2.0**-i) for i in range(recipe.num_terms)]


def error(total: float) -> float:
    """Return the score: how far a sum is from all of the sequence."""
    return abs(2 - total)


def run_entry(folder: Path, recipe: SumRecipe, *, name: str = "sum", shown: float = 0.0) -> None:
    """Write an entry; what the record shows may be off by ``shown``."""
    refuse_finished(folder)
    with record_run(folder / RUN_NAME, recipe) as record:
        for step, total in enumerate(partial_sums(recipe), start=1):
            time.sleep(0.002)
            record.metrics.write(step=step, sum=total + shown)
    save_config(recipe, folder / "recipe.json")
    submit_entry(
        folder,
        DIVISIONS["sums"],
        about=About(name=name, authors="nobody", description="adds"),
        score=error(partial_sums(recipe)[-1]),
        device="cpu",
        num_threads=1,
        measure="sum",
        data=DATA,
    )


def verify_entry(folder: Path) -> Verification:
    """Add up again and apply all rules."""
    division = division_of(folder, DIVISIONS.values())

    def replay(record: SumRecord) -> list[Check]:
        honest = partial_sums(SumRecipe(num_terms=record.recipe.num_terms))
        found, claimed = error(honest[-1]), record.submission.score
        same = math.isclose(found, claimed, abs_tol=1e-9)
        replayed = check_replayed(
            record, "sum", honest, first_step=1, tolerance=1e-9, wording="sums differ by {}"
        )
        score = Check(rule="score", passed=same, detail=f"claimed {claimed}, found {found}")
        return [score, replayed, check_speed(record, [0.002] * len(honest))]

    return judge_entry(
        folder,
        division,
        read_record=_read_record,
        rules=lambda record: [
            ("origin", lambda: check_origin(is_official=False)),
            ("data", lambda: check_data(record, DATA)),
            ("replay", lambda: replay(record)),
        ],
    )


def _read_record(folder: Path, submission: Submission) -> SumRecord:
    recipe = load_config(SumRecipe, folder / "recipe.json")
    return SumRecord(
        folder=folder,
        submission=submission,
        receipt=load_receipt(folder / RUN_NAME),
        steps=read_steps(folder, "sum", num_steps=recipe.num_terms),
        flops=recipe.num_terms,
        recipe=recipe,
    )
