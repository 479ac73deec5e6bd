"""Reading the responses of WARC files (ISO 28500), as Common Crawl and wget write them.

A WARC file is a sequence of records; compressed files hold one gzip member per record, so that a
damaged record costs only itself: the reader goes on at the next member and counts what it lost.
"""

import logging
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from fastwarc.warc import ArchiveIterator, WarcRecord, WarcRecordType

from lm_data.crawl.http_body import decode_body

logger = logging.getLogger(__name__)

WARC_SUFFIXES = (".warc", ".warc.gz", ".warc.lz4", ".warc.zst")
GZIP_MAGIC = b"\x1f\x8b\x08"
SCAN_SIZE = 1 << 20
MEMBER_WINDOW_SIZE = 1 << 14
GZIP_WINDOW_BITS = 31

OnRead = Callable[[int], None]
"""Called with the bytes of the file that lie before a record."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Response:
    """One HTTP response of a crawl."""

    record_id: str
    """``WARC-Record-ID`` without brackets; the address and date when the record has none."""
    url: str
    """``WARC-Target-URI``."""
    date: str
    """``WARC-Date`` as it stands in the file (ISO 8601)."""
    status: int | None
    """HTTP status code, or ``None`` where the record holds no HTTP header."""
    content_type: str
    """Media type in lower case without parameters; empty when unknown."""
    charset: str | None
    """Charset that the HTTP header declares; pages often lie about it."""
    body: bytes
    """Payload, with transfer and content encoding undone."""


@dataclass(kw_only=True, slots=True)
class CrawlCounts:
    """What the reader met; the bad records of a crawl are counted, never raised."""

    records: int = 0
    """Records of every type that could be read."""
    responses: int = 0
    """Responses handed out."""
    truncated: int = 0
    """Records that end before their ``Content-Length``."""
    damaged: int = 0
    """Places where the file could not be read on."""
    undecodable: int = 0
    """Bodies whose declared encoding could not be undone; they are handed out as they are."""
    oversized: int = 0
    """Responses left out because they exceed the limit."""

    def add(self, other: "CrawlCounts") -> None:
        """Add another file's counts to these."""
        for name, count in asdict(other).items():
            setattr(self, name, getattr(self, name) + count)


def find_crawl_files(crawl: Path | str | Sequence[Path | str]) -> list[Path]:
    """Return the WARC files of a folder, a file or a list of these, sorted by path.

    Raises:
        FileNotFoundError: A path does not exist.
        ValueError: There is no WARC file.
    """
    paths = [crawl] if isinstance(crawl, str | Path) else list(crawl)
    files: set[Path] = set()
    for path in map(Path, paths):
        if path.is_dir():
            files.update(child for child in path.iterdir() if child.name.endswith(WARC_SUFFIXES))
        elif path.is_file():
            files.add(path)
        else:
            raise FileNotFoundError(f"no crawl at {path}: expected a WARC file or a folder of them")
    if not files:
        raise ValueError(f"no WARC file ({', '.join(WARC_SUFFIXES)}) in {list(map(str, paths))}")
    return sorted(files)


def iterate_responses(
    path: Path | str,
    counts: CrawlCounts | None = None,
    *,
    max_body_size: int = 16 << 20,
    on_read: OnRead | None = None,
) -> Iterator[Response]:
    """Yield the responses of one WARC file in file order.

    Args:
        path: The file; gzip, lz4 and zstd are recognized by content.
        counts: Filled in while reading.
        max_body_size: Longer records are left out; a body is not inflated beyond this size.
        on_read: Called before each record.

    Raises:
        FileNotFoundError: There is no such file.
    """
    counts = CrawlCounts() if counts is None else counts
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no WARC file at {path}")
    with path.open("rb") as stream:
        for record, payload in _iterate_records(stream, counts, max_body_size, on_read):
            if record.record_type != WarcRecordType.response:
                continue
            body, is_decoded = decode_body(
                payload,
                transfer_encoding=_http_header(record, "Transfer-Encoding"),
                content_encoding=_http_header(record, "Content-Encoding"),
                max_size=max_body_size,
            )
            counts.undecodable += not is_decoded
            counts.responses += 1
            yield _read_response(record, body)
    if counts.damaged or counts.truncated:
        logger.warning("%s: %d damaged, %d truncated", path, counts.damaged, counts.truncated)


