"""Byte-level byte-pair encoding of text.

A text is cut at special tokens, the rest into pre-tokens; each pre-token becomes the tokens of its
UTF-8 bytes, merged in the order in which training found the merges. There are two implementations
with the same results: ``plain``, and the compiled one of ``fast.path``, which takes over once
enough text was seen to pay for loading it.
"""

import codecs
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from itertools import chain
from operator import index
from pathlib import Path
from typing import Any

import numpy as np
import regex
from numpy.typing import NDArray

from lm_basics.tokenizer.fast.path import FastPath, Implementation
from lm_basics.tokenizer.fast.segments import SpecialTokenFinder
from lm_basics.tokenizer.patterns import (
    END_OF_TEXT,
    GPT2_PATTERN,
    AllowedSpecial,
    check_special_tokens,
    compile_pattern,
    compile_special_tokens,
    resolve_allowed,
)
from lm_basics.tokenizer.plain import PlainEncoder
from lm_basics.tokenizer.text_stream import BLOCK_CHARACTERS, cut_safely
from lm_basics.tokenizer.tokenizer_json import (
    TOKENIZER_FILE,
    BpeTables,
    read_tokenizer_folder,
    write_tokenizer_folder,
)
from lm_basics.tokenizer.vocabulary import check_ids, load_vocabulary, no_such_id, number_merges
from lm_shared.config import check_choice

_BLOCK_CHARACTERS = 1 << 17


