"""``uv run basics``: the sub-commands of this unit, each imported when it is asked for."""

import sys
from collections.abc import Sequence

from lm_shared.command_line import Commands, run_unit

PACKAGE = "lm_basics.commands"
DESCRIPTION = "Tokenizer, transformer and training loop."
COMMANDS: Commands = {
    "download": (
        "download:download",
        "Download a corpus; what an interrupted command has left is gone on with.",
    ),
    "train-tokenizer": (
        "train_tokenizer:train_tokenizer",
        "Train byte-level BPE and write a tokenizer folder in the Hugging Face layout.",
    ),
    "encode": (
        "encode:encode",
        "Encode documents, each followed by the end-of-text token; go on where a kill stopped it.",
    ),
    "compare-tokenizers": (
        "compare_tokenizers:compare_on_text",
        "Compare kinds of tokenizers on the end of a text, after training on its beginning.",
    ),
    "tokenizer-report": (
        "tokenizer_report:report_tokenizer",
        "Report on a tokenizer: long tokens, compression by file and script, glitch candidates.",
    ),
    "tokenizer-page": (
        "tokenizer_page:serve_tokenizer_page",
        "Show the tokens of any text side by side on a web page; Ctrl-C ends it.",
    ),
    "ngram": (
        "ngram:compare_ngram_models",
        "Show what n-gram models of a token file need for the tokens of another one.",
    ),
    "train": (
        "train:train_by_recipe",
        "Train, resume where an interrupted run stopped, export the model and report on the run.",
    ),
    "ablate": (
        "ablate:ablate_by_recipe",
        "Train base and variants on the default corpus, test the differences, and write a report.",
    ),
    "leaderboard": (
        "leaderboard:take_part",
        "Enter a division of the leaderboard, verify an entry, export it, or make the table.",
    ),
    "report": (
        "report:report_runs",
        "Compare training runs: loss against steps, tokens, FLOPs and time, and the final numbers.",
    ),
    "generate": (
        "generate:generate_text",
        "Continue a text with a model, as it comes; the model's own end always ends it.",
    ),
    "account": (
        "account:account_for_model",
        "Account for a model: parameters, FLOPs, memory, time and money.",
    ),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the sub-command that the command line names."""
    sys.exit(run_unit("basics", DESCRIPTION, PACKAGE, COMMANDS, argv))
