"""UTF-8 text cut at special tokens, in the form in which the kernels take it."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import regex
from numpy.typing import NDArray

_FEW = 8
_PREFIX_BYTES = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Segments:
    """Stretches of text between special tokens."""

    starts: NDArray[np.int64]
    """Where each segment begins."""
    ends: NDArray[np.int64]
    """Where it ends."""
    specials: list[bytes | None]
    """The special token behind each segment; the last one of a text has none."""

    @classmethod
    def join(cls, parts: Sequence["Segments"]) -> "Segments":
        """Return the segments of several texts as those of one."""
        if not parts:
            none = np.empty(0, dtype=np.int64)
            return cls(starts=none, ends=none, specials=[])
        return cls(
            starts=np.concatenate([part.starts for part in parts]),
            ends=np.concatenate([part.ends for part in parts]),
            specials=[special for part in parts for special in part.specials],
        )

    def shifted(self, distance: int) -> "Segments":
        """Return the segments for a text that has ``distance`` more bytes before."""
        return Segments(
            starts=self.starts + distance, ends=self.ends + distance, specials=self.specials
        )


class SpecialTokenFinder:
    """Finds special tokens in UTF-8 text; of several at one place the longest counts.

    Looking for many strings at once is slower than telling that most do not occur, so each text is
    first asked for the two bytes that they begin with.
    """

    def __init__(self, special_tokens: Collection[str]) -> None:
        self._tokens = [token.encode() for token in special_tokens]
        self._prefixes = {token[:_PREFIX_BYTES] for token in self._tokens}
        self.longest = max(map(len, self._tokens), default=1)

    def occur_in(self, data: bytes) -> bool:
        """Return whether one of the tokens may occur; ``False`` is certain."""
        return any(prefix in data for prefix in self._prefixes)

    def find(self, data: bytes) -> Iterable["regex.Match[bytes]"]:
        """Return the occurrences from left to right."""
        present = {prefix for prefix in self._prefixes if prefix in data}
        tokens = [token for token in self._tokens if token[:_PREFIX_BYTES] in present]
        if len(tokens) <= _FEW:
            tokens = [token for token in tokens if token in data]
        return _compile(tuple(tokens)).finditer(data) if tokens else ()

    def split(self, data: bytes) -> Segments:
        """Return the segments of a text."""
        if not self.occur_in(data):
            starts = np.zeros(1, dtype=np.int64)
            return Segments(starts=starts, ends=starts + len(data), specials=[None])
        matches = list(self.find(data))
        starts = np.fromiter((match.end() for match in matches), np.int64, len(matches))
        ends = np.fromiter((match.start() for match in matches), np.int64, len(matches))
        return Segments(
            starts=np.concatenate([[0], starts]),
            ends=np.concatenate([ends, [len(data)]]),
            specials=[*(match[0] for match in matches), None],
        )


@lru_cache(maxsize=64)
def _compile(tokens: tuple[bytes, ...]) -> "regex.Pattern[bytes]":
    longest_first = sorted(tokens, key=len, reverse=True)
    return regex.compile(b"|".join(regex.escape(token) for token in longest_first))
