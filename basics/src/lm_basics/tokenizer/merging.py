"""The merge loop of byte-pair encoding for one pre-token.

Encoding repeats what training did: of all merges that apply to two neighbours, the earliest one
(lowest rank) is applied, at its leftmost place, until none applies. A merge of rank r makes a token
that only merges of higher rank contain, so this order equals "all places of rank r at once".
"""

import heapq
from collections.abc import Mapping, Sequence
from itertools import compress, pairwise

Ranks = Mapping[tuple[int, int], int]
"""Two neighbouring token ids and the rank of their merge."""

_LONG_PRETOKEN = 128
"""Tokens from which the heap is faster than repeated scans; letters without end would take n^2."""


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
