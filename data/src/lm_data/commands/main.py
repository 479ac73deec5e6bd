"""``uv run data``: the sub-commands of this unit, each imported when it is asked for."""

import sys
from collections.abc import Sequence

from lm_shared.command_line import Commands, run_unit

PACKAGE = "lm_data.commands"
DESCRIPTION = "From web crawls to curated documents."
COMMANDS: Commands = {
    "sample-crawl": (
        "curate:sample_crawl_by_recipe",
        "Write a sample crawl: WARC files, truth.jsonl and config.json.",
    ),
    "curate": (
        "curate:curate_by_recipe",
        "Curate a crawl into documents with a reason for every drop.",
    ),
    "inspect": (
        "curate:look_at_documents",
        "Print the attrition and a few documents: kept ones, and dropped ones of every reason.",
    ),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the sub-command that the command line names."""
    sys.exit(run_unit("data", DESCRIPTION, PACKAGE, COMMANDS, argv))


if __name__ == "__main__":
    main()
