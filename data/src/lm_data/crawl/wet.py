"""Reading WET files: the texts that Common Crawl has extracted from the pages of its WARC files.

A WET file is a WARC file whose records are of the type ``conversion``: UTF-8 text under the address
of its page, with the languages that Common Crawl has identified.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fastwarc.warc import WarcRecordType

from lm_data.crawl.warc import CrawlCounts, OnRead, iterate_records

WET_SUFFIX = ".wet"


@dataclass(frozen=True, kw_only=True, slots=True)
class ExtractedText:
    """The text of one page."""

    record_id: str
    """``WARC-Record-ID`` without brackets; the address and date when the record has none."""
    url: str
    """``WARC-Target-URI``."""
    date: str
    """``WARC-Date`` as it stands in the file (ISO 8601)."""
    languages: str
    """``WARC-Identified-Content-Language``: ISO 639-3 codes between commas, the most used language
    first; empty when unknown."""
    text: str
    """The text; bytes that are not UTF-8 are replaced."""
    num_bytes: int
    """Size of the text in the file."""


def is_wet(path: Path | str) -> bool:
    """Return whether the name of a file says that it is WET."""
    return WET_SUFFIX in Path(path).suffixes


def iterate_extracted_texts(
    path: Path | str,
    counts: CrawlCounts | None = None,
    *,
    max_body_size: int = 16 << 20,
    on_read: OnRead | None = None,
) -> Iterator[ExtractedText]:
    """Yield the texts of one WET file in file order.

    Args:
        path: The file; gzip, lz4 and zstd are recognized by content.
        counts: Filled in while reading.
        max_body_size: Longer records are left out.
        on_read: Told how far the file is read.

    Raises:
        FileNotFoundError: There is no such file.
    """
    counts = CrawlCounts() if counts is None else counts
    for record in iterate_records(
        path,
        counts,
        record_type=WarcRecordType.conversion,
        max_size=max_body_size,
        on_read=on_read,
    ):
        counts.responses += 1
        yield ExtractedText(
            record_id=record.record_id,
            url=record.url,
            date=record.date,
            languages=record.languages,
            text=record.payload.decode(errors="replace"),
            num_bytes=len(record.payload),
        )
