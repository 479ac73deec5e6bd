"""Reading compressed data up to its last readable byte, and from there to the next member.

Libraries lose the block in which an error lies. Here a block that fails is read again in single
bytes, so that damage costs only what stands behind it.
"""

import zlib
from collections.abc import Callable, Iterator
from functools import partial
from io import SEEK_CUR, BufferedReader, BytesIO

from fastwarc.stream_io import BrotliReader, Lz4Reader, WarcReader, ZstdReader

GZIP_MAGIC = b"\x1f\x8b"
GZIP_MEMBER = GZIP_MAGIC + b"\x08"
ZSTD_FRAME = b"\x28\xb5\x2f\xfd"
LZ4_FRAME = b"\x04\x22\x4d\x18"
GZIP_OR_ZLIB = 47
"""``wbits`` that lets zlib recognize a gzip or a zlib header by itself."""
BLOCK_SIZE = 1 << 14
SCAN_SIZE = 1 << 20
"""Bytes in which the next member is looked for at once."""


Stream = BufferedReader | BytesIO


class DamagedDataError(Exception):
    """Compressed data cannot be read on; everything before was handed out."""

    def __init__(self, position: int) -> None:
        super().__init__(f"damage in the member at {position}")
        self.position = position
        """Where the member that is damaged or cut off begins, or what is no member."""


def read_members(stream: Stream, window_bits: int = GZIP_OR_ZLIB) -> Iterator[bytes]:
    """Yield what gzip members, one behind the other, hold.

    Args:
        stream: Read from where it stands.
        window_bits: ``wbits`` of zlib.

    Raises:
        DamagedDataError: A member is damaged or cut off, or something else stands behind one.
    """
    yield from read_member(stream, window_bits)
    while beginning := stream.read(len(GZIP_MAGIC)):
        position = stream.seek(-len(beginning), SEEK_CUR)
        if beginning != GZIP_MAGIC:
            raise DamagedDataError(position)
        yield from read_member(stream, window_bits)


def read_member(stream: Stream, window_bits: int = GZIP_OR_ZLIB) -> Iterator[bytes]:
    """Yield what one member holds, and leave the stream behind it.

    Raises:
        DamagedDataError: The member is damaged or cut off.
    """
    position = stream.tell()
    inflater = zlib.decompressobj(window_bits)
    while not inflater.eof:
        window = inflater.unconsumed_tail or stream.read(BLOCK_SIZE)
        if not window:
            raise DamagedDataError(position)
        before = inflater.copy()
        try:
            block = inflater.decompress(window, SCAN_SIZE)
        except zlib.error:
            yield _inflate_up_to_error(before, window)
            raise DamagedDataError(position) from None
        yield block
    stream.seek(-len(inflater.unused_data), SEEK_CUR)


def _inflate_up_to_error(inflater: "zlib._Decompress", window: bytes) -> bytes:
    data = bytearray()
    try:
        for index in range(len(window)):
            data += inflater.decompress(window[index : index + 1])
    except zlib.error:
        pass
    return bytes(data)


def read_frames(stream: Stream, open_reader: Callable[..., WarcReader]) -> Iterator[bytes]:
    """Yield what the frames of another format hold.

    Args:
        stream: Read from where it stands.
        open_reader: One of FastWARC's readers.

    Raises:
        DamagedDataError: A frame is damaged or cut off, or something else stands behind one.
    """
    start = stream.tell()
    num_read = 0
    reader = open_reader(stream)
    try:
        while block := reader.read(BLOCK_SIZE):
            num_read += len(block)
            yield block
    except OSError:
        pass
    else:
        return
    stream.seek(start)
    reader = open_reader(stream)
    try:
        while num_read:
            num_read -= len(reader.read(min(num_read, SCAN_SIZE)))
        while byte := reader.read(1):
            yield byte
    except OSError:
        position = start + (reader.frame_start_position() or 0)
        raise DamagedDataError(position) from None


read_brotli = partial(read_frames, open_reader=BrotliReader)
"""The blocks of a Brotli stream (RFC 7932)."""
read_zstd = partial(read_frames, open_reader=ZstdReader)
"""The blocks of Zstandard frames (RFC 8878)."""
read_lz4 = partial(read_frames, open_reader=Lz4Reader)
"""The blocks of LZ4 frames."""


def find_bytes(stream: Stream, wanted: bytes, start: int) -> int | None:
    """Return the position of ``wanted`` at or behind ``start``."""
    # The end of each chunk is searched again with the next one: it may lie across both.
    stream.seek(start)
    position, tail = start, b""
    while chunk := stream.read(SCAN_SIZE):
        found = (tail + chunk).find(wanted)
        if found >= 0:
            return position - len(tail) + found
        position += len(chunk)
        tail = (tail + chunk)[-(len(wanted) - 1) :]
    return None


def holds_data(stream: Stream, start: int, end: int | None) -> bool:
    """Return whether anything but zero bytes, which pad files, stands in a part of a file."""
    stream.seek(start)
    while chunk := stream.read(SCAN_SIZE if end is None else min(SCAN_SIZE, end - stream.tell())):
        if chunk.strip(b"\0"):
            return True
    return False
