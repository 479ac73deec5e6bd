"""Text files as blocks of bytes that can be tokenized independently of each other.

A block ends behind a special token, or before white space that follows a letter or digit, because
no pattern in use continues a match from a letter into white space. Where a long stretch of text has
neither, a place found by the pattern itself serves; see ``text_stream``.
"""

import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import regex

from lm_basics.tokenizer.patterns import compile_special_tokens
from lm_basics.tokenizer.text_stream import find_cut

OnInvalid = Literal["strict", "replace"]
"""What happens to bytes that are not UTF-8: an error, or U+FFFD in their place."""

BLOCK_BYTES = 1 << 22

_CUTS_TRIED = 64
_WHITE_SPACE = (b" ", b"\n")


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
    max_bytes: int | None = None,
) -> Iterator[Block]:
    """Yield the blocks of a file; memory is bounded by the longest stretch that cannot be cut.

    Args:
        path: UTF-8 text.
        pattern: regular expression of the pre-tokens.
        special_tokens: strings that are never cut.
        block_bytes: size from which on a block is cut off.
        max_bytes: where to stop; a character that this would cut is left out.

    Raises:
        FileNotFoundError: there is no such file.
    """
    cutter = _Cutter(pattern, special_tokens)
    remaining = sys.maxsize if max_bytes is None else max_bytes
    parts: list[bytes] = []
    size, position, enough = 0, 0, block_bytes
    with path.open("rb") as file:
        while remaining > 0 and (data := file.read(min(remaining, block_bytes))):
            remaining -= len(data)
            parts.append(data)
            size += len(data)
            if size < enough:
                continue
            pending = b"".join(parts)
            cut = cutter.find(pending)
            if cut:
                yield Block(data=pending[:cut], path=path, position=position)
            parts = [pending[cut:]]
            size -= cut
            position += cut
            # A block without a safe place grows before it is searched again, or one pre-token of
            # n bytes would be searched n times.
            enough = max(block_bytes, 2 * size)
    pending = b"".join(parts)
    if max_bytes is not None:
        pending = pending[: _end_of_characters(pending)]
    if pending:
        yield Block(data=pending, path=path, position=position)


class _Cutter:
    """Finds the last place of a block where it may be cut."""

    def __init__(self, pattern: str, special_tokens: Collection[str]) -> None:
        self._pattern = regex.compile(pattern)
        self._special_pattern = compile_special_tokens(special_tokens)
        self._longest = max(map(len, special_tokens), default=1)
        # A special token such as "end of text" could lie across the places that are tried first.
        self._has_gaps = any(regex.search(r"[A-Za-z0-9][ \n]", token) for token in special_tokens)

    def find(self, data: bytes) -> int:
        """Return the place, 0 if there is none."""
        if not self._has_gaps:
            for space in _WHITE_SPACE:
                end = len(data)
                for _ in range(_CUTS_TRIED):
                    end = data.rfind(space, 1, end)
                    if end < 0:
                        break
                    if data[end - 1 : end].isalnum():
                        return end
        # Invalid bytes become single characters and come back as they were.
        text = data.decode("utf-8", errors="surrogateescape")
        limit = max(0, len(text) - self._longest + 1)
        cut = find_cut(text, self._pattern, self._special_pattern, limit)
        return len(text[:cut].encode("utf-8", errors="surrogateescape"))


def _end_of_characters(data: bytes) -> int:
    """Return the length of ``data`` without a last character that is not complete."""
    for width in range(1, min(4, len(data) + 1)):
        lead = data[-width]
        if lead >= 0xC0:
            expected = 2 + (lead >= 0xE0) + (lead >= 0xF0)
            return len(data) - width if width < expected else len(data)
        if lead < 0x80:
            break
    return len(data)
