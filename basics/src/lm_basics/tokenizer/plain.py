"""Byte-pair encoding in plain Python: pre-tokens by ``regex``, merged one by one.

Few distinct pre-tokens make up most of a text, so their ids are remembered in a cache of bounded
size. The fast path, ``lm_basics.tokenizer.fast``, gives the same ids.

Merging repeats what training did: of all merges that apply to two neighbours, the earliest one
(lowest rank) is applied, at its leftmost place, until none applies. A merge of rank r makes a token
that only merges of higher rank contain, so this order equals "all places of rank r at once".
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, compress, pairwise

import regex

from lm_basics.tokenizer.patterns import split_pretokens, split_special_tokens

Ranks = Mapping[tuple[int, int], int]
"""Two neighbouring token ids and the rank of their merge."""

_LONG_PRETOKEN = 128
"""Tokens from which the heap is faster than repeated scans; letters without end would take n^2."""


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


def merge_tokens(ids: Sequence[int], ranks: Ranks, merged_ids: Sequence[int]) -> list[int]:
    """Apply every merge to the tokens of one pre-token.

    Args:
        ids: the token ids of its bytes.
        ranks: the rank of every merge.
        merged_ids: for every rank the id of the token that the merge makes.
    """
    merge = _merge_by_scanning if len(ids) < _LONG_PRETOKEN else _merge_by_heap
    return merge(ids, ranks, merged_ids)


def _merge_by_scanning(ids: Sequence[int], ranks: Ranks, merged_ids: Sequence[int]) -> list[int]:
    """Look through all neighbours for the lowest rank, once per merge: best for words."""
    word = list(ids)
    no_merge = len(merged_ids)
    while len(word) > 1:
        neighbour_ranks = [ranks.get(pair, no_merge) for pair in pairwise(word)]
        rank = min(neighbour_ranks)
        if rank == no_merge:
            break
        position = neighbour_ranks.index(rank)
        word[position : position + 2] = [merged_ids[rank]]
    return word


def _merge_by_heap(ids: Sequence[int], ranks: Ranks, merged_ids: Sequence[int]) -> list[int]:
    """Keep the neighbours in a heap and the tokens in a doubly linked list: O(n log n)."""
    word = list(ids)
    following = list(range(1, len(word) + 1))
    preceding = list(range(-1, len(word) - 1))
    is_alive = [True] * len(word)
    heap = [(ranks[pair], position) for position, pair in enumerate(pairwise(ids)) if pair in ranks]
    heapq.heapify(heap)

    while heap:
        rank, left = heapq.heappop(heap)
        right = following[left]
        # An entry is stale when one of its tokens has been merged since.
        if not is_alive[left] or right == len(word) or ranks.get((word[left], word[right])) != rank:
            continue
        word[left] = merged_ids[rank]
        is_alive[right] = False
        following[left] = following[right]
        if following[left] < len(word):
            preceding[following[left]] = left
        for first, second in ((preceding[left], left), (left, following[left])):
            if first >= 0 and second < len(word) and (word[first], word[second]) in ranks:
                heapq.heappush(heap, (ranks[word[first], word[second]], first))
    return list(compress(word, is_alive))
