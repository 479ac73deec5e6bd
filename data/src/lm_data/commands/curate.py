"""From a crawl to a corpus: ``data sample-crawl``, ``data curate`` and ``data inspect``."""

import textwrap
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from lm_data.pipeline.steps import CORPUS_CONTENTS, CURATE_RECIPES, CurateConfig
from lm_data.sample_crawl.pages import CRAWL_CONTENTS, CRAWL_RECIPES, SampleCrawlConfig
from lm_shared.command_options import PATH, Least, Overwrite, There, with_recipes
from lm_shared.files import claim_folder
from lm_shared.wording import counted, free_output, wrote

if TYPE_CHECKING:
    from lm_data.pipeline.receipts import CurateReceipt

DOCUMENTS = Path("runs/documents")
EXCERPT_SIZE = 240


def sample_crawl(
    config: SampleCrawlConfig,
    *,
    output: Path = Path("runs/crawl"),
    overwrite: Overwrite = False,
) -> None:
    """Write a sample crawl: WARC files, truth.jsonl and config.json.

    Args:
        config: What the crawl holds.
        output: Folder of the crawl.
        overwrite: Replace an earlier crawl, as a whole.
    """
    from lm_data.sample_crawl.crawl import write_sample_crawl
    from lm_shared.display import progress

    claim_folder(
        output,
        "a sample crawl",
        markers=["truth.jsonl"],
        contents=CRAWL_CONTENTS,
        overwrite=overwrite,
    )
    with progress(counted=["rendering", "writing"]) as report:
        receipt = write_sample_crawl(output, config, report=report)
    print(f"{counted(receipt.num_pages, 'page')}, {receipt.num_bytes / 1e6:.1f} MB of WARC")
    for kind, count in receipt.pages_by_kind.items():
        print(f"  {kind:<16} {count:>6}")
    then = ("data", "curate", "--crawl", output, *free_output(DOCUMENTS))
    print(wrote(output, then=then))


sample_crawl_by_recipe = with_recipes(sample_crawl, CRAWL_RECIPES)
"""``data sample-crawl``: a recipe by its name, and the options of ``sample_crawl``."""


def curate_crawl(
    config: CurateConfig,
    *,
    crawl: Path = Path("runs/crawl"),
    output: Path = DOCUMENTS,
    workers: Annotated[int, Least(1)] = 1,
    overwrite: Overwrite = False,
) -> None:
    """Curate a crawl into documents with a reason for every drop.

    Args:
        config: Settings of all steps.
        crawl: A WARC file or a folder of them.
        output: Folder of the documents.
        workers: Processes; their number does not change the result.
        overwrite: Replace earlier documents, as a whole.
    """
    from lm_data.crawl.warc import find_crawl_files
    from lm_data.pipeline.run import curate
    from lm_shared.display import progress

    find_crawl_files(crawl)
    claim_folder(
        output,
        "a curated corpus",
        markers=["curation.json"],
        contents=CORPUS_CONTENTS,
        overwrite=overwrite,
    )
    with progress() as report:
        receipt = curate(crawl, output, config, workers=workers, report=report)
    print_attrition(receipt)
    print(wrote(output, then=("data", "inspect", "--documents", output)))


curate_by_recipe = with_recipes(curate_crawl, CURATE_RECIPES)
"""``data curate``: a recipe by its name, and the options of ``curate_crawl``."""


def look_at_documents(
    documents: Path = DOCUMENTS,
    *,
    examples: Annotated[int, Least(0)] = 2,
    truth: Annotated[Path | None, PATH, There()] = None,
) -> None:
    """Print the attrition and a few documents: kept ones, and dropped ones of every reason.

    Args:
        documents: Outcome of data curate.
        examples: Documents per reason.
        truth: truth.jsonl of a sample crawl, to compare with.
    """
    from lm_data.pipeline.receipts import read_receipt
    from lm_data.sample_crawl.audit import compare_with_truth
    from lm_data.shards import list_shards, read_shard

    print_attrition(read_receipt(documents))
    if truth is not None:
        audit = compare_with_truth(documents, truth)
        print(f"\nprecision {audit.precision:.4f}, recall {audit.recall:.4f}")
        for kind in audit.kinds:
            print(
                f"  {kind.kind:<16} {kind.pages:>5} pages {kind.kept:>5} kept {kind.wrong:>4} wrong"
            )
    groups: defaultdict[str, list[Any]] = defaultdict(list)
    for split in ("train", "dropped"):
        for path in list_shards(documents, split):
            for document in read_shard(path):
                title = split if document.is_kept else f"{document.dropped_by}: {document.reason}"
                if len(groups[title]) < examples:
                    groups[title].append(document)
    for title, chosen in groups.items():
        print(f"\n== {title}")
        for document in chosen:
            excerpt = textwrap.shorten(document.text, EXCERPT_SIZE, placeholder=" [...]")
            print(f"{document.url}\n    {excerpt or '(no text)'}")


def print_attrition(receipt: "CurateReceipt") -> None:
    """Print what entered, what each step dropped and why, and what is left."""
    print(f"{'documents in':<18} {receipt.documents_in:>7}")
    for step, num_dropped, left in receipt.waterfall:
        print(f"{step:<18} {-num_dropped:>7} {left:>8} left")
        for reason, count in receipt.dropped.get(step, {}).items():
            print(f"    {reason:<22} {count:>6}")
    for split in ("train", "validation"):
        size = receipt.text_bytes[split] / 1e6
        print(f"{split:<18} {receipt.documents[split]:>7} {size:>8.2f} MB")
    names = {name: name.removeprefix("num_").replace("_", " ") for name in receipt.masked}
    masked = ", ".join(f"{names[name]} {count:,}" for name, count in receipt.masked.items())
    print(f"masked: {masked or 'nothing'}; boilerplate lines removed: {receipt.removed_lines:,}")
