"""``uv run basics``: the sub-commands of this unit."""

import sys
from collections.abc import Sequence

from lm_basics.commands.compare_tokenizers import compare_on_text
from lm_basics.commands.encode import encode
from lm_basics.commands.generate import generate_text
from lm_basics.commands.tokenizer_page import serve_tokenizer_page
from lm_basics.commands.tokenizer_report import report_tokenizer
from lm_basics.commands.train import RECIPES, train_model
from lm_basics.commands.train_tokenizer import train_tokenizer
from lm_shared.command_line import run_commands, with_recipes


def main(argv: Sequence[str] | None = None) -> None:
    """Run the sub-command that the command line names."""
    commands = {
        "train-tokenizer": train_tokenizer,
        "encode": encode,
        "compare-tokenizers": compare_on_text,
        "tokenizer-report": report_tokenizer,
        "tokenizer-page": serve_tokenizer_page,
        "train": with_recipes(train_model, RECIPES),
        "generate": generate_text,
    }
    sys.exit(run_commands("basics", "Tokenizer, transformer and training loop.", commands, argv))
