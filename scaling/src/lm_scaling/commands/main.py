"""``uv run scaling``: the sub-commands of this unit, each imported when it is asked for."""

import sys
from collections.abc import Sequence

from lm_shared.command_line import Commands, run_unit

PACKAGE = "lm_scaling.commands"
DESCRIPTION = "Scaling laws."
COMMANDS: Commands = {
    "sweep": (
        "sweep:sweep_by_recipe",
        "Train one small model per width and budget; write their table and a plan's candidates.",
    ),
    "fit": (
        "laws:fit",
        "Fit a law to a table of runs and print it, with the best size and data for each budget.",
    ),
    "plan": (
        "laws:plan_run",
        "Choose a model and its tokens for a budget, from a table of finished runs.",
    ),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the sub-command that the command line names."""
    sys.exit(run_unit("scaling", DESCRIPTION, PACKAGE, COMMANDS, argv))
