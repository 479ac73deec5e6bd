"""``alignment``: fine-tuning, reinforcement learning, evaluation."""

import sys
from collections.abc import Sequence

from lm_alignment.commands.evaluate import evaluate
from lm_alignment.commands.grpo import reinforce
from lm_alignment.commands.sft import fine_tune
from lm_alignment.recipes import EVALUATION_RECIPES, GRPO_RECIPES, SFT_RECIPES
from lm_shared.command_line import run_commands, with_recipes


def main(argv: Sequence[str] | None = None) -> None:
    """Run the sub-command that the command line names."""
    commands = {
        "sft": with_recipes(fine_tune, SFT_RECIPES),
        "grpo": with_recipes(reinforce, GRPO_RECIPES),
        "evaluate": with_recipes(evaluate, EVALUATION_RECIPES),
    }
    description = "From a model that continues text to one that answers."
    sys.exit(run_commands("alignment", description, commands, argv))


if __name__ == "__main__":
    main()
