"""One request for a file or the rest of it, and what its answer says."""

import http.client
import re
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from lm_basics.corpora.partial_download import Source

NETWORK_ERRORS = (OSError, http.client.HTTPException)
"""What a connection may end with; a full disk is an ``OSError`` as well, so catch these around
reading alone."""

_AGENT = "lm-basics"
_PARTIAL_CONTENT = 206
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """An open answer of the server."""

    stream: http.client.HTTPResponse
    """Its bytes."""
    first: int
    """Position in the file of the first byte: 0 where the server sends all of it."""
    source: Source
    """The file."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, and keeps what Hugging Face says on the way to the storage.

    The answer that refers to the storage has the file's SHA-256 in ``X-Linked-Etag``; the storage
    itself calls the file by a name of its own.
    """

    def __init__(self) -> None:
        self.linked_etag: str | None = None

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: Any,
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Note the SHA-256 and go on; ``Range`` and ``If-Range`` go along."""
        self.linked_etag = headers.get("X-Linked-Etag") or self.linked_etag
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def request_file(
    url: str, *, first: int = 0, source: Source | None = None, timeout_s: float
) -> Answer:
    """Ask for a file from the byte ``first`` on, or for all of it if it is not ``source`` any more.

    Args:
        url: Address.
        first: Bytes that are there already; more than 0 needs ``source``.
        source: What these come from.
        timeout_s: Longest silence of the server.

    Raises:
        urllib.error.HTTPError: The server answers with an error.
        OSError: There is no connection.
    """
    headers = {"User-Agent": _AGENT, "Accept-Encoding": "identity"}
    if first and source is not None and source.etag is not None:
        headers |= {"Range": f"bytes={first}-", "If-Range": source.etag}
    redirects = _Redirects()
    opener = urllib.request.build_opener(redirects)
    stream = opener.open(urllib.request.Request(url, headers=headers), timeout=timeout_s)
    etag, size = stream.headers.get("ETag"), stream.headers.get("Content-Length")
    num_bytes = None if size is None else int(size)
    start = 0
    if stream.status == _PARTIAL_CONTENT:
        found = _RANGE.fullmatch(stream.headers.get("Content-Range", ""))
        if found is None or int(found[1]) != first:
            stream.close()
            raise http.client.HTTPException(
                f"asked for bytes from {first} on, got {stream.headers.get('Content-Range')!r}"
            )
        start = first
        num_bytes = None if found[2] == "*" else int(found[2])
    linked = stream.headers.get("X-Linked-Etag") or redirects.linked_etag
    return Answer(
        stream=stream,
        first=start,
        source=Source(
            url=url,
            # A weak tag stands for files that mean the same, not for the same bytes.
            etag=None if etag is None or etag.startswith("W/") else etag,
            num_bytes=num_bytes,
            sha256=_read_sha256(linked) or _read_sha256(etag),
        ),
    )


def _read_sha256(etag: str | None) -> str | None:
    """Return a tag that is a SHA-256, without its quotes."""
    bare = (etag or "").removeprefix("W/").strip('"').lower()
    return bare if _SHA256.fullmatch(bare) else None
