"""``uv run scaling``: the sub-commands of this unit."""

import sys
from collections.abc import Sequence

from lm_scaling.commands.fit import fit
from lm_scaling.commands.plan import plan_run
from lm_shared.command_line import run_commands


def main(argv: Sequence[str] | None = None) -> None:
    """Run the sub-command that the command line names."""
    commands = {"fit": fit, "plan": plan_run}
    sys.exit(run_commands("scaling", "Scaling laws.", commands, argv))
