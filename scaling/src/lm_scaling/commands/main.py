"""``uv run scaling``: the sub-commands of this unit."""

import sys

from lm_scaling.commands.fit import fit
from lm_scaling.commands.plan import plan_run
from lm_shared.command_line import run_commands


def main() -> None:
    """Run the sub-command that the arguments name."""
    sys.exit(run_commands("scaling", "Scaling laws.", {"fit": fit, "plan": plan_run}))
