"""Writing WARC files as Common Crawl publishes them: one gzip member per record.

The bytes depend on the pages alone: dates are given, record ids are derived from content, and
the gzip headers carry neither time nor file name.
"""

import base64
import gzip
import hashlib
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lm_shared.files import atomic_path

RECORD_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://iipc.github.io/warc-specifications/")
COMPRESSION_LEVEL = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class FetchedPage:
    """One answer of a server, as a crawler stores it."""

    url: str
    """Address that was asked for."""
    date: str
    """Time of the fetch, ISO 8601 in UTC."""
    body: bytes
    """Payload of the answer."""
    status_line: str = "200 OK"
    """Status code and phrase."""
    content_type: str = "text/html; charset=utf-8"
    """``Content-Type`` header, parameters included."""


def write_warc(path: Path, pages: Iterable[FetchedPage], *, file_date: str) -> int:
    """Write a warcinfo record and one response record per page; return the file's size in bytes."""
    info = (
        b"software: lm_data sample crawl\r\n"
        b"format: WARC File Format 1.0\r\n"
        b"conformsTo: https://iipc.github.io/warc-specifications/specifications/warc-format/warc-1.0/\r\n"
    )
    with atomic_path(path) as partial, partial.open("wb") as stream:
        headers = [("WARC-Filename", path.name)]
        stream.write(_record("warcinfo", file_date, "application/warc-fields", info, headers))
        for page in pages:
            stream.write(_response_record(page))
        return stream.tell()


def _response_record(page: FetchedPage) -> bytes:
    http_header = (
        f"HTTP/1.1 {page.status_line}\r\n"
        "Server: nginx\r\n"
        f"Content-Type: {page.content_type}\r\n"
        f"Content-Length: {len(page.body)}\r\n"
        "\r\n"
    ).encode()
    headers = [("WARC-Target-URI", page.url), ("WARC-Payload-Digest", _digest(page.body))]
    block = http_header + page.body
    return _record("response", page.date, "application/http; msgtype=response", block, headers)


def _record(
    record_type: str,
    date: str,
    content_type: str,
    block: bytes,
    headers: Sequence[tuple[str, str]],
) -> bytes:
    digest = _digest(block)
    # A random id would make every crawl differ; this one is as unique as the content is.
    identity = "\n".join([record_type, date, digest, *(value for _, value in headers)])
    fields = [
        ("WARC-Type", record_type),
        ("WARC-Date", date),
        ("WARC-Record-ID", f"<urn:uuid:{uuid.uuid5(RECORD_NAMESPACE, identity)}>"),
        ("Content-Length", str(len(block))),
        ("Content-Type", content_type),
        *headers,
        ("WARC-Block-Digest", digest),
    ]
    # Two line breaks end a record; readers look for them before the next one.
    head = "WARC/1.0\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields) + "\r\n"
    return gzip.compress(head.encode() + block + b"\r\n\r\n", COMPRESSION_LEVEL, mtime=0)


def _digest(data: bytes) -> str:
    return "sha1:" + base64.b32encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode()