def _iterate_records(
    stream: BinaryIO, counts: CrawlCounts, max_size: int, on_read: OnRead | None
) -> Iterator[tuple[WarcRecord, bytes]]:
    """Yield records with their payload, starting again at the next gzip member after damage."""
    start: int | None = 0
    while start is not None:
        stream.seek(start)
        last = start
        truncated = counts.truncated
        records = ArchiveIterator(stream, record_types=WarcRecordType.any_type, parse_http=False)
        try:
            for record in records:
                last = start + record.stream_pos
                if on_read is not None:
                    on_read(last)
                counts.records += 1
                # Asked before reading: a record may claim more than fits into memory.
                if record.content_length > max_size:
                    counts.oversized += record.record_type == WarcRecordType.response
                    continue
                if record.record_type == WarcRecordType.response and record.is_http:
                    record.parse_http(auto_decode="none")
                payload = record.reader.read()
                # fastwarc ends a cut-off file without an error: only the length tells.
                if len(payload) < record.content_length:
                    counts.truncated += 1
                    continue
                yield record, payload
            # fastwarc also ends, without an error, where a gzip member holds nothing.
            start = _find_rest(stream, last, counts, is_counted=counts.truncated > truncated)
        except OSError:
            # fastwarc cannot go on with a stream in which it met an error, so a new iterator
            # starts behind the last record that it found.
            counts.damaged += 1
            start = _find_member(stream, last + 1)


def _find_rest(stream: BinaryIO, last: int, counts: CrawlCounts, *, is_counted: bool) -> int | None:
    """Return where a gzip file goes on behind the member at ``last``, or ``None`` at its end.

    What is neither a member nor padding counts as damage, unless it belongs to a record that
    ``is_counted`` as truncated.
    """
    stream.seek(last)
    if not stream.read(len(GZIP_MAGIC)).startswith(GZIP_MAGIC):
        return None
    end = _find_member_end(stream, last)
    if end is None:
        counts.damaged += not is_counted
        return _find_member(stream, last + 1)
    found = _find_member(stream, end)
    stream.seek(end)
    counts.damaged += found != end and _holds_data(stream, found)
    return found


def _find_member_end(stream: BinaryIO, start: int) -> int | None:
    """Return the position behind the gzip member at ``start``, or ``None`` if it is not whole."""
    stream.seek(start)
    inflater = zlib.decompressobj(GZIP_WINDOW_BITS)
    position = start
    chunk = b""
    try:
        while not inflater.eof:
            chunk = inflater.unconsumed_tail
            if not chunk:
                chunk = stream.read(MEMBER_WINDOW_SIZE)
                position += len(chunk)
            if not chunk:
                return None
            inflater.decompress(chunk, SCAN_SIZE)
    except zlib.error:
        return None
    return position - len(inflater.unused_data)


def _holds_data(stream: BinaryIO, end: int | None) -> bool:
    """Return whether anything but zero bytes, which pad files, comes before ``end``."""
    while chunk := stream.read(SCAN_SIZE if end is None else min(SCAN_SIZE, end - stream.tell())):
        if chunk.strip(b"\0"):
            return True
    return False


def _find_member(stream: BinaryIO, start: int) -> int | None:
    """Return the position of the next gzip magic number at or after ``start``."""
    # The end of each chunk is searched again with the next one: the number may lie across both.
    stream.seek(start)
    position, tail = start, b""
    while chunk := stream.read(SCAN_SIZE):
        found = (tail + chunk).find(GZIP_MAGIC)
        if found >= 0:
            return position - len(tail) + found
        position += len(chunk)
        tail = chunk[-(len(GZIP_MAGIC) - 1) :]
    return None


def _http_header(record: WarcRecord, name: str) -> str:
    headers = record.http_headers
    return (headers.get(name) or "").strip().lower() if headers is not None else ""


def _read_response(record: WarcRecord, body: bytes) -> Response:
    headers = record.http_headers
    url = (record.headers.get("WARC-Target-URI") or "").strip("<>")
    date = record.headers.get("WARC-Date") or ""
    record_id = (record.headers.get("WARC-Record-ID") or "").strip("<>")
    return Response(
        record_id=record_id or f"{url} {date}",
        url=url,
        date=date,
        status=headers.status_code if headers is not None else None,
        content_type=(record.http_content_type or "").lower(),
        charset=record.http_charset,
        body=body,
    )
