"""Text files as blocks of bytes that can be tokenized independently of each other.

A block ends where ``text_stream`` finds that a text may be cut: behind a special token or, with a
pattern that is known, before a space that follows a letter or digit.
"""

import codecs
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lm_basics.tokenizer.patterns import compile_pattern
from lm_basics.tokenizer.text_stream import Cutter

OnInvalid = Literal["strict", "replace"]
"""What happens to bytes that are not UTF-8: an error, or U+FFFD in their place."""

BLOCK_BYTES = 1 << 22

_LONGEST_CHARACTER = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """A stretch of a file."""

    data: bytes
    """Whole characters, if the file is UTF-8."""
    path: Path
    """The file."""
    position: int
    """Bytes of the file before."""

    def text(self, on_invalid: OnInvalid) -> str:
        """Return the text of the block.

        Raises:
            ValueError: a byte is not UTF-8; the message holds its position in the file.
        """
        try:
            return self.data.decode("utf-8", errors=on_invalid)
        except UnicodeDecodeError as error:
            position = self.position + error.start
            raise ValueError(
                f"{self.path} is not UTF-8: {error.reason} at byte {position}"
            ) from error


def read_blocks(
    path: Path,
    pattern: str,
    special_tokens: Collection[str] = (),
    *,
    block_bytes: int = BLOCK_BYTES,
    start: int = 0,
    max_bytes: int | None = None,
) -> Iterator[Block]:
    """Yield the blocks of a file; memory is bounded by the longest stretch that cannot be cut.

    Args:
        path: UTF-8 text.
        pattern: regular expression of the pre-tokens.
        special_tokens: strings that are never cut.
        block_bytes: size from which on a block is cut off.
        start: bytes of the file to pass over, up to the end of a block.
        max_bytes: where to stop; a character that this would cut is left out.

    Raises:
        FileNotFoundError: there is no such file.
    """
    cutter = Cutter(compile_pattern(pattern), special_tokens)
    remaining = sys.maxsize if max_bytes is None else max_bytes
    parts: list[bytes] = []
    size, position, enough = 0, start, block_bytes
    with path.open("rb") as file:
        if start:
            file.seek(start)
        while remaining > 0 and (data := file.read(min(remaining, block_bytes))):
            remaining -= len(data)
            parts.append(data)
            size += len(data)
            if size < enough:
                continue
            pending = b"".join(parts)
            # The bytes of a character that is not complete would pass for what ends a word.
            cut = cutter.find_in_bytes(pending[: _end_of_characters(pending)])
            if cut:
                yield Block(data=pending[:cut], path=path, position=position)
            parts = [pending[cut:]]
            size -= cut
            position += cut
            # A block without a safe place grows before it is searched again, or one pre-token of
            # n bytes would be searched n times.
            enough = max(block_bytes, 2 * size)
        is_cut = remaining == 0 and bool(file.read(1))
    pending = b"".join(parts)
    if is_cut:
        pending = pending[: _end_of_characters(pending)]
    if pending:
        yield Block(data=pending, path=path, position=position)


def _end_of_characters(data: bytes) -> int:
    """Return the length of ``data`` without a last character that is not complete."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    decoder.decode(data[-_LONGEST_CHARACTER:])
    return len(data) - len(decoder.getstate()[0])
