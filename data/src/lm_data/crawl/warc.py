"""Reading the responses of WARC files (ISO 28500), as Common Crawl and wget write them.

A WARC file is a sequence of records. FastWARC reads it; where FastWARC meets damage, ``recovery``
reads the rest, so that a damaged record costs only itself, and what was lost is counted.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path

from fastwarc.warc import ArchiveIterator, WarcRecord, WarcRecordType

from lm_data.crawl.decompression import (
    GZIP_MEMBER,
    DamagedDataError,
    Stream,
    holds_data,
    read_member,
    read_members,
)
from lm_data.crawl.http_body import CUT_OFF, OVERSIZED, UNDECODABLE, decode_body
from lm_data.crawl.http_message import parse_message
from lm_data.crawl.recovery import recover_records

logger = logging.getLogger(__name__)

WARC_SUFFIXES = (".warc", ".warc.gz", ".warc.lz4", ".warc.zst", ".wet", ".wet.gz", ".wet.zst")
PAGE_TYPES = ("text/", "application/xhtml")
PIECE_SIZE = 1 << 20

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
    """Charset that the HTTP header declares; some servers declare one for all pages."""
    body: bytes
    """Payload, with transfer and content encoding undone."""
    problem: str | None = None
    """What kept the body from being decoded whole: ``cut_off``, ``undecodable_body`` (it is left as
    it was sent) or ``oversized_body`` (it is left out)."""


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
    """Places that could not be read, and records whose length is missing or wrong."""
    cut_off: int = 0
    """Bodies that were cut off or damaged in their encoding; what could be decoded is kept."""
    undecodable: int = 0
    """Bodies in an encoding that could not be undone; they are handed out as they are."""
    oversized: int = 0
    """Responses that exceed the limit, as they are or decoded."""

    def __str__(self) -> str:
        counted = [f"{count} {name}" for name, count in asdict(self).items() if count]
        return ", ".join(counted).replace("_", " ") or "nothing"

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
    for record in iterate_records(
        path,
        counts,
        record_type=WarcRecordType.response,
        max_size=max_body_size,
        on_read=on_read,
    ):
        response = _read_response(record, max_body_size)
        counts.cut_off += response.problem == CUT_OFF
        counts.undecodable += response.problem == UNDECODABLE
        counts.oversized += response.problem == OVERSIZED
        counts.responses += 1
        yield response


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """A record of the type that is asked for."""

    record_id: str
    """``WARC-Record-ID`` without brackets; the address and date when the record has none."""
    url: str
    """``WARC-Target-URI``."""
    date: str
    """``WARC-Date`` as it stands in the file (ISO 8601)."""
    languages: str
    """``WARC-Identified-Content-Language``; empty when unknown."""
    payload: bytes
    """What follows the header."""


def iterate_records(
    path: Path | str,
    counts: CrawlCounts,
    *,
    record_type: WarcRecordType,
    max_size: int,
    on_read: OnRead | None = None,
) -> Iterator[Record]:
    """Yield the records of one type, in file order.

    Args:
        path: The file; gzip, lz4 and zstd are recognized by content.
        counts: Filled in while reading, but for ``responses`` and what is wrong with their bodies.
        record_type: Records of other types are counted and passed over.
        max_size: Longer records are left out.
        on_read: Told how far the file is read.

    Raises:
        FileNotFoundError: There is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no WARC file at {path}")
    with path.open("rb") as stream:
        for found in _iterate_records(stream, counts, record_type, max_size, on_read):
            counts.records += 1
            counts.oversized += found.is_oversized
            if found.record is not None:
                yield found.record
    if counts.damaged or counts.truncated:
        logger.warning("%s: %d damaged, %d truncated", path, counts.damaged, counts.truncated)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    is_whole: bool
    """Whether the payload is as long as the header tells."""
    is_oversized: bool = False
    """Whether the record is of the wanted type and exceeds the limit."""
    record: Record | None = None
    """Of other types nothing else is read."""


