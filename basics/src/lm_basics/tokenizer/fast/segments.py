"""Text in the form in which the kernels take it: segments, a pattern's number, character classes.

A segment is a stretch of UTF-8 between special tokens. The class of every character is what the
``regex`` module says, so that fast and plain path follow the same version of Unicode. Asking it
takes a tenth of a second; therefore the table is kept in the user's cache folder.
"""

import hashlib
import logging
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
import regex
from numpy.typing import NDArray

from lm_basics.tokenizer.kernels import kernel
from lm_basics.tokenizer.kernels.records import GPT2, GPT4, LETTER, NUMBER, OTHER, WHITESPACE
from lm_basics.tokenizer.patterns import GPT2_PATTERN, GPT4_PATTERN
from lm_shared.files import write_bytes
from lm_shared.machine_code import address_of, user_cache_folder

KERNEL_PATTERNS: Mapping[str, int] = {GPT2_PATTERN: GPT2, GPT4_PATTERN: GPT4}
"""What the kernels call a pattern."""

_FEW = 8
_COMMON_BYTES = b" etaoinsrhldcumfpgwybv,.k-\n\"'()TSAICMxPjqz0123456789:;/<>=_[]{}"
_NUM_CHARACTERS = sys.maxunicode + 1
_PATTERNS = {LETTER: r"\p{L}+", NUMBER: r"\p{N}+", WHITESPACE: r"\s+"}

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Segments:
    """Stretches of text between special tokens."""

    starts: NDArray[np.int64]
    """Where each segment begins."""
    ends: NDArray[np.int64]
    """Where it ends."""
    specials: list[tuple[int, bytes]]
    """Special tokens, each with the number of the segment that it follows."""

    @classmethod
    def of_texts(
        cls, texts: Sequence[bytes], *, between: int = 0, special: bytes | None = None
    ) -> "Segments":
        """Return texts that lie one behind the other, ``between`` bytes apart, as segments.

        Any special token that they spell is ordinary text; ``special`` follows each of them.
        """
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        ends = np.cumsum(lengths + between) - between
        specials = [] if special is None else [(index, special) for index in range(len(texts))]
        return cls(starts=ends - lengths, ends=ends, specials=specials)


class SpecialTokenFinder:
    """Finds special tokens in UTF-8 text; of several at one place the longest counts.

    Most texts hold none, and looking for single strings is much faster than a regular expression
    that knows them all, so each text is first asked for what is rare.
    """

    def __init__(self, special_tokens: Collection[str]) -> None:
        groups: dict[bytes, list[bytes]] = {}
        for token in special_tokens:
            groups.setdefault(_rarest_byte(token.encode()), []).append(token.encode())
        self._groups = list(groups.items())

    def may_occur_in(self, data: bytes) -> bool:
        """Return whether one of the tokens may occur; ``False`` is certain."""
        for byte, tokens in self._groups:
            if byte not in data:
                continue
            if len(tokens) > _FEW or any(token in data for token in tokens):
                return True
        return False

    def find(self, data: bytes) -> Iterable["regex.Match[bytes]"]:
        """Return the occurrences from left to right."""
        tokens: list[bytes] = []
        for byte, group in self._groups:
            if byte in data:
                tokens += group if len(group) > _FEW else [t for t in group if t in data]
        return _compile(tuple(tokens)).finditer(data) if tokens else ()

    def split(self, texts: Sequence[bytes]) -> Segments:
        """Return the segments of texts that lie one behind the other."""
        if not any(map(self.may_occur_in, texts)):
            return Segments.of_texts(texts)
        starts, ends, specials, position = [], [], [], 0
        for text in texts:
            starts.append(position)
            for match in self.find(text):
                ends.append(position + match.start())
                starts.append(position + match.end())
                specials.append((len(ends) - 1, match[0]))
            position += len(text)
            ends.append(position)
        return Segments(
            starts=np.array(starts, dtype=np.int64),
            ends=np.array(ends, dtype=np.int64),
            specials=specials,
        )


@lru_cache(maxsize=64)
def _compile(tokens: tuple[bytes, ...]) -> "regex.Pattern[bytes]":
    longest_first = sorted(tokens, key=len, reverse=True)
    return regex.compile(b"|".join(regex.escape(token) for token in longest_first))


def _rarest_byte(token: bytes) -> bytes:
    """Return the byte of a token that is least common in text."""
    return max(
        (token[i : i + 1] for i in range(len(token))),
        key=lambda byte: _COMMON_BYTES.find(byte) % (len(_COMMON_BYTES) + 1),
    )


def find_last_end(text: str, kernel_pattern: int) -> int:
    """Return where the last pre-token ends that no text behind can change, 0 if there is none."""
    # What is not valid is one byte and stays one; both are neither letter, digit nor white space.
    data = text.encode("utf-8", errors="replace")
    classes = address_of(character_classes())
    place = kernel("scanner:find_last_end")(kernel_pattern, data, len(data), classes)
    return len(data[:place].decode())


@cache
def character_classes() -> NDArray[np.uint8]:
    """Return the class of every code point, 1,114,112 numbers."""
    path = user_cache_folder() / f"classes-{version('regex')}.bin"
    classes = _read(path)
    if classes is None:
        classes = classify_all_characters()
        try:
            data = classes.tobytes()
            write_bytes(path, data + hashlib.sha256(data).digest())
        except OSError as error:
            logger.debug("%s cannot be written: %s", path, error)
    return classes


def classify_all_characters() -> NDArray[np.uint8]:
    """Ask ``regex`` for the class of every code point."""
    classes = np.full(_NUM_CHARACTERS, OTHER, dtype=np.uint8)
    everything = "".join(map(chr, range(_NUM_CHARACTERS)))
    for kind, pattern in _PATTERNS.items():
        for run in regex.finditer(pattern, everything):
            classes[run.start() : run.end()] = kind
    return classes


def _read(path: Path) -> NDArray[np.uint8] | None:
    """Return the table in a file, ``None`` where it is missing or damaged."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    classes, digest = data[:_NUM_CHARACTERS], data[_NUM_CHARACTERS:]
    is_intact = hashlib.sha256(classes).digest() == digest
    return np.frombuffer(classes, dtype=np.uint8) if is_intact else None
