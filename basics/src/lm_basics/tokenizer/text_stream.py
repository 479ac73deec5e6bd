"""Streams of text whose pieces are tokenized one by one with the result of the whole.

A pre-token can run over the end of a piece, so pieces are joined and cut again, at places where the
pre-tokens of both sides depend only on their own side:

* behind a special token, and
* where the characters on both sides tell that no pattern in use has a match across: behind a
  letter that no letter follows, behind a digit that no digit follows, before the white space behind
  something visible (``PLACES_TO_CUT`` says it exactly). Such a place is looked for from the end, so
  that it is found after a few characters in nearly every kind of writing and of data.
* Where there is none, a place found by the pattern itself serves: behind a pre-token that does not
  end in white space and has two more characters behind it, no letter first. The contractions of
  GPT-2's pattern look two characters ahead, and no alternative looks further except inside white
  space and runs of letters. To go through a text match by match is slow in Python: the kernels do
  it where there are some for the pattern and they are loaded.

Patterns in use are those of ``PLACES_TO_CUT``. Whatever another pattern is, the first place is
safe, and where there is no special token the text stays whole.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import islice

import regex

from lm_basics.tokenizer.fast.segments import KERNEL_PATTERNS, find_last_end
from lm_basics.tokenizer.patterns import PLACES_TO_CUT, compile_special_tokens

BLOCK_CHARACTERS = 1 << 14
"""Characters joined before a cut is looked for; small, so that streams run in constant memory."""

_LOOKAHEAD_CHARACTERS = 2
_PLACES_TRIED = 64
_LOOKED_AT_FIRST = 1 << 10
# GPT-4o's pattern looks through a whole run of letters for where it turns into small ones.
_CONTINUING = regex.compile(r"[\p{L}\p{M}']")


def cut_safely(
    pieces: Iterable[str],
    pattern: regex.Pattern[str],
    special_tokens: Collection[str] = (),
    *,
    block_characters: int = BLOCK_CHARACTERS,
    is_compiled: Callable[[], bool] = lambda: False,
) -> Iterator[str]:
    """Yield blocks of the joined ``pieces`` that can be tokenized independently of each other.

    Memory is bounded by ``block_characters`` and the longest pre-token, not by the pieces; with a
    pattern that is not known, by the longest text between special tokens.

    Args:
        pieces: the text.
        pattern: regular expression of the pre-tokens.
        special_tokens: strings that are never cut.
        block_characters: size from which on a block is cut off.
        is_compiled: see ``Cutter``.
    """
    cutter = Cutter(pattern, special_tokens, is_compiled=is_compiled)
    pending = ""
    # A block without a safe place grows before it is searched again, or one pre-token of n
    # characters would be scanned n times.
    enough = block_characters
    for part in _join_small(pieces, block_characters):
        pending += part
        if len(pending) < enough:
            continue
        cut = cutter.find(pending)
        if cut:
            yield pending[:cut]
            pending = pending[cut:]
        enough = max(block_characters, 2 * len(pending))
    if pending:
        yield pending


class Cutter:
    """Finds the last place where a text may be cut, whatever comes behind it.

    Args:
        pattern: regular expression of the pre-tokens.
        special_tokens: strings that are never cut.
        is_compiled: whether the kernels, where there are some for the pattern, may be used now.
    """

    def __init__(
        self,
        pattern: "regex.Pattern[str]",
        special_tokens: Collection[str],
        *,
        is_compiled: Callable[[], bool] = lambda: False,
    ) -> None:
        self._pattern = pattern
        self._is_compiled = is_compiled
        places = PLACES_TO_CUT.get(pattern.pattern)
        self._places = None if places is None else regex.compile(places, regex.REVERSE)
        self._special_tokens = [token for token in special_tokens if len(token) > 1]
        self._special_pattern = compile_special_tokens(special_tokens)
        self._longest = max(map(len, special_tokens), default=1)

    def find(self, text: str) -> int:
        """Return the place, 0 if there is none."""
        # A special token that starts behind this place may still change with the text to come.
        limit = max(0, len(text) - self._longest + 1)
        kernel_pattern = self._kernel_pattern()
        # Kernels go through all of a text faster than the two characters are looked for in it.
        near_end = max(0, limit - _LOOKED_AT_FIRST) if kernel_pattern is not None else 0
        if place := self._find_from_end(text, limit, near_end):
            return place
        start = self._end_of_special_tokens(text, limit)
        if self._places is None:
            return start
        if kernel_pattern is None:
            return self._find_by_pattern(text, start, limit)
        place = start + find_last_end(text[start:limit], kernel_pattern)
        return place or self._find_from_end(text, limit)

    def find_in_bytes(self, data: bytes) -> int:
        """Return the place in UTF-8 of whole characters; invalid bytes count as characters."""
        size = _LOOKED_AT_FIRST
        while size < len(data):
            start = len(data) - size
            while data[start] & 0xC0 == 0x80 and start > 0:
                start -= 1
            text = data[start:].decode("utf-8", errors="surrogateescape")
            if place := self._find_from_end(text, len(text) - self._longest + 1, self._longest):
                return start + _num_bytes(text[:place])
            size *= 16 if self._kernel_pattern() is None else len(data)
        text = data.decode("utf-8", errors="surrogateescape")
        return _num_bytes(text[: self.find(text)])

    def _kernel_pattern(self) -> int | None:
        """Return the pattern's number if there are kernels for it that may be used now."""
        number = KERNEL_PATTERNS.get(self._pattern.pattern)
        return number if number is not None and self._is_compiled() else None

    def _find_from_end(self, text: str, limit: int, first: int = 0) -> int:
        """Return the last place from ``first`` to ``limit`` that two characters tell, or 0."""
        if self._places is not None and limit > first:
            for match in islice(self._places.finditer(text, first, limit + 1), _PLACES_TRIED):
                if not self._is_inside_special_token(text, match.start()):
                    return match.start()
        return 0

    def _is_inside_special_token(self, text: str, place: int) -> bool:
        return any(
            token in text[max(0, place - len(token) + 1) : place + len(token) - 1]
            for token in self._special_tokens
        )

    def _end_of_special_tokens(self, text: str, limit: int) -> int:
        """Return the end of the last special token that starts before ``limit``."""
        end = 0
        if self._special_pattern is not None:
            for match in self._special_pattern.finditer(text):
                if match.start() >= limit:
                    break
                end = match.end()
        return end

    def _find_by_pattern(self, text: str, start: int, limit: int) -> int:
        """Return the end of the last pre-token behind ``start`` that the future cannot change."""
        cut = start
        for match in self._pattern.finditer(text, start):
            end = match.end()
            if end > min(limit, len(text) - _LOOKAHEAD_CHARACTERS):
                break
            if not match[0][-1].isspace() and not _CONTINUING.match(text, end):
                cut = end
        return cut


def _num_bytes(text: str) -> int:
    """Return the bytes that ``text`` was decoded from."""
    return len(text.encode("utf-8", errors="surrogateescape"))


def _join_small(pieces: Iterable[str], block_characters: int) -> Iterator[str]:
    """Yield ``pieces`` with the small ones joined and the large ones cut, anywhere."""
    waiting: list[str] = []
    num_waiting = 0
    for piece in pieces:
        for start in range(0, len(piece), block_characters):
            part = piece[start : start + block_characters]
            waiting.append(part)
            num_waiting += len(part)
            if num_waiting >= block_characters:
                yield "".join(waiting)
                waiting.clear()
                num_waiting = 0
    yield "".join(waiting)