def _iterate_records(
    stream: Stream,
    counts: CrawlCounts,
    wanted: WarcRecordType,
    max_size: int,
    on_read: OnRead | None,
) -> Iterator[_Found]:
    """Yield records; from the first damage on those that can be recovered."""
    # Only the header behind a record proves its length, so each waits for the next one.
    waiting: _Found | None = None
    num_read, last, is_sound = 0, 0, True
    records = ArchiveIterator(stream, record_types=WarcRecordType.any_type, parse_http=False)
    try:
        for record in records:
            if waiting is not None:
                num_read += 1
                yield waiting
            last = record.stream_pos
            if on_read is not None:
                on_read(last)
            waiting = _read_record(record, wanted, max_size)
            if not waiting.is_whole:
                is_sound = False
                break
    except OSError:
        is_sound = False
    if is_sound and _is_read_whole(stream, last):
        if waiting is not None:
            yield waiting
        return
    # FastWARC cannot go on with a stream in which it met an error, nor tell how far it came.
    for number, data in enumerate(recover_records(stream, counts, max_size)):
        if number >= num_read:
            yield from _parse_record(data, counts, wanted, max_size)


def _read_record(record: WarcRecord, wanted: WarcRecordType, max_size: int) -> _Found:
    # A record may claim more than fits into memory.
    is_oversized = record.content_length > max_size
    payload, size = b"", 0
    if is_oversized:
        while piece := record.reader.read(PIECE_SIZE):
            size += len(piece)
    else:
        payload = record.reader.read()
        size = len(payload)
    is_whole = size == record.content_length
    if record.record_type != wanted or is_oversized:
        return _Found(is_whole=is_whole, is_oversized=record.record_type == wanted)
    headers = record.headers
    url, date = (headers.get("WARC-Target-URI") or "").strip("<>"), headers.get("WARC-Date") or ""
    return _Found(
        is_whole=is_whole,
        record=Record(
            record_id=(headers.get("WARC-Record-ID") or "").strip("<>") or f"{url} {date}",
            url=url,
            date=date,
            languages=headers.get("WARC-Identified-Content-Language") or "",
            payload=payload,
        ),
    )


def _parse_record(
    data: bytes, counts: CrawlCounts, wanted: WarcRecordType, max_size: int
) -> Iterator[_Found]:
    """Yield the record of a header and a body, if the header can be read."""
    records = ArchiveIterator(BytesIO(data), WarcRecordType.any_type, parse_http=False)
    try:
        for record in records:
            yield _read_record(record, wanted, max_size)
    except OSError:
        counts.damaged += 1


def _is_read_whole(stream: Stream, start: int) -> bool:
    """Return whether nothing is left behind the record of the gzip member at ``start``.

    FastWARC ends, without an error, where a member holds nothing or is cut off; in other files it
    tells. In a file that does not begin a member with each record all of it has to be inflated.
    """
    is_member = _begins_member(stream, start)
    if not is_member and not _begins_member(stream, 0):
        return True
    stream.seek(start if is_member else 0)
    try:
        for _ in read_member(stream) if is_member else read_members(stream):
            pass
    except DamagedDataError:
        return False
    return not holds_data(stream, stream.tell(), None)


def _begins_member(stream: Stream, position: int) -> bool:
    stream.seek(position)
    return stream.read(len(GZIP_MEMBER)) == GZIP_MEMBER


def _read_response(record: Record, max_size: int) -> Response:
    message = parse_message(record.payload)
    body, problem = decode_body(
        message.body,
        transfer_encoding=message.transfer_encoding,
        content_encoding=message.content_encoding,
        max_size=max_size,
    )
    if body.startswith(GZIP_MEMBER) and message.content_type.startswith(PAGE_TYPES):
        # Compressed once more than declared: the archive or the server forgot to say so.
        body, problem = decode_body(body, content_encoding="gzip", max_size=max_size)
    return Response(
        record_id=record.record_id,
        url=record.url,
        date=record.date,
        status=message.status,
        content_type=message.content_type,
        charset=message.charset,
        body=body,
        problem=problem,
    )
