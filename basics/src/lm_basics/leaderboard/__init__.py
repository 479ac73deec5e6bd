"""The leaderboard: divisions, entries, a verifier that trusts nothing, and export of an entry."""

from lm_basics.leaderboard.division_data import (
    DivisionData,
    make_laptop_data,
    open_division_data,
)
from lm_basics.leaderboard.divisions import DIVISIONS, Division, DivisionName
from lm_basics.leaderboard.entry_run import About, run_entry
from lm_basics.leaderboard.recipe import EntryRecipe, with_milestones
from lm_basics.leaderboard.verify import verify_entry

__all__ = [
    "DIVISIONS",
    "About",
    "Division",
    "DivisionData",
    "DivisionName",
    "EntryRecipe",
    "make_laptop_data",
    "open_division_data",
    "run_entry",
    "verify_entry",
    "with_milestones",
]
