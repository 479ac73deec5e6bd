"""UTF-8 text cut at special tokens, in the form in which the kernels take it."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import regex
from numpy.typing import NDArray

_FEW = 8
_COMMON_BYTES = b" etaoinsrhldcumfpgwybv,.k-\n\"'()TSAICMxPjqz0123456789:;/<>=_[]{}"


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
