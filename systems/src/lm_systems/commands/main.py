"""``uv run systems``: the sub-commands of this unit, each imported when it is asked for."""

import sys
from collections.abc import Sequence

from lm_shared.command_line import Commands, run_unit

PACKAGE = "lm_systems.commands"
DESCRIPTION = "Kernels, profiling, parallelism and inference."
COMMANDS: Commands = {
    "generate": (
        "generate:generate_text",
        "Continue texts with a model, many at once; the model's own end always ends one.",
    ),
    "bench-step": (
        "bench_step:bench_step_by_size",
        "Time forward pass, backward pass and optimizer of a model's training step.",
    ),
    "bench-collectives": (
        "bench_collectives:bench_collectives",
        "Time all-reduce, all-gather and reduce-scatter among processes.",
    ),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the sub-command that the command line names."""
    sys.exit(run_unit("systems", DESCRIPTION, PACKAGE, COMMANDS, argv))
