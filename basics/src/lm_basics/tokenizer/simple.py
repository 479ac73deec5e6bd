"""Tokenizers that need no merges: one id for every character, byte or word.

They are the corners between which byte-pair encoding lies (Stanford CS336, lecture 1):

* characters: a vocabulary of 1,114,112 ids of which a text uses a few hundred;
* bytes: the smallest vocabulary and no unknown text, but the longest sequences;
* words: the shortest sequences, but a vocabulary without end, so that rare words become "unknown".
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import regex
from numpy.typing import NDArray

from lm_basics.tokenizer.patterns import GPT2_PATTERN
from lm_basics.tokenizer.text_stream import cut_safely
from lm_basics.tokenizer.vocabulary import no_such_id

UNKNOWN_WORD = "<unk>"
"""How a ``WordTokenizer`` writes a word that it does not know."""

_NUM_CODE_POINTS = 0x110000
_NUM_BYTES = 256
_SURROGATES = range(0xD800, 0xE000)

Ids = Iterable[int] | NDArray[np.integer]
"""Token ids to decode."""


@runtime_checkable
class TextTokenizer(Protocol):
    """What every tokenizer of this package has, and all that a model needs of one."""

    @property
    def vocab_size(self) -> int:
        """Number of ids; all of them are below it."""
        ...

    def encode(self, text: str) -> list[int]:
        """Return the token ids of ``text``."""
        ...

    def encode_iterable(self, pieces: Iterable[str]) -> Iterator[int]:
        """Yield the ids of the joined ``pieces``, lazily, however the text is cut into pieces."""
        ...

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ``ids``."""
        ...


class CharacterTokenizer:
    """One id per character, its Unicode code point; ``decode(encode(x)) == x`` for every text."""

    vocab_size: int = _NUM_CODE_POINTS

    def encode(self, text: str) -> list[int]:
        """Return the code points.

        Raises:
            ValueError: the text holds half of a surrogate pair, which is no character.
        """
        encode_utf8(text)
        return list(map(ord, text))

    def encode_iterable(self, pieces: Iterable[str]) -> Iterator[int]:
        """Yield the ids of the joined ``pieces``, lazily."""
        for piece in pieces:
            encode_utf8(piece)
            yield from map(ord, piece)

    def decode(self, ids: Ids) -> str:
        """Return the characters.

        Raises:
            ValueError: an id is no code point, or that of a surrogate.
        """
        listed = _check_ids(ids, self.vocab_size)
        for token_id in listed:
            if token_id in _SURROGATES:
                raise ValueError(f"token id {token_id} is a surrogate, which is no character")
        return "".join(map(chr, listed))


class ByteTokenizer:
    """One id per byte of UTF-8; ``decode(encode(x)) == x`` for every text."""

    vocab_size: int = _NUM_BYTES

    def encode(self, text: str) -> list[int]:
        """Return the bytes.

        Raises:
            ValueError: the text holds half of a surrogate pair, which UTF-8 cannot write.
        """
        return list(encode_utf8(text))

    def encode_iterable(self, pieces: Iterable[str]) -> Iterator[int]:
        """Yield the ids of the joined ``pieces``, lazily."""
        for piece in pieces:
            yield from encode_utf8(piece)

    def decode(self, ids: Ids) -> str:
        """Return the text; bytes that are not UTF-8 become U+FFFD.

        Raises:
            ValueError: an id is no byte.
        """
        return bytes(_check_ids(ids, self.vocab_size)).decode("utf-8", errors="replace")


