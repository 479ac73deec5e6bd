"""The records of a damaged WARC file, whatever compresses it.

The file is unpacked as far as possible, from one member to the next that can be read, and split
where ``WARC/1.0`` or another version begins a line. A ``Content-Length`` that does not lead to the
end of a record is missing or wrong: such a record ends where the next one begins, so that it
neither loses nor swallows anything.
"""

import re
from collections.abc import Generator, Iterator
from itertools import groupby
from typing import Protocol, runtime_checkable

from lm_data.crawl.decompression import (
    GZIP_MEMBER,
    LZ4_FRAME,
    SCAN_SIZE,
    ZSTD_FRAME,
    DamagedDataError,
    Stream,
    find_bytes,
    holds_data,
    read_lz4,
    read_members,
    read_zstd,
)

FORMATS = {GZIP_MEMBER: read_members, ZSTD_FRAME: read_zstd, LZ4_FRAME: read_lz4}
MAGIC = b"WARC/"
RECORD_START = re.compile(rb"^WARC/\d\.\d+[ \t]*\r?\n", re.MULTILINE)
MAX_START_SIZE = 32
HEADER_END = re.compile(rb"\n\r?\n")
MAX_HEADER_SIZE = 1 << 16
LENGTH = re.compile(
    rb"^Content-Length[ \t]*:[ \t]*(\d{1,18})[ \t]*\r?$", re.IGNORECASE | re.MULTILINE
)
LENGTH_LINES = re.compile(rb"^Content-Length[ \t]*:.*\n", re.IGNORECASE | re.MULTILINE)
RECORD_END = re.compile(rb"\r\n\r\n|\n\n|(?:\r?\n)?(?:\Z|WARC/\d)")
PADDING = b"\r\n\0"
TRAILER = re.compile(rb"(?:\r\n\r\n|\n\n)\Z")


@runtime_checkable
class Losses(Protocol):
    """Where damage is counted."""

    damaged: int
    truncated: int


def recover_records(stream: Stream, losses: Losses, max_size: int) -> Iterator[bytes]:
    """Yield header and body of each record, and the header alone where the body is too large.

    Args:
        stream: The file.
        losses: Its ``damaged`` counts the places that could not be read and the records whose
            length is wrong, ``truncated`` the record in which the file ends.
        max_size: Largest body in bytes.
    """
    is_cut = is_behind_gap = False
    for is_gap, blocks in groupby(_unpack(stream), lambda block: block is None):
        if not is_gap:
            losses.damaged += is_behind_gap
            window = _Window(block for block in blocks if block is not None)
            is_cut = yield from _split(window, losses, max_size)
        is_behind_gap = is_gap
    losses.truncated += is_cut
    losses.damaged += is_behind_gap and not is_cut


def _unpack(stream: Stream) -> Iterator[bytes | None]:
    """Yield the blocks of a file, and ``None`` for each place that cannot be read."""
    stream.seek(0)
    beginning = stream.read(SCAN_SIZE)
    plain = RECORD_START.search(beginning)
    starts = {beginning.find(magic): magic for magic in FORMATS if magic in beginning}
    found: int | None = min(starts, default=None)
    if found is None or (plain is not None and plain.start() < found):
        stream.seek(0)
        yield from iter(lambda: stream.read(SCAN_SIZE), b"")
        return
    magic = starts[found]
    if holds_data(stream, 0, found):
        yield None
    while found is not None:
        stream.seek(found)
        try:
            yield from FORMATS[magic](stream)
            return
        except DamagedDataError as damage:
            behind = damage.position
        found = find_bytes(stream, magic, behind + 1)
        if holds_data(stream, behind, found):
            yield None


def _split(window: "_Window", losses: Losses, max_size: int) -> Generator[bytes, None, bool]:
    """Yield the records of data without a gap; return whether it ends inside of one."""
    while True:
        losses.damaged += window.skip_to_record()
        if not window.data:
            return False
        ending = window.find(HEADER_END, 0, MAX_HEADER_SIZE)
        if ending is None and not window.fill(MAX_HEADER_SIZE):
            return True
        if ending is None or RECORD_START.search(window.data, 1, ending.start()):
            # What is left of the broken header counts as damage.
            window.take(1)
            continue
        start = ending.end()
        length = LENGTH.search(window.data, 0, start)
        size = None if length is None else int(length[1])
        if size is not None and size <= max_size and window.ends_record(start + size):
            yield window.take(start + size)
            continue
        following = window.find(RECORD_START, start, start + max_size + MAX_START_SIZE)
        if following is None and window.fill(start + max_size + 1):
            is_told = size is not None and size > max_size
            losses.damaged += not is_told
            header = window.take(start)
            yield header if is_told else _set_length(header, max_size + 1)
            window.skip_to_record()
            continue
        end = len(window.data) if following is None else following.start()
        if following is None and (start + (size or 0) > end or not TRAILER.search(window.data)):
            return True
        losses.damaged += 1
        header, body = window.take(start), TRAILER.sub(b"", window.take(end - start))
        yield _set_length(header, len(body)) + body


def _set_length(header: bytes, size: int) -> bytes:
    first, rest = header.split(b"\n", 1)
    return b"%s\nContent-Length: %d\r\n%s" % (first, size, LENGTH_LINES.sub(b"", rest))


class _Window:
    """The part of a stream that is looked at."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self.data = bytearray()
        self._blocks = blocks

    def fill(self, size: int) -> bool:
        """Return whether there are at least ``size`` bytes, after reading on."""
        while len(self.data) < size:
            block = next(self._blocks, None)
            if block is None:
                return False
            self.data += block
        return True

    def find(self, pattern: re.Pattern[bytes], start: int, limit: int) -> re.Match[bytes] | None:
        """Search from ``start`` on in about ``limit`` bytes."""
        while True:
            match = pattern.search(self.data, start)
            size = len(self.data)
            if match is not None or size >= limit or not self.fill(size + 1):
                return match
            # What is looked for may lie across the edge.
            start = max(start, size - MAX_START_SIZE)

    def ends_record(self, end: int) -> bool:
        """Return whether a record may end at ``end``."""
        if not self.fill(end):
            return False
        self.fill(end + MAX_START_SIZE)
        return RECORD_END.match(self.data, end) is not None

    def take(self, size: int) -> bytes:
        """Return and drop the first bytes."""
        taken = bytes(self.data[:size])
        del self.data[:size]
        return taken

    def skip_to_record(self) -> bool:
        """Drop what stands before the next record; return whether that was more than padding."""
        is_anything = False
        while self.fill(1):
            match = self.find(RECORD_START, 0, SCAN_SIZE)
            if match is not None:
                return bool(self.take(match.start()).strip(PADDING)) or is_anything
            if self.fill(len(self.data) + 1):
                is_anything |= bool(self.take(len(self.data) - MAX_START_SIZE).strip(PADDING))
                continue
            rest = self.take(len(self.data)).strip(PADDING)
            if rest and MAGIC.startswith(rest[: len(MAGIC)]):
                # The data ends in the first line of a record.
                self.data += rest
                return is_anything
            return is_anything or bool(rest)
        return is_anything
