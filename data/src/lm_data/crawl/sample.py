"""The sample crawl: real WARC files made offline from texts whose outcome is known.

It holds presidential messages and standard-library documentation as the pages worth keeping, and
around them what a crawl is full of: copies, near copies, other languages, junk, errors and personal
data. The same configuration gives the same bytes (for one version of Python and zlib).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lm_data.crawl.archive import FetchedPage, write_warc
from lm_data.crawl.sample_pages import SampleCrawlConfig, SamplePage, make_sample_pages
from lm_data.crawl.truth import write_truth
from lm_data.output_folder import check_output_folder
from lm_shared.config import save_config
from lm_shared.files import atomic_folder

__all__ = ["CrawlReceipt", "SampleCrawlConfig", "write_sample_crawl"]

TRUTH_NAME = "truth.jsonl"
CONFIG_NAME = "config.json"
FIRST_FETCH = datetime(2026, 1, 15, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class CrawlReceipt:
    """What was written."""

    paths: tuple[Path, ...]
    """The WARC files."""
    truth_path: Path
    """The ground truth, one JSON object a line."""
    num_pages: int
    """Pages in all files."""
    num_bytes: int
    """Size of the WARC files."""
    pages_by_kind: dict[str, int]
    """Number of pages of each kind."""


def write_sample_crawl(folder: Path | str, config: SampleCrawlConfig) -> CrawlReceipt:
    """Write the crawl, its ground truth and ``config.json``; ``folder`` is replaced as a whole.

    Raises:
        ValueError: More messages or modules are asked for than there are, or ``folder`` holds
            something else than an earlier sample crawl.
        ModuleNotFoundError: The wheel with the messages is not installed.
    """
    folder = Path(folder)
    destination = check_output_folder(folder, TRUTH_NAME)
    pages = make_sample_pages(config)
    names = [f"sample-{shard:05d}.warc.gz" for shard in range(config.num_shards)]
    with atomic_folder(destination) as partial:
        sizes = [
            _write_shard(partial / name, pages[shard :: config.num_shards], shard)
            for shard, name in enumerate(names)
        ]
        write_truth(partial / TRUTH_NAME, (page.truth for page in pages))
        save_config(config, partial / CONFIG_NAME)
    return CrawlReceipt(
        paths=tuple(folder / name for name in names),
        truth_path=folder / TRUTH_NAME,
        num_pages=len(pages),
        num_bytes=sum(sizes),
        pages_by_kind=dict(sorted(Counter(page.truth.kind for page in pages).items())),
    )


def _write_shard(path: Path, pages: Sequence[SamplePage], shard: int) -> int:
    start = FIRST_FETCH + timedelta(days=shard)
    dates = [
        f"{start + timedelta(seconds=second):%Y-%m-%dT%H:%M:%SZ}"
        for second in range(len(pages) + 1)
    ]
    fetched = (
        FetchedPage(
            url=page.truth.url,
            date=date,
            body=page.body,
            status_line=page.status_line,
            content_type=page.content_type,
        )
        for page, date in zip(pages, dates[1:], strict=True)
    )
    return write_warc(path, fetched, file_date=dates[0])
