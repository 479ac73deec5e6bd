"""The leaderboard of trained models: divisions, data, a run by the rules, a verifier that replays.

What all leaderboards share is ``lm_shared.leaderboard``.
"""

from lm_basics.leaderboard.division_data import (
    DivisionData,
    make_laptop_data,
    open_division_data,
)
from lm_basics.leaderboard.divisions import (
    DIVISIONS,
    DivisionName,
    EntryRecipe,
    TrainingDivision,
    with_milestones,
)
from lm_basics.leaderboard.entry_run import run_entry
from lm_basics.leaderboard.export import export_entry
from lm_basics.leaderboard.verify import verify_entry
from lm_shared.leaderboard import About

__all__ = [
    "DIVISIONS",
    "About",
    "DivisionData",
    "DivisionName",
    "EntryRecipe",
    "TrainingDivision",
    "export_entry",
    "make_laptop_data",
    "open_division_data",
    "run_entry",
    "verify_entry",
    "with_milestones",
]
