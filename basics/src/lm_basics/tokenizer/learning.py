"""Byte-pair encoding learned from text, in plain Python: the algorithm as it is described.

Sennrich et al. (2016) on bytes, as GPT-2 does it: the most frequent pair of adjacent tokens becomes
a new token, and every occurrence is replaced, from left to right within each pre-token; then again.
Text is cut at special tokens first, so they neither merge nor count.

Only the *distinct* pre-tokens are kept, each with its count, and the count of every pair is updated
where a merge changes it: an index tells which pre-tokens hold a pair, and a heap, which of them is
the most frequent. Entries of the heap are corrected when they come up ("lazy" deletion).

The fast path, ``lm_basics.tokenizer.fast``, does the same on packed arrays and is held to this one.
"""

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Literal

from lm_basics.tokenizer.patterns import (
    GPT2_PATTERN,
    compile_pattern,
    compile_special_tokens,
    split_pretokens,
    split_special_tokens,
)

TieBreaking = Literal["greater_bytes", "smaller_id"]
"""Which of equally frequent pairs is merged: the lexicographically greater pair of byte strings, or
the pair of smaller token ids, as Hugging Face tokenizers and rustbpe choose."""

Pair = tuple[int, int]

_NUM_BYTES = 256
_REVERSED_BYTES = bytes(255 - byte for byte in range(_NUM_BYTES))


def count_pretokens(
    texts: Iterable[str], special_tokens: Sequence[str] = (), *, pattern: str = GPT2_PATTERN
) -> Counter[str]:
    """Return how often each pre-token occurs in ``texts`` outside of special tokens."""
    pretoken_pattern = compile_pattern(pattern)
    special_pattern = compile_special_tokens(special_tokens)
    counts: Counter[str] = Counter()
    for text in texts:
        for ordinary in split_special_tokens(text, special_pattern)[::2]:
            counts.update(split_pretokens(ordinary, pretoken_pattern))
    return counts


def learn_merges(
    pretoken_counts: Mapping[bytes, int],
    num_merges: int,
    *,
    tie_breaking: TieBreaking = "greater_bytes",
) -> list[tuple[bytes, bytes]]:
    """Return up to ``num_merges`` merges, in order; fewer when no pair is left."""
    tokens = [bytes([byte]) for byte in range(_NUM_BYTES)]
    pairs = _PairCounts(pretoken_counts, tie_breaking)
    merges: list[tuple[bytes, bytes]] = []
    while len(merges) < num_merges and (pair := pairs.pop_most_frequent()) is not None:
        left, right = tokens[pair[0]], tokens[pair[1]]
        merges.append((left, right))
        tokens.append(left + right)
        pairs.merge(pair, left + right)
    return merges


def merge_pair(word: Sequence[int], pair: Pair, new_id: int) -> list[int]:
    """Replace the occurrences of ``pair`` from left to right, so ``aaa`` becomes ``(aa)a``."""
    left, right = pair
    merged: list[int] = []
    position, last = 0, len(word) - 1
    while position <= last:
        token = word[position]
        if token == left and position < last and word[position + 1] == right:
            merged.append(new_id)
            position += 2
        else:
            merged.append(token)
            position += 1
    return merged


class _PairCounts:
    """The words (distinct pre-tokens as lists of ids) and the count of every adjacent pair."""

    def __init__(self, pretoken_counts: Mapping[bytes, int], tie_breaking: TieBreaking) -> None:
        self._words = [list(pretoken) for pretoken in pretoken_counts]
        self._word_counts = list(pretoken_counts.values())
        self._counts: dict[Pair, int] = defaultdict(int)
        # A superset: a word stays listed after its last occurrence of a pair has gone.
        self._words_with: dict[Pair, set[int]] = defaultdict(set)
        for index, (word, count) in enumerate(zip(self._words, self._word_counts, strict=True)):
            for pair in pairwise(word):
                self._counts[pair] += count
                self._words_with[pair].add(index)
        self._tie_breaking: TieBreaking = tie_breaking
        self._order: list[str | int] = [
            self._order_of(byte, bytes([byte])) for byte in range(_NUM_BYTES)
        ]
        self._heap = [self._entry(pair, count) for pair, count in self._counts.items()]
        heapq.heapify(self._heap)

    def pop_most_frequent(self) -> Pair | None:
        """Return the pair to merge next, or ``None`` when no pair is left."""
        while self._heap:
            negative_count, _, _, pair = heapq.heappop(self._heap)
            count = self._counts.get(pair, 0)
            if count == -negative_count:
                return pair
            # Counts of a pair only fall after it was entered, so an entry is never too low: this
            # one goes back with its present count and loses no turn.
            if count > 0:
                heapq.heappush(self._heap, self._entry(pair, count))
        return None

    def merge(self, pair: Pair, token: bytes) -> None:
        """Replace ``pair`` by the next id, whose bytes are ``token``, in all words."""
        new_id = len(self._order)
        self._order.append(self._order_of(new_id, token))
        changes: dict[Pair, int] = defaultdict(int)
        for index in self._words_with.pop(pair):
            word, count = self._words[index], self._word_counts[index]
            merged = merge_pair(word, pair, new_id)
            if len(merged) == len(word):
                continue
            self._words[index] = merged
            for old in pairwise(word):
                changes[old] -= count
            for new in pairwise(merged):
                changes[new] += count
                self._words_with[new].add(index)
        for changed, change in changes.items():
            self._counts[changed] += change
            if self._counts[changed] == 0:
                del self._counts[changed]
                self._words_with.pop(changed, None)
            elif change > 0:
                heapq.heappush(self._heap, self._entry(changed, self._counts[changed]))

    def _entry(self, pair: Pair, count: int) -> tuple[int, str | int, str | int, Pair]:
        return (-count, self._order[pair[0]], self._order[pair[1]], pair)

    def _order_of(self, token_id: int, token: bytes) -> str | int:
        """Return a key by which the token that wins a tie comes first.

        For the greater bytes every byte is turned around, ``b -> 255 - b``, and a character above
        all of them ends the key, so that ``b"ab"`` comes after ``b"abc"``, its continuation.
        """
        if self._tie_breaking == "smaller_id":
            return token_id
        return token.translate(_REVERSED_BYTES).decode("latin-1") + "\u0100"
