"""``uv run systems``: the sub-commands of this unit."""

import sys
from collections.abc import Sequence

from lm_shared.command_line import run_commands
from lm_systems.commands.generate import generate_text


def main(argv: Sequence[str] | None = None) -> None:
    """Run the sub-command that the command line names."""
    commands = {"generate": generate_text}
    sys.exit(run_commands("systems", "Kernels, parallelism and inference.", commands, argv))
