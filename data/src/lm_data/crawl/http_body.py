"""Undoing the encodings that HTTP lays over a body (RFC 9112, section 7; RFC 9110, section 8.4)."""

import re
import zlib

GZIP_OR_ZLIB = 47
"""``wbits`` that lets zlib recognize a gzip or a zlib header by itself."""
GZIP_MAGIC = b"\x1f\x8b"
WINDOW_SIZE = 1 << 14
CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;.*)?", re.DOTALL)


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
    if content_encoding in ("", "identity") or not body:
        return body, is_decoded
    if content_encoding in ("gzip", "x-gzip", "deflate"):
        inflated = _inflate(body, content_encoding, max_size)
        return (body, False) if inflated is None else (inflated, is_decoded)
    return body, False


def _join_chunks(payload: bytes) -> bytes | None:
    """Join the chunks ``size CRLF data CRLF``, or return ``None`` when the form is another."""
    chunks: list[bytes] = []
    position = 0
    while True:
        end = payload.find(b"\r\n", position)
        match = CHUNK_SIZE.fullmatch(payload, position, end) if end >= 0 else None
        if match is None:
            return None
        size, start = int(match[1], 16), end + 2
        if size == 0:
            return b"".join(chunks)
        chunks.append(payload[start : start + size])
        position = start + size + 2
        # A chunk that is cut off lacks the line break too.
        if payload[start + size : position] != b"\r\n":
            return None


def _inflate(payload: bytes, encoding: str, max_size: int) -> bytes | None:
    """Inflate at most ``max_size`` bytes, or return ``None`` on damage or excess."""
    body = _inflate_members(payload, GZIP_OR_ZLIB, max_size)
    if body is None and encoding == "deflate":
        # Servers send raw deflate under the name "deflate"; it has no header to know it by.
        return _inflate_members(payload, -zlib.MAX_WBITS, max_size)
    return body


def _inflate_members(payload: bytes, window_bits: int, max_size: int) -> bytes | None:
    """Inflate one member, and further gzip members behind it; each of them must be whole.

    Bytes behind the last member that do not begin another one are ignored, as browsers do.
    """
    # Windows: zlib copies what lies behind a member, all the rest of a body that is given whole.
    view = memoryview(payload)
    body = bytearray()
    position = 0
    while position == 0 or payload.startswith(GZIP_MAGIC, position):
        inflater = zlib.decompressobj(window_bits)
        while not inflater.eof:
            window = view[position : position + WINDOW_SIZE]
            if not window:
                return None
            try:
                body += inflater.decompress(window, max_size + 1 - len(body))
            except zlib.error:
                return None
            if len(body) > max_size:
                return None
            position += len(window) - len(inflater.unused_data)
    return bytes(body)
