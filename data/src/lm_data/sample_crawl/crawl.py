"""The sample crawl: real WARC files made offline from texts whose outcome is known.

It holds presidential messages and standard-library documentation as the pages worth keeping, and
around them what a crawl is full of: copies, near copies, other languages, junk, errors and personal
data. The same configuration gives the same bytes (for one version of Python and FastWARC): dates
are given, and record ids derived from content.
"""

import base64
import hashlib
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from fastwarc.stream_io import GzipWriter
from fastwarc.warc import WarcRecord, WarcRecordType

from lm_data.sample_crawl.pages import (
    CRAWL_CONTENTS,
    SampleCrawlConfig,
    SamplePage,
    make_sample_pages,
    write_truth,
)
from lm_data.sample_crawl.sources import Report
from lm_data.sample_crawl.templates import ServedPage
from lm_shared.config import save_config
from lm_shared.files import atomic_folder, atomic_path, claim_folder

TRUTH_NAME = "truth.jsonl"
CONFIG_NAME = "config.json"
FIRST_FETCH = datetime(2026, 1, 15, tzinfo=UTC)
RECORD_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://iipc.github.io/warc-specifications/")
COMPRESSION_LEVEL = 6
WARC_VERSION = "WARC/1.0"
WARC_INFO = (
    b"software: lm_data sample crawl\r\n"
    b"format: WARC File Format 1.0\r\n"
    b"conformsTo: https://iipc.github.io/warc-specifications/specifications/warc-format/warc-1.0/\r\n"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class FetchedPage(ServedPage):
    """One answer of a server, as a crawler stores it."""

    url: str
    """Address that was asked for."""
    date: str
    """Time of the fetch, ISO 8601 in UTC."""


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


def write_sample_crawl(
    folder: Path | str, config: SampleCrawlConfig, *, report: Report | None = None
) -> CrawlReceipt:
    """Write the crawl, its ground truth and ``config.json``; ``folder`` is replaced as a whole.

    Args:
        folder: Where it goes.
        config: What it holds.
        report: Told of the progress.

    Raises:
        ValueError: More messages or modules are asked for than there are, or ``folder`` holds
            something else than an earlier sample crawl.
        FileNotFoundError: The wheel with the messages is not installed.
    """
    folder = Path(folder)
    destination = claim_folder(
        folder, "a sample crawl", markers=[TRUTH_NAME], contents=CRAWL_CONTENTS, overwrite=True
    )
    pages = make_sample_pages(config, report)
    names = [f"sample-{shard:05d}.warc.gz" for shard in range(config.num_shards)]
    with atomic_folder(destination) as partial:
        sizes: list[int] = []
        for shard, name in enumerate(names):
            dealt = pages[shard :: config.num_shards]
            sizes.append(_write_shard(partial / name, dealt, shard))
            if report is not None:
                report("writing", shard + 1, len(names))
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


def write_warc(path: Path, pages: Iterable[FetchedPage], *, file_date: str) -> int:
    """Write a warcinfo record and one response record per page, each a gzip member of its own.

    That is the form in which Common Crawl publishes them. Return the file's size in bytes.
    """
    with atomic_path(path) as partial, partial.open("wb") as stream:
        info = {"Content-Type": "application/warc-fields", "WARC-Filename": path.name}
        _write_record(stream, WarcRecordType.warcinfo, file_date, WARC_INFO, info)
        for page in pages:
            http_header = (
                f"HTTP/1.1 {page.status_line}\r\n"
                "Server: nginx\r\n"
                f"Content-Type: {page.content_type}\r\n"
                f"Content-Length: {len(page.body)}\r\n"
                "\r\n"
            ).encode()
            headers = {
                "Content-Type": "application/http; msgtype=response",
                "WARC-Target-URI": page.url,
                "WARC-Payload-Digest": _digest(page.body),
            }
            block = http_header + page.body
            _write_record(stream, WarcRecordType.response, page.date, block, headers)
        return stream.tell()


def _write_record(
    stream: BinaryIO, kind: WarcRecordType, date: str, block: bytes, headers: dict[str, str]
) -> None:
    # A random id would make every crawl differ; this one is as unique as the content is.
    described = [value for name, value in headers.items() if name != "Content-Type"]
    identity = "\n".join([str(kind), date, _digest(block), *described])
    record = WarcRecord()
    record.init_headers(kind, f"uuid:{uuid.uuid5(RECORD_NAMESPACE, identity)}".encode())
    record.headers.status_line = WARC_VERSION
    record.headers["WARC-Date"] = date
    for name, value in headers.items():
        record.headers[name] = value
    record.set_bytes_content(block)
    writer = GzipWriter(stream, compression_level=COMPRESSION_LEVEL)
    record.write(writer, checksum_data=True)
    writer.finish()


def _digest(data: bytes) -> str:
    return "sha1:" + base64.b32encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode()
