"""Undoing the encodings that HTTP lays over a body (RFC 9112, section 7; RFC 9110, section 8.4)."""

import zlib

GZIP_OR_ZLIB = 47
"""``wbits`` that lets zlib recognize a gzip or a zlib header by itself."""


def decode_body(
    payload: bytes, *, transfer_encoding: str = "", content_encoding: str = "", max_size: int
) -> tuple[bytes, bool]:
    """Return the body and whether every declared encoding could be undone.

    Many archives store the decoded body but keep the headers that declare the encoding, so a body
    that does not fit its declaration is returned as it is. No more than ``max_size`` bytes are
    inflated: a body that would be larger counts as not decodable.
    """
    body, is_decoded = payload, True
    if "chunked" in transfer_encoding:
        joined = _join_chunks(body)
        is_decoded = joined is not None
        body = body if joined is None else joined
    if content_encoding in ("", "identity"):
        return body, is_decoded
    if content_encoding in ("gzip", "x-gzip", "deflate"):
        inflated = _inflate(body, max_size)
        return (body, False) if inflated is None else (inflated, is_decoded)
    return body, False


def _join_chunks(payload: bytes) -> bytes | None:
    """Join the chunks ``size CRLF data CRLF``, or return ``None`` when the form is another."""
    chunks: list[bytes] = []
    position = 0
    while True:
        end = payload.find(b"\r\n", position)
        try:
            size = int(payload[position:end].partition(b";")[0], 16) if end >= 0 else -1
        except ValueError:
            return None
        start = end + 2
        if size < 0 or start + size > len(payload):
            return None
        if size == 0:
            return b"".join(chunks)
        chunks.append(payload[start : start + size])
        # The line break behind the data.
        position = start + size + 2


def _inflate(payload: bytes, max_size: int) -> bytes | None:
    """Inflate at most ``max_size`` bytes, or return ``None`` on damage or excess."""
    for window_bits in (GZIP_OR_ZLIB, -zlib.MAX_WBITS):
        inflater = zlib.decompressobj(window_bits)
        try:
            body = inflater.decompress(payload, max_size)
        except zlib.error:
            # Servers send raw deflate under the name "deflate"; the second round reads that.
            continue
        return None if inflater.unconsumed_tail else body
    return None
