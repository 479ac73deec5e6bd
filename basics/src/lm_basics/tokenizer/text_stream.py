"""Streams of text whose pieces are tokenized one by one with the result of the whole.

A pre-token can run over the end of a piece, so pieces are joined and cut again, at places where the
pre-tokens of both sides depend only on their own side:

* behind a special token, and
* before a space that follows a letter or digit, because no pattern in use continues a match from
  a letter into a space. Where writing has no spaces, a place found by the pattern itself serves:
  behind a pre-token that does not end in white space and has two more characters behind it. The
  contractions of GPT-2's pattern look two characters ahead, and no alternative looks further except
  inside white space.
"""

import codecs
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import regex

from lm_basics.tokenizer.patterns import compile_special_tokens

BLOCK_CHARACTERS = 1 << 14
"""Characters joined before a cut is looked for; small, so that streams run in constant memory."""

_FILE_BLOCK_BYTES = 1 << 20
_LOOKAHEAD_CHARACTERS = 2


def cut_safely(
    pieces: Iterable[str],
    pattern: regex.Pattern[str],
    special_tokens: Collection[str] = (),
    *,
    block_characters: int = BLOCK_CHARACTERS,
) -> Iterator[str]:
    """Yield blocks of the joined ``pieces`` that can be tokenized independently of each other.

    Memory is bounded by ``block_characters`` and the longest pre-token, not by the pieces.
    """
    special_pattern = compile_special_tokens(special_tokens)
    longest = max(map(len, special_tokens), default=1)
    pending = ""
    # A block without a safe place grows before it is searched again, or one pre-token of n
    # characters would be scanned n times.
    enough = block_characters
    for part in _join_small(pieces, block_characters):
        pending += part
        if len(pending) < enough:
            continue
        cut = find_cut(pending, pattern, special_pattern, max(0, len(pending) - longest + 1))
        if cut:
            yield pending[:cut]
            pending = pending[cut:]
        enough = max(block_characters, 2 * len(pending))
    if pending:
        yield pending


def find_cut(
    text: str,
    pattern: regex.Pattern[str],
    special_pattern: regex.Pattern[str] | None,
    limit: int,
) -> int:
    """Return the last place where ``text`` may be cut, 0 if there is none.

    A special token that starts at ``limit`` or later can still change with the text to come.
    """
    start = 0
    if special_pattern is not None:
        for match in special_pattern.finditer(text):
            if match.start() >= limit:
                break
            start = match.end()
    end = limit
    while (space := text.rfind(" ", start + 1, end + 1)) > 0:
        if text[space - 1].isalnum():
            return space
        end = space - 1
    return _find_cut_by_pattern(text, pattern, start, limit)


def read_text(path: Path) -> Iterator[str]:
    """Yield the text of a UTF-8 file in blocks, with its line ends as they are.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a byte is not UTF-8; the message holds its position.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    position = 0
    with path.open("rb") as file:
        while True:
            block = file.read(_FILE_BLOCK_BYTES)
            held_back = len(decoder.getstate()[0])
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                bad = position - held_back + error.start
                raise ValueError(f"{path} is not UTF-8: {error.reason} at byte {bad}") from error
            if not block:
                return
            position += len(block)
            yield text


def read_documents(path: Path, separator: str) -> Iterator[str]:
    """Yield the documents of a UTF-8 file, which ``separator`` stands between or after.

    The separator is removed; empty documents are skipped.
    """
    waiting: list[str] = []
    tail = ""
    for block in read_text(path):
        *complete, tail = (tail + block).split(separator)
        for end_of_document in complete:
            document = "".join([*waiting, end_of_document])
            waiting.clear()
            if document:
                yield document
        # Only the last characters can still become part of a separator: the rest is set aside, so
        # that a document of many blocks is copied once.
        settled = max(0, len(tail) - len(separator) + 1)
        waiting.append(tail[:settled])
        tail = tail[settled:]
    if document := "".join([*waiting, tail]):
        yield document


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


def _find_cut_by_pattern(text: str, pattern: regex.Pattern[str], start: int, limit: int) -> int:
    """Return the end of the last pre-token behind ``start`` that the future cannot change."""
    cut = start
    for match in pattern.finditer(text, start):
        end = match.end()
        if end > min(limit, len(text) - _LOOKAHEAD_CHARACTERS):
            break
        if not match[0][-1].isspace():
            cut = end
    return cut
