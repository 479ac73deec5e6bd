"""``uv run alignment``: the sub-commands of this unit, each imported when it is asked for."""

import sys
from collections.abc import Sequence

from lm_shared.command_line import Commands, run_unit

PACKAGE = "lm_alignment.commands"
DESCRIPTION = "From a model that continues text to one that answers."
COMMANDS: Commands = {
    "sft": (
        "training:fine_tune_by_recipe",
        "Fine-tune a model on the first training examples of a task, or on a file of your own.",
    ),
    "grpo": ("training:reinforce_by_recipe", "Train a model on the rewards of its own answers."),
    "dpo": (
        "preferences:prefer_by_recipe",
        "Teach a model to prefer the better of two answers, on a file of your own.",
    ),
    "evaluate": (
        "evaluate:evaluate_by_recipe",
        "Answer held-out questions and print the mean reward with its 95% interval.",
    ),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the sub-command that the command line names."""
    sys.exit(run_unit("alignment", DESCRIPTION, PACKAGE, COMMANDS, argv))


if __name__ == "__main__":
    main()
