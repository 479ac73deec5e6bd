"""Undoing the encodings that HTTP lays over a body (RFC 9112, section 7; RFC 9110, section 8.4).

Crawls hold bodies that were cut off, and bodies that were stored decoded under the header of the
encoded ones. So what can be decoded is kept, and a body that is text already stays as it is.
"""

import re
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO

from lm_data.crawl.decompression import (
    GZIP_MAGIC,
    ZSTD_FRAME,
    DamagedDataError,
    Stream,
    read_brotli,
    read_members,
    read_zstd,
)

CUT_OFF = "cut_off"
"""The body was cut off or is damaged; it is decoded as far as possible."""
UNDECODABLE = "undecodable_body"
"""The body is in an encoding that cannot be undone; it is returned as it is."""
OVERSIZED = "oversized_body"
"""The decoded body exceeds the limit; it is not returned."""

CHUNK_SIZE = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\n]*)?\r?\n")
LINE_BREAK = re.compile(rb"\r?\n")
CONTROLS = bytes(code for code in range(0x01, 0x20) if code not in b"\t\n\v\f\r\x1b")
"""Bytes that no text holds in any encoding; zero bytes stand in UTF-16, escapes in ISO-2022."""
MAX_CONTROL_SHARE = 0.02
"""A ninth of the bytes of compressed data are control characters."""
SAMPLE_SIZE = 1 << 14
MAGICS = (GZIP_MAGIC, ZSTD_FRAME)
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")

Decoded = tuple[bytes, bool] | None
"""The body and whether it is whole, or ``None`` when it is not in the encoding at all."""


def decode_body(
    payload: bytes, *, transfer_encoding: str = "", content_encoding: str = "", max_size: int
) -> tuple[bytes, str | None]:
    """Return the body, and ``CUT_OFF``, ``UNDECODABLE`` or ``OVERSIZED`` where there is a problem.

    Args:
        payload: The body as it was sent.
        transfer_encoding: Names of encodings, separated by commas in the order of application.
        content_encoding: The same; these were applied before.
        max_size: Largest body in bytes; no more is inflated.
    """
    body, problem, is_missing = payload, None, False
    for name in reversed(f"{content_encoding},{transfer_encoding}".lower().split(",")):
        encoding = name.strip()
        if encoding in ("", "identity") or not body:
            continue
        decode = DECODERS.get(encoding)
        decoded = None if decode is None else decode(body, max_size)
        if decoded is None:
            is_missing = True
            continue
        body, is_whole = decoded
        if len(body) > max_size:
            return b"", OVERSIZED
        problem = problem if is_whole else CUT_OFF
    return body, UNDECODABLE if is_missing and is_binary(body) else problem


def is_binary(body: bytes) -> bool:
    """Return whether a body is no text in any encoding, but compressed or an image."""
    sample = body[:SAMPLE_SIZE]
    if sample.startswith(UTF16_MARKS):
        return False
    num_controls = len(sample) - len(sample.translate(None, CONTROLS))
    return num_controls > MAX_CONTROL_SHARE * len(sample)


def _join_chunks(payload: bytes, max_size: int) -> Decoded:
    """Join the chunks ``size CRLF data CRLF`` up to the last one, or to where the form ends."""
    del max_size  # Chunks do not grow.
    chunks: list[bytes] = []
    position = 0
    while match := CHUNK_SIZE.match(payload, position):
        size, start = int(match[1], 16), match.end()
        if size == 0:
            return b"".join(chunks), True
        chunks.append(payload[start : start + size])
        line_break = LINE_BREAK.match(payload, start + size)
        if line_break is None:
            # What is no chunk at the very beginning was joined before it was stored.
            is_cut = len(chunks) > 1 or start + size >= len(payload)
            return (b"".join(chunks), False) if is_cut else None
        position = line_break.end()
    return (b"".join(chunks), False) if chunks else None


def _inflate(payload: bytes, max_size: int) -> Decoded:
    """Inflate gzip or zlib; bytes behind the last member are ignored, as browsers do."""
    return _decompress(payload, max_size, read_members)


def _inflate_deflate(payload: bytes, max_size: int) -> Decoded:
    """Inflate what servers send under the name "deflate": zlib, or raw without any header."""
    return _inflate(payload, max_size) or _decompress(payload, max_size, _read_raw)


def _read_raw(stream: Stream) -> Iterator[bytes]:
    return read_members(stream, -zlib.MAX_WBITS)


def _decode_brotli(payload: bytes, max_size: int) -> Decoded:
    return _decompress(payload, max_size, read_brotli)


def _decode_zstd(payload: bytes, max_size: int) -> Decoded:
    return _decompress(payload, max_size, read_zstd)


def _decompress(
    payload: bytes, max_size: int, read: Callable[[Stream], Iterator[bytes]]
) -> Decoded:
    """Decompress until ``max_size`` is exceeded or the data ends."""
    body = bytearray()
    try:
        for block in read(BytesIO(payload)):
            body += block
            if len(body) > max_size:
                break
    except DamagedDataError as damage:
        if damage.position > 0 and not payload.startswith(MAGICS, damage.position):
            return bytes(body), True
        # Text that was stored decoded may begin like data in an encoding that has no header.
        return (bytes(body), False) if body and is_binary(payload) else None
    return bytes(body), True


DECODERS: dict[str, Callable[[bytes, int], Decoded]] = {
    "chunked": _join_chunks,
    "gzip": _inflate,
    "x-gzip": _inflate,
    "deflate": _inflate_deflate,
    "br": _decode_brotli,
    "zstd": _decode_zstd,
}