class Tokenizer:
    """Text to token ids and back; may be used by several threads at once.

    Args:
        vocab: bytes of every id.
        merges: pairs of tokens in the order of their creation.
        special_tokens: strings that are never cut; those missing from ``vocab`` get the next ids.
        pattern: regular expression of the pre-tokens.
        cache_size: pre-tokens that the plain implementation remembers at most, about 150 bytes
            each; the compiled one takes up to 20 MB for each thread that encodes.
        implementation: which one encodes.

    Raises:
        ValueError: a merge makes a token that ``vocab`` lacks, special tokens repeat, an id is
            negative or too large, or ``pattern`` is no regular expression.
    """

    def __init__(
        self,
        vocab: Mapping[int, bytes],
        merges: Sequence[tuple[bytes, bytes]],
        special_tokens: Sequence[str] | None = None,
        *,
        pattern: str = GPT2_PATTERN,
        cache_size: int = 32_768,
        implementation: Implementation = "auto",
    ) -> None:
        special_tokens = special_tokens or []
        check_special_tokens(special_tokens)
        check_choice("implementation", implementation, Implementation)
        self.vocab = dict(vocab)
        check_ids(self.vocab)
        self.merges = list(merges)
        self.pattern = pattern
        self._cache_size = cache_size
        self._implementation: Implementation = implementation
        # Of two ids with the same bytes the first one counts.
        ids = {token: token_id for token_id, token in sorted(self.vocab.items(), reverse=True)}
        self.special_token_ids: dict[str, int] = {}
        for special in special_tokens:
            token_id = ids.setdefault(special.encode(), max(self.vocab, default=-1) + 1)
            self.vocab[token_id] = special.encode()
            self.special_token_ids[special] = token_id
        self.vocab_size = max(self.vocab, default=-1) + 1
        self._pretoken_pattern = compile_pattern(pattern)
        self._special_pattern = compile_special_tokens(special_tokens)
        self._special_finder = SpecialTokenFinder(self.special_token_ids)
        byte_ids = [ids.get(bytes([byte])) for byte in range(256)]
        pairs, merged_ids = number_merges(self.merges, ids)
        self._plain = PlainEncoder(
            byte_ids,
            pairs,
            merged_ids,
            pattern=self._pretoken_pattern,
            special_token_ids=self.special_token_ids,
            cache_size=cache_size,
        )
        self._fast = FastPath(
            self.vocab,
            byte_ids,
            pairs,
            merged_ids,
            pattern=pattern,
            id_dtype=self.id_dtype,
            special_token_ids=self.special_token_ids,
            implementation=implementation,
        )

    @classmethod
    def from_files(
        cls,
        vocab_filepath: Path | str,
        merges_filepath: Path | str,
        special_tokens: Sequence[str] | None = None,
        *,
        pattern: str = GPT2_PATTERN,
    ) -> "Tokenizer":
        """Read GPT-2's ``vocab.json`` and ``merges.txt``, which ``save_vocabulary`` writes.

        The two files hold neither the pattern nor which tokens are special.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: a file is damaged, or the two disagree; the message names it.
        """
        vocab, merges = load_vocabulary(
            Path(vocab_filepath), Path(merges_filepath), special_tokens=special_tokens or ()
        )
        try:
            return cls(vocab, merges, special_tokens, pattern=pattern)
        except ValueError as error:
            raise ValueError(f"{vocab_filepath} and {merges_filepath}: {error}") from error

    @classmethod
    def from_folder(cls, folder: Path | str) -> "Tokenizer":
        """Read the ``tokenizer.json`` of a folder in the Hugging Face layout.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is damaged or asks for more than byte-level BPE.
        """
        tables = read_tokenizer_folder(Path(folder))
        specials = list(tables.special_token_ids)
        try:
            return cls(tables.vocab, tables.merges, specials, pattern=tables.pattern)
        except ValueError as error:
            raise ValueError(f"{Path(folder) / TOKENIZER_FILE}: {error}") from error

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.vocab_size} tokens, {len(self.merges)} merges)"

    def __reduce__(self) -> tuple[Any, ...]:
        # Caches and addresses of machine code stay behind: another process makes its own.
        specials = list(self.special_token_ids)
        options = {
            "pattern": self.pattern,
            "cache_size": self._cache_size,
            "implementation": self._implementation,
        }
        return partial(type(self), **options), (self.vocab, self.merges, specials)

    def save(
        self,
        folder: Path | str,
        *,
        end_of_text: str = END_OF_TEXT,
        chat_template: str | None = None,
    ) -> None:
        """Write the Hugging Face layout; see ``write_tokenizer_folder``."""
        write_tokenizer_folder(
            self._tables, Path(folder), end_of_text=end_of_text, chat_template=chat_template
        )

    @property
    def id_dtype(self) -> np.dtype[np.unsignedinteger]:
        """Smallest of uint16 and uint32 that holds every id."""
        return np.dtype(np.uint16 if self.vocab_size <= 1 << 16 else np.uint32)

    @cached_property
    def vocab_hash(self) -> str:
        """SHA-256, in hex, of everything that decides the ids."""
        return self._tables.hash()

    @cached_property
    def token_num_bytes(self) -> NDArray[np.int64]:
        """UTF-8 bytes of text behind each id; a special token stands for no text."""
        num_bytes = np.zeros(self.vocab_size, dtype=np.int64)
        for token_id, token in self.vocab.items():
            num_bytes[token_id] = len(token)
        num_bytes[list(self.special_token_ids.values())] = 0
        return num_bytes

    def encode(self, text: str, *, allowed_special: AllowedSpecial = "all") -> list[int]:
        """Return the token ids of ``text``.

        Raises:
            TypeError: ``text`` is no string.
            ValueError: the text holds half of a surrogate pair, which no UTF-8 can spell, or
                ``allowed_special`` names what is no special token.
        """
        _check_text(text)
        if self._fast.takes(len(text)):
            return self._fast.encode(text, self._finder_of(allowed_special)).tolist()
        return list(self._plain.encode(text, self._special_pattern_of(allowed_special)))

    def encode_to_numpy(
        self, text: str, *, allowed_special: AllowedSpecial = "all"
    ) -> NDArray[np.unsignedinteger]:
        """Return the token ids in the smallest dtype that holds the vocabulary."""
        _check_text(text)
        if self._fast.takes(len(text)):
            return self._fast.encode(text, self._finder_of(allowed_special))
        special_pattern = self._special_pattern_of(allowed_special)
        # Blocks keep the list of pre-tokens small: it takes 20 times the memory of the text.
        blocks = [
            np.fromiter(self._plain.encode(block, special_pattern), dtype=self.id_dtype)
            for block in self._cut([text], allowed_special, _BLOCK_CHARACTERS)
        ]
        return np.concatenate(blocks) if blocks else np.empty(0, dtype=self.id_dtype)

    def encode_batch(
        self,
        texts: Iterable[str],
        *,
        allowed_special: AllowedSpecial = "all",
        num_threads: int | None = None,
    ) -> list[list[int]]:
        """Return the token ids of each text; several threads encode, all cores by default.

        Raises:
            TypeError: ``texts`` is one string instead of several.
            ValueError: ``num_threads`` is below 1; see also ``encode``.
        """
        texts = _check_batch(texts, num_threads)
        if self._fast.takes(sum(map(len, texts))):
            return self._fast.encode_batch(texts, self._finder_of(allowed_special), num_threads)
        return [self.encode(text, allowed_special=allowed_special) for text in texts]

    def encode_batch_to_numpy(
        self,
        texts: Iterable[str],
        *,
        allowed_special: AllowedSpecial = "all",
        num_threads: int | None = None,
    ) -> list[NDArray[np.unsignedinteger]]:
        """Return the token ids of each text as arrays; see ``encode_batch``."""
        texts = _check_batch(texts, num_threads)
        if self._fast.takes(sum(map(len, texts))):
            finder = self._finder_of(allowed_special)
            return self._fast.encode_batch_to_numpy(texts, finder, num_threads)
        return [self.encode_to_numpy(text, allowed_special=allowed_special) for text in texts]

    def encode_utf8_documents(
        self, documents: Sequence[bytes], *, end_of_text: str = END_OF_TEXT
    ) -> tuple[NDArray[np.unsignedinteger], NDArray[np.int64]]:
        """Return the ids of all documents, each with the end-of-text token, and where each ends.

        Text that spells a special token is encoded as ordinary text.

        Raises:
            KeyError: ``end_of_text`` is no special token.
            UnicodeDecodeError: a document is not UTF-8.
        """
        end_id = self.special_token_ids[end_of_text]
        if self._fast.takes(sum(map(len, documents))):
            return self._fast.encode_utf8_documents(documents, end_of_text)
        end = np.array([end_id], dtype=self.id_dtype)
        parts = [self.encode_to_numpy(data.decode(), allowed_special=()) for data in documents]
        ends = np.cumsum([len(part) + 1 for part in parts], dtype=np.int64)
        return np.concatenate([end[:0], *(ids for part in parts for ids in (part, end))]), ends

    def prepare(self, num_characters: int) -> bool:
        """Return whether a text of that size would be encoded by the compiled implementation.

        If so it is loaded now.
        """
        return self._fast.takes(num_characters)

    def encode_iterable(
        self, pieces: Iterable[str], *, allowed_special: AllowedSpecial = "all"
    ) -> Iterator[int]:
        """Yield the ids of the joined ``pieces``, lazily and in constant memory.

        With a pattern that is not among ``patterns.PLACES_TO_CUT``, nobody knows where a text may
        be cut, and memory grows with the text between special tokens.

        The ids are those of ``encode("".join(pieces))``, however the text is cut into pieces.
        """
        blocks = self._cut(pieces, allowed_special, BLOCK_CHARACTERS)
        return chain.from_iterable(
            self.encode(block, allowed_special=allowed_special) for block in blocks
        )

    def encode_byte_stream(
        self, pieces: Iterable[bytes], *, allowed_special: AllowedSpecial = "all"
    ) -> Iterator[int]:
        """Yield the ids of UTF-8 that arrives in pieces, which may end inside of a character.

        Raises:
            ValueError: the bytes are not UTF-8.
        """
        texts = codecs.iterdecode(pieces, "utf-8")
        return self.encode_iterable(texts, allowed_special=allowed_special)

    def decode_bytes(self, ids: Iterable[int] | NDArray[np.integer]) -> bytes:
        """Return the bytes of ``ids``.

        Raises:
            TypeError: an id is no integer, or an array has several axes.
            ValueError: an id is outside of the vocabulary.
        """
        if isinstance(ids, np.ndarray) and (ids.dtype.kind not in "iu" or ids.ndim != 1):
            raise TypeError(f"expected ids along one axis, got {ids.dtype} of shape {ids.shape}")
        if isinstance(ids, np.ndarray | list) and self._fast.decodes(len(ids)):
            return self._fast.decode(ids)
        listed = ids.tolist() if isinstance(ids, np.ndarray) else ids
        try:
            return b"".join([self.vocab[index(token_id)] for token_id in listed])
        except KeyError as error:
            raise no_such_id(error.args[0], self.vocab_size) from error

    def decode(self, ids: Iterable[int] | NDArray[np.integer]) -> str:
        """Return the text of ``ids``; bytes that are not UTF-8 become U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def decode_stream(self, ids: Iterable[int]) -> Iterator[str]:
        """Yield text as soon as its characters are complete, for ids that come one by one.

        The joined text is that of ``decode``.
        """
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        for token_id in ids:
            if text := decoder.decode(self.token_bytes(token_id)):
                yield text
        if text := decoder.decode(b"", final=True):
            yield text

    def token_bytes(self, token_id: int) -> bytes:
        """Return the bytes of one token."""
        return self.decode_bytes([token_id])

    @property
    def _tables(self) -> BpeTables:
        return BpeTables(
            vocab=self.vocab,
            merges=self.merges,
            special_token_ids=self.special_token_ids,
            pattern=self.pattern,
        )

    def _special_pattern_of(self, allowed: AllowedSpecial) -> "regex.Pattern[str] | None":
        if allowed == "all":
            return self._special_pattern
        return compile_special_tokens(resolve_allowed(allowed, self.special_token_ids))

    def _finder_of(self, allowed: AllowedSpecial) -> SpecialTokenFinder:
        if allowed == "all":
            return self._special_finder
        return SpecialTokenFinder(resolve_allowed(allowed, self.special_token_ids))

    def _cut(
        self, pieces: Iterable[str], allowed: AllowedSpecial, block_characters: int
    ) -> Iterator[str]:
        """Return the joined ``pieces`` in blocks that can be encoded apart."""
        return cut_safely(
            pieces,
            self._pretoken_pattern,
            resolve_allowed(allowed, self.special_token_ids),
            block_characters=block_characters,
            is_compiled=lambda: self._fast.takes(0),
        )


def _check_text(text: str) -> None:
    """Raise ``TypeError`` unless it is a text."""
    if not isinstance(text, str):
        raise TypeError(f"expected a str to encode, got {type(text).__name__}")


def _check_batch(texts: Iterable[str], num_threads: int | None) -> Sequence[str]:
    """Return the texts as a sequence.

    Raises:
        TypeError: it is one string instead of several.
        ValueError: ``num_threads`` is below 1.
    """
    if isinstance(texts, str):
        raise TypeError(f"expected several texts, got the string {texts[:40]!r}")
    if num_threads is not None and num_threads < 1:
        raise ValueError(f"num_threads={num_threads} leaves nobody to encode")
    return texts if isinstance(texts, Sequence) else list(texts)
