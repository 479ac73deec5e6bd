"""``data``: sample crawls, curation, and a look at its outcome."""

import sys
from collections.abc import Sequence

from lm_data.commands.curate import curate_crawl
from lm_data.commands.look import look_at_documents
from lm_data.commands.sample_crawl import sample_crawl
from lm_data.pipeline.config import CURATE_RECIPES
from lm_data.sample_crawl.config import CRAWL_RECIPES
from lm_shared.command_line import run_commands, with_recipes


def main(argv: Sequence[str] | None = None) -> None:
    """Run the sub-command that the command line names."""
    commands = {
        "sample-crawl": with_recipes(sample_crawl, CRAWL_RECIPES),
        "curate": with_recipes(curate_crawl, CURATE_RECIPES),
        "inspect": look_at_documents,
    }
    sys.exit(run_commands("data", "From web crawls to curated documents.", commands, argv))


if __name__ == "__main__":
    main()
