"""Clusters of near duplicates: candidates by MinHash, confirmed by their true similarity."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import UInt64

from lm_data.deduplicate.minhash import (
    MinHashConfig,
    MinHasher,
    ShingleHasher,
    find_candidates,
    jaccard,
)

Shingles = UInt64[np.ndarray, " shingles"]

SHINGLE_SETS_IN_MEMORY = 1024
ROWS_PER_SET = 8
MAX_COMPARED = 8
MAX_REPRESENTATIVES = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class Clusters:
    """The outcome over a sequence of documents, by their places in it."""

    groups: list[list[int]]
    """Clusters of at least two documents, each in ascending order."""
    num_candidates: int
    """Pairs whose true similarity was computed."""
    num_confirmed: int
    """Pairs of these at or above the threshold."""


class UnionFind:
    """A partition of ``0 .. num_items - 1`` that only grows coarser (Galler & Fischer, 1964).

    With path halving and union by size.
    """

    def __init__(self, num_items: int) -> None:
        self._parents = list(range(num_items))
        self._sizes = [1] * num_items

    def find(self, item: int) -> int:
        """Return the item that stands for the set of ``item``."""
        parents = self._parents
        while parents[item] != item:
            # Every other step is skipped next time, which keeps all paths short.
            parents[item] = parents[parents[item]]
            item = parents[item]
        return item

    def union(self, first: int, second: int) -> bool:
        """Join two sets; return whether they were apart."""
        first, second = self.find(first), self.find(second)
        if first == second:
            return False
        if self._sizes[first] < self._sizes[second]:
            first, second = second, first
        self._parents[second] = first
        self._sizes[first] += self._sizes[second]
        return True

    def groups(self) -> list[list[int]]:
        """Return the sets, each in ascending order, ordered by their smallest item."""
        members: dict[int, list[int]] = {}
        for item in range(len(self._parents)):
            members.setdefault(self.find(item), []).append(item)
        return list(members.values())


def sign_texts(
    texts: Sequence[str], config: MinHashConfig
) -> UInt64[np.ndarray, " documents hashes"]:
    """Return the signatures of texts."""
    shingle_hasher = ShingleHasher(config.ngram_size)
    min_hasher = MinHasher(config.num_hashes, seed=config.seed)
    signatures = [min_hasher.sign(shingle_hasher.hash_text(text)) for text in texts]
    return np.array(signatures, dtype=np.uint64).reshape(len(texts), config.num_hashes)


def cluster_documents(
    signatures: UInt64[np.ndarray, " documents hashes"],
    read_shingles: Callable[[int], Shingles],
    config: MinHashConfig,
) -> Clusters:
    """Join candidate pairs whose true similarity reaches the threshold, transitively.

    In a bucket each row is compared with the ``MAX_COMPARED`` rows of other sets whose signatures
    agree best with its own, among ``ROWS_PER_SET`` rows of each set and the last
    ``MAX_REPRESENTATIVES`` of them all; so the time grows with the rows of a bucket, not with its
    pairs. A bucket of at most ``MAX_COMPARED`` rows is looked at whole; in a larger one a pair
    whose members have many closer neighbours may be missed. None is joined without being confirmed.

    Args:
        signatures: One row per document.
        read_shingles: Gives the hashed shingles of a document by its row; asked for candidates
            only, and again when a set has left the cache of ``SHINGLE_SETS_IN_MEMORY``.
        config: Shingles and threshold; the same that made the signatures.
    """
    read = lru_cache(maxsize=SHINGLE_SETS_IN_MEMORY)(read_shingles)
    sets = UnionFind(len(signatures))
    checked: set[tuple[int, int]] = set()
    num_confirmed = 0
    for bucket in find_candidates(signatures, config.num_bands):
        representatives: list[int] = []
        for row in _choose_rows(bucket, sets):
            num_compared = 0
            for other in _rank_rows(row, representatives, signatures):
                pair = min(row, other), max(row, other)
                # A pair that is joined already, through whichever member, needs no look.
                if pair in checked or sets.find(row) == sets.find(other):
                    continue
                checked.add(pair)
                num_compared += 1
                if jaccard(read(row), read(other)) >= config.jaccard_threshold:
                    num_confirmed += 1
                    sets.union(row, other)
                if num_compared == MAX_COMPARED:
                    break
            _add_representative(row, representatives, sets)
    groups = [group for group in sets.groups() if len(group) > 1]
    return Clusters(groups=groups, num_candidates=len(checked), num_confirmed=num_confirmed)


def find_candidate_rows(
    signatures: UInt64[np.ndarray, " documents hashes"], config: MinHashConfig
) -> list[int]:
    """Return the rows of which ``cluster_documents`` may ask the shingles, ascending."""
    buckets = find_candidates(signatures, config.num_bands)
    return sorted({row for bucket in buckets for row in bucket})


def _choose_rows(bucket: Sequence[int], sets: UnionFind) -> list[int]:
    """Return the first ``ROWS_PER_SET`` rows of each set; none if all are of one set."""
    counts: Counter[int] = Counter()
    rows = []
    for row in bucket:
        root = sets.find(row)
        counts[root] += 1
        if counts[root] <= ROWS_PER_SET:
            rows.append(row)
    return rows if len(counts) > 1 else []


def _rank_rows(
    row: int, others: Sequence[int], signatures: UInt64[np.ndarray, " documents hashes"]
) -> list[int]:
    """Return rows by the agreement of their signatures with that of ``row``, best first."""
    if len(others) < 2:
        return list(others)
    agreement = (signatures[others] == signatures[row]).sum(axis=1)
    return [others[place] for place in np.argsort(-agreement, kind="stable")]


def _add_representative(row: int, representatives: list[int], sets: UnionFind) -> None:
    root = sets.find(row)
    if sum(sets.find(other) == root for other in representatives) < ROWS_PER_SET:
        representatives.append(row)
    if len(representatives) > MAX_REPRESENTATIVES:
        representatives.pop(0)
