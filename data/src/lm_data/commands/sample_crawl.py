"""``data sample-crawl``: write a crawl whose ground truth is known."""

from pathlib import Path

from lm_data.sample_crawl.pages import CRAWL_CONTENTS, CRAWL_RECIPES, SampleCrawlConfig
from lm_shared.command_options import Overwrite, with_recipes
from lm_shared.files import claim_folder
from lm_shared.wording import wrote


def sample_crawl(
    config: SampleCrawlConfig,
    *,
    output: Path = Path("runs/crawl"),
    overwrite: Overwrite = False,
) -> None:
    """Write a sample crawl: WARC files, ``truth.jsonl`` and ``config.json``.

    Args:
        config: What the crawl holds.
        output: Folder of the crawl.
        overwrite: Replace an earlier crawl, as a whole.
    """
    from lm_data.sample_crawl.crawl import write_sample_crawl

    claim_folder(
        output,
        "a sample crawl",
        markers=["truth.jsonl"],
        contents=CRAWL_CONTENTS,
        overwrite=overwrite,
    )
    receipt = write_sample_crawl(output, config)
    print(f"{receipt.num_pages} pages, {receipt.num_bytes / 1e6:.1f} MB of WARC")
    for kind, count in receipt.pages_by_kind.items():
        print(f"  {kind:<16} {count:>6}")
    print(wrote(output, then=("data", "curate", "--crawl", output)))


sample_crawl_by_recipe = with_recipes(sample_crawl, CRAWL_RECIPES)
"""``data sample-crawl``: a recipe by its name, and the options of ``sample_crawl``."""
