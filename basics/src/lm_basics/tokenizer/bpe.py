"""Byte-level byte-pair encoding of text.

A text is cut at special tokens, the rest into pre-tokens; each pre-token becomes the tokens of its
UTF-8 bytes, merged in the order in which training found the merges (see ``merging``). Few distinct
pre-tokens make up most of a text, so their ids are remembered in a cache of bounded size.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np
import regex
from numpy.typing import NDArray

from lm_basics.tokenizer.merging import merge_tokens
from lm_basics.tokenizer.patterns import (
    END_OF_TEXT,
    GPT2_PATTERN,
    check_special_tokens,
    compile_special_tokens,
    split_special_tokens,
)
from lm_basics.tokenizer.text_stream import cut_safely
from lm_basics.tokenizer.tokenizer_json import (
    BpeTables,
    read_tokenizer_folder,
    write_tokenizer_folder,
)
from lm_basics.tokenizer.vocabulary import load_vocabulary

AllowedSpecial = Literal["all"] | Collection[str]
"""The special tokens that text may spell; in untrusted text none, the empty tuple."""

_ARRAY_BLOCK_CHARACTERS = 1 << 18


class Tokenizer:
    """Text to token ids and back.

    Args:
        vocab: bytes of every id.
        merges: pairs of tokens in the order of their creation.
        special_tokens: strings that are never cut; those missing from ``vocab`` get the next ids.
        pattern: regular expression of the pre-tokens.
        cache_size: pre-tokens remembered at most, about 150 bytes each.

    Raises:
        ValueError: a merge makes a token that ``vocab`` lacks, or special tokens repeat.
    """

    def __init__(
        self,
        vocab: Mapping[int, bytes],
        merges: Sequence[tuple[bytes, bytes]],
        special_tokens: Sequence[str] | None = None,
        *,
        pattern: str = GPT2_PATTERN,
        cache_size: int = 32_768,
    ) -> None:
        special_tokens = special_tokens or []
        check_special_tokens(special_tokens)
        self.vocab = dict(vocab)
        self.merges = list(merges)
        self.pattern = pattern
        # Of two ids with the same bytes the first one counts.
        ids = {token: token_id for token_id, token in sorted(self.vocab.items(), reverse=True)}
        self.special_token_ids: dict[str, int] = {}
        for special in special_tokens:
            token_id = ids.setdefault(special.encode(), max(self.vocab, default=-1) + 1)
            self.vocab[token_id] = special.encode()
            self.special_token_ids[special] = token_id
        self.vocab_size = max(self.vocab, default=-1) + 1
        self._byte_ids = [ids.get(bytes([byte])) for byte in range(256)]
        self._ranks, self._merged_ids = _rank_merges(self.merges, ids)
        self._pretoken_pattern = regex.compile(pattern)
        self._special_pattern = compile_special_tokens(special_tokens)
        self._cache = _PretokenCache(self._encode_pretoken, cache_size)

    @classmethod
    def from_files(
        cls,
        vocab_path: Path | str,
        merges_path: Path | str,
        special_tokens: Sequence[str] | None = None,
    ) -> "Tokenizer":
        """Read GPT-2's ``vocab.json`` and ``merges.txt``, which ``save_vocabulary`` writes."""
        vocab, merges = load_vocabulary(
            Path(vocab_path), Path(merges_path), special_tokens=special_tokens or ()
        )
        return cls(vocab, merges, special_tokens)

    @classmethod
    def from_folder(cls, folder: Path | str) -> "Tokenizer":
        """Read the ``tokenizer.json`` of a folder in the Hugging Face layout."""
        tables = read_tokenizer_folder(Path(folder))
        specials = list(tables.special_token_ids)
        return cls(tables.vocab, tables.merges, specials, pattern=tables.pattern)

    def save(
        self,
        folder: Path | str,
        *,
        end_of_text: str = END_OF_TEXT,
        chat_template: str | None = None,
    ) -> None:
        """Write the Hugging Face layout; see ``write_tokenizer_folder``."""
        tables = BpeTables(
            vocab=self.vocab,
            merges=self.merges,
            special_token_ids=self.special_token_ids,
            pattern=self.pattern,
        )
        write_tokenizer_folder(
            tables, Path(folder), end_of_text=end_of_text, chat_template=chat_template
        )

    @property
    def id_dtype(self) -> np.dtype[np.unsignedinteger]:
        """Smallest of uint16 and uint32 that holds every id."""
        return np.dtype(np.uint16 if self.vocab_size <= 1 << 16 else np.uint32)

    @cached_property
    def vocab_hash(self) -> str:
        """SHA-256, in hex, of everything that decides the ids."""
        tables = {
            "vocab": [[token_id, token.hex()] for token_id, token in sorted(self.vocab.items())],
            "merges": [[left.hex(), right.hex()] for left, right in self.merges],
            "special_token_ids": self.special_token_ids,
            "pattern": self.pattern,
        }
        return hashlib.sha256(json.dumps(tables, sort_keys=True).encode()).hexdigest()

    @cached_property
    def token_num_bytes(self) -> NDArray[np.int64]:
        """UTF-8 bytes of text behind each id; a special token stands for no text."""
        num_bytes = np.zeros(self.vocab_size, dtype=np.int64)
        for token_id, token in self.vocab.items():
            num_bytes[token_id] = len(token)
        num_bytes[list(self.special_token_ids.values())] = 0
        return num_bytes

    def encode(self, text: str, *, allowed_special: AllowedSpecial = "all") -> list[int]:
        """Return the token ids of ``text``."""
        return list(self._iterate_ids(text, self._special_pattern_of(allowed_special)))

    def encode_to_numpy(
        self, text: str, *, allowed_special: AllowedSpecial = "all"
    ) -> NDArray[np.unsignedinteger]:
        """Return the token ids in the smallest dtype that holds the vocabulary."""
        special_pattern = self._special_pattern_of(allowed_special)
        # Blocks keep the list of pre-tokens small: it takes 20 times the memory of the text.
        blocks = [
            np.fromiter(self._iterate_ids(block, special_pattern), dtype=self.id_dtype)
            for block in self._cut([text], allowed_special, _ARRAY_BLOCK_CHARACTERS)
        ]
        return np.concatenate(blocks) if blocks else np.empty(0, dtype=self.id_dtype)

    def encode_iterable(
        self, pieces: Iterable[str], *, allowed_special: AllowedSpecial = "all"
    ) -> Iterator[int]:
        """Yield the ids of the joined ``pieces``, lazily and in constant memory.

        The ids are those of ``encode("".join(pieces))``, however the text is cut into pieces.
        """
        special_pattern = self._special_pattern_of(allowed_special)
        for block in self._cut(pieces, allowed_special):
            yield from self._iterate_ids(block, special_pattern)

    def decode_bytes(self, ids: Iterable[int] | NDArray[np.integer]) -> bytes:
        """Return the bytes of ``ids``.

        Raises:
            ValueError: an id is outside of the vocabulary.
        """
        listed = ids.tolist() if isinstance(ids, np.ndarray) else ids
        try:
            return b"".join([self.vocab[token_id] for token_id in listed])
        except KeyError as error:
            raise ValueError(
                f"token id {error.args[0]} is not in the vocabulary of {self.vocab_size} tokens"
            ) from error

    def decode(self, ids: Iterable[int] | NDArray[np.integer]) -> str:
        """Return the text of ``ids``; bytes that are not UTF-8 become U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def token_bytes(self, token_id: int) -> bytes:
        """Return the bytes of one token."""
        return self.decode_bytes([token_id])

    def _iterate_ids(self, text: str, special_pattern: regex.Pattern[str] | None) -> Iterator[int]:
        """Return an iterator over the ids of one text; its inner loops run in C."""
        return chain.from_iterable(self._iterate_parts(text, special_pattern))

    def _iterate_parts(
        self, text: str, special_pattern: regex.Pattern[str] | None
    ) -> Iterator[Iterable[int]]:
        """Yield the ids between special tokens, and those of special tokens."""
        for index, part in enumerate(split_special_tokens(text, special_pattern)):
            if index % 2 == 1:
                yield (self.special_token_ids[part],)
            else:
                pretokens = self._pretoken_pattern.findall(part)
                yield chain.from_iterable(map(self._cache.__getitem__, pretokens))

    def _encode_pretoken(self, pretoken: str) -> tuple[int, ...]:
        ids = [self._byte_ids[byte] for byte in pretoken.encode()]
        if None in ids:
            raise ValueError(f"the vocabulary lacks a byte of {pretoken!r}")
        known_ids = [token_id for token_id in ids if token_id is not None]
        return tuple(merge_tokens(known_ids, self._ranks, self._merged_ids))

    def _special_pattern_of(self, allowed: AllowedSpecial) -> regex.Pattern[str] | None:
        if allowed == "all":
            return self._special_pattern
        if unknown := set(allowed) - self.special_token_ids.keys():
            raise ValueError(f"{sorted(unknown)} are no special tokens of this tokenizer")
        return compile_special_tokens(allowed)

    def _cut(
        self, pieces: Iterable[str], allowed: AllowedSpecial, block_characters: int | None = None
    ) -> Iterator[str]:
        specials = self.special_token_ids if allowed == "all" else allowed
        if block_characters is None:
            return cut_safely(pieces, self._pretoken_pattern, specials)
        return cut_safely(
            pieces, self._pretoken_pattern, specials, block_characters=block_characters
        )


class _PretokenCache(dict[str, tuple[int, ...]]):
    """The ids of recent pre-tokens, computed when first asked for.

    When the younger half is full it becomes the older half, and what was not asked for since the
    last such moment is dropped: nearly "least recently used" at the price of a plain dictionary.
    """

    _LONGEST = 64

    def __init__(self, encode: Callable[[str], tuple[int, ...]], size: int) -> None:
        super().__init__()
        self._encode = encode
        self._half = max(1, size // 2)
        self._older: dict[str, tuple[int, ...]] = {}

    def __missing__(self, pretoken: str) -> tuple[int, ...]:
        ids = self._older.get(pretoken)
        if ids is None:
            ids = self._encode(pretoken)
        if len(pretoken) <= self._LONGEST:
            if len(self) >= self._half:
                self._older = dict(self)
                self.clear()
            self[pretoken] = ids
        return ids


def _rank_merges(
    merges: Sequence[tuple[bytes, bytes]], ids: Mapping[bytes, int]
) -> tuple[dict[tuple[int, int], int], list[int]]:
    """Return the rank of each pair of ids, and for each rank the id that the merge makes."""
    ranks: dict[tuple[int, int], int] = {}
    merged_ids = []
    for rank, (left, right) in enumerate(merges):
        for token in (left, right, left + right):
            if token not in ids:
                raise ValueError(f"merge {rank} needs the token {token!r}, which vocab lacks")
        ranks.setdefault((ids[left], ids[right]), rank)
        merged_ids.append(ids[left + right])
    return ranks, merged_ids
