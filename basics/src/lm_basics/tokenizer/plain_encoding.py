"""The encoder in plain Python: pre-tokens by ``regex``, merged one by one.

Few distinct pre-tokens make up most of a text, so their ids are remembered in a cache of bounded
size. The fast path, ``lm_basics.tokenizer.fast``, gives the same ids.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain

import regex

from lm_basics.tokenizer.merging import merge_tokens
from lm_basics.tokenizer.patterns import split_pretokens, split_special_tokens


class PlainEncoder:
    """Encodes text.

    Args:
        byte_ids: id of every byte, ``None`` where the vocabulary lacks it.
        pairs: for every merge, in order, the ids of its two tokens.
        merged_ids: the id of the token that it makes.
        pattern: regular expression of the pre-tokens.
        special_token_ids: ids of the special tokens.
        cache_size: pre-tokens remembered at most.
    """

    def __init__(
        self,
        byte_ids: Sequence[int | None],
        pairs: Sequence[tuple[int, int]],
        merged_ids: Sequence[int],
        *,
        pattern: "regex.Pattern[str]",
        special_token_ids: Mapping[str, int],
        cache_size: int,
    ) -> None:
        self._byte_ids = byte_ids
        # Of two equal merges the first one counts.
        self._ranks = {pairs[rank]: rank for rank in range(len(pairs) - 1, -1, -1)}
        self._merged_ids = merged_ids
        self._pattern = pattern
        self._special_token_ids = special_token_ids
        self.cache = PretokenCache(self._encode_pretoken, cache_size)

    def encode(self, text: str, special_pattern: "regex.Pattern[str] | None") -> Iterator[int]:
        """Return an iterator over the ids of one text; its inner loops run in C."""
        return chain.from_iterable(self._encode_parts(text, special_pattern))

    def _encode_parts(
        self, text: str, special_pattern: "regex.Pattern[str] | None"
    ) -> Iterator[Iterable[int]]:
        """Yield the ids between special tokens, and those of special tokens."""
        for index, part in enumerate(split_special_tokens(text, special_pattern)):
            if index % 2 == 1:
                yield (self._special_token_ids[part],)
            else:
                pretokens = split_pretokens(part, self._pattern)
                yield chain.from_iterable(map(self.cache.__getitem__, pretokens))

    def _encode_pretoken(self, pretoken: str) -> tuple[int, ...]:
        ids = [self._byte_ids[byte] for byte in pretoken.encode()]
        if None in ids:
            raise ValueError(f"the vocabulary lacks a byte of {pretoken!r}")
        known_ids = [token_id for token_id in ids if token_id is not None]
        return tuple(merge_tokens(known_ids, self._ranks, self._merged_ids))


class PretokenCache(dict[str, tuple[int, ...]]):
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