class WordTokenizer:
    """One id per known word; id 0 stands for every unknown one.

    A word is a match of ``pattern``, and so is each single character that no match covers, so
    words join to the text again: ``decode(encode(x)) == x`` if all words of ``x`` are known. An
    unknown word is lost, ``decode`` writes ``unknown`` in its place.

    Args:
        words: the known words; they get the ids from 1 in their order.
        pattern: regular expression of the words. No match may run on from a letter or digit into a
            space or depend on text before it or more than two characters behind it: on this rests
            that streams give the ids of the whole (see ``text_stream``).
        unknown: how ``decode`` writes id 0.

    Raises:
        TypeError: ``words`` is one string instead of a sequence of strings.
        ValueError: ``words`` repeat, are empty or hold ``unknown``; ``pattern`` matches the empty
            string or runs on from a letter into a space.
    """

    unknown_id: int = 0

    def __init__(
        self, words: Sequence[str], *, pattern: str = GPT2_PATTERN, unknown: str = UNKNOWN_WORD
    ) -> None:
        if isinstance(words, str):
            raise TypeError(f"expected a sequence of words, got the string {words!r}")
        self.words = [unknown, *words]
        self.pattern = pattern
        self.unknown = unknown
        self._pattern = _compile_words(pattern)
        self._ids = {word: token_id for token_id, word in enumerate(self.words)}
        if "" in self._ids:
            raise ValueError("words must not be empty, nor the text of the unknown word")
        if len(self._ids) != len(self.words):
            repeated = next(word for word, count in Counter(self.words).items() if count > 1)
            raise ValueError(f"words must differ, also from {unknown!r}: {repeated!r} repeats")

    @classmethod
    def from_texts(
        cls,
        texts: Iterable[str],
        vocab_size: int | None = None,
        *,
        pattern: str = GPT2_PATTERN,
        unknown: str = UNKNOWN_WORD,
    ) -> "WordTokenizer":
        """Learn the most frequent words; of equally frequent ones the lexicographically first.

        A word that is spelled like ``unknown`` counts as unknown.

        Args:
            texts: documents; no word crosses two of them.
            vocab_size: most ids, with that of unknown words; without it every word is learned.
            pattern: regular expression of the words.
            unknown: how ``decode`` writes id 0.

        Raises:
            TypeError: ``texts`` is one string, whose characters would count as documents.
            ValueError: ``vocab_size`` is not positive, or a text holds half of a surrogate pair.
        """
        if isinstance(texts, str):
            raise TypeError(f"expected an iterable of texts, got one string of {len(texts)}")
        if vocab_size is not None and vocab_size < 1:
            raise ValueError(f"vocab_size={vocab_size} has no room for the unknown word")
        compiled = _compile_words(pattern)
        counts: Counter[str] = Counter()
        for text in texts:
            encode_utf8(text)
            counts.update(_split_words(text, compiled))
        counts.pop(unknown, None)
        words = sorted(counts, key=lambda word: (-counts[word], word))
        if vocab_size is not None:
            words = words[: vocab_size - 1]
        return cls(words, pattern=pattern, unknown=unknown)

    @property
    def vocab_size(self) -> int:
        """Number of ids, with that of unknown words."""
        return len(self.words)

    def encode(self, text: str) -> list[int]:
        """Return the ids of the words.

        Raises:
            ValueError: the text holds half of a surrogate pair, which is no character.
        """
        return list(self._iterate_ids(text))

    def encode_iterable(self, pieces: Iterable[str]) -> Iterator[int]:
        """Yield the ids of the joined ``pieces``, lazily and in constant memory."""
        for block in cut_safely(pieces, self._pattern):
            yield from self._iterate_ids(block)

    def decode(self, ids: Ids) -> str:
        """Return the joined words, ``unknown`` for id 0.

        Raises:
            ValueError: an id is outside of the vocabulary.
        """
        return "".join([self.words[token_id] for token_id in _check_ids(ids, self.vocab_size)])

    def _iterate_ids(self, text: str) -> Iterator[int]:
        encode_utf8(text)
        return (self._ids.get(word, self.unknown_id) for word in _split_words(text, self._pattern))


def compression_ratio(tokenizer: TextTokenizer, text: str) -> float:
    """Return the UTF-8 bytes of ``text`` per token: the higher, the shorter the sequence of ids.

    Raises:
        ValueError: there is no text.
    """
    if not text:
        raise ValueError("a compression ratio needs text, got an empty string")
    num_tokens = sum(1 for _ in tokenizer.encode_iterable([text]))
    return len(text.encode()) / num_tokens


def encode_utf8(text: str) -> bytes:
    """Return the bytes of ``text``, or raise ``ValueError`` for half of a surrogate pair."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"surrogates not allowed: the text holds half of a surrogate pair, "
            f"U+{ord(text[error.start]):04X}, at character {error.start}"
        ) from error


def _split_words(text: str, pattern: regex.Pattern[str]) -> Iterator[str]:
    """Yield words that join to ``text``."""
    end = 0
    for match in pattern.finditer(text):
        # Character by character: a longer stretch could be cut in two by the end of a block.
        yield from text[end : match.start()]
        if match[0]:
            yield match[0]
        end = match.end()
    yield from text[end:]


def _compile_words(pattern: str) -> regex.Pattern[str]:
    """Compile ``pattern`` and refuse it where streams would give other words than the whole."""
    compiled = regex.compile(pattern)
    if compiled.fullmatch(""):
        raise ValueError(f"the pattern {pattern!r} matches the empty string, which is no word")
    for probe in ("ab cd", "ab  cd", "12 34", "ab 12", "文 字"):
        for word in _split_words(probe, compiled):
            if regex.search(r"[\p{L}\p{N}] ", word):
                raise ValueError(
                    f"the pattern {pattern!r} runs on from a letter into a space: {word!r}"
                )
    return compiled


def _check_ids(ids: Ids, vocab_size: int) -> list[int]:
    """Return ``ids`` as a list, or raise for one outside of the vocabulary."""
    listed: list[int] = ids.tolist() if isinstance(ids, np.ndarray) else list(ids)
    for token_id in listed:
        if not 0 <= token_id < vocab_size:
            raise no_such_id(token_id, vocab_size)
    return listed
