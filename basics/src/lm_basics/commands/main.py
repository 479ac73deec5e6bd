"""``uv run basics``: the sub-commands of this unit."""

import sys
from collections.abc import Sequence

from lm_shared.command_line import load_commands, run_commands

_COMMANDS = {
    "download": "download:download",
    "train-tokenizer": "train_tokenizer:train_tokenizer",
    "encode": "encode:encode",
    "compare-tokenizers": "compare_tokenizers:compare_on_text",
    "tokenizer-report": "tokenizer_report:report_tokenizer",
    "tokenizer-page": "tokenizer_page:serve_tokenizer_page",
    "ngram": "ngram:compare_ngram_models",
    "train": "train:train_by_recipe",
    "ablate": "ablate:ablate_by_recipe",
    "leaderboard": "leaderboard:take_part",
    "report": "report:report_runs",
    "generate": "generate:generate_text",
    "account": "account:account_for_model",
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the sub-command that the command line names; the others are not imported."""
    commands = load_commands("lm_basics.commands", _COMMANDS, argv)
    sys.exit(run_commands("basics", "Tokenizer, transformer and training loop.", commands, argv))
