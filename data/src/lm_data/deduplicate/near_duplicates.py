"""Clusters of near duplicates: candidates by MinHash, confirmed by their true similarity."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt64

from lm_data.deduplicate.minhash import MinHashConfig, MinHasher, find_candidates
from lm_data.deduplicate.shingles import ShingleHasher, jaccard
from lm_data.deduplicate.union_find import UnionFind

Shingles = UInt64[np.ndarray, " shingles"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Clusters:
    """The outcome over a sequence of documents, by their places in it."""

    groups: list[list[int]]
    """Clusters of at least two documents, each in ascending order."""
    num_candidates: int
    """Pairs whose true similarity was computed."""
    num_confirmed: int
    """Pairs of these at or above the threshold."""


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
    read_text: Callable[[int], str],
    config: MinHashConfig,
) -> Clusters:
    """Join every candidate pair whose true similarity reaches the threshold, transitively.

    Args:
        signatures: One row per document.
        read_text: Gives the text of a document by its row; asked for candidates only.
        config: Shingles and threshold; the same that made the signatures.
    """
    hasher = ShingleHasher(config.ngram_size)
    shingles: dict[int, Shingles] = {}
    sets = UnionFind(len(signatures))
    checked: set[tuple[int, int]] = set()
    num_confirmed = 0
    for bucket in find_candidates(signatures, config.num_bands):
        # Only candidates are hashed again: few documents, where all shingles would not fit.
        for row in bucket:
            if row not in shingles:
                shingles[row] = hasher.hash_text(read_text(row))
        for pair in _pairs(bucket):
            # A pair that is joined already, through whichever member, needs no look.
            if pair in checked or sets.find(pair[0]) == sets.find(pair[1]):
                continue
            checked.add(pair)
            if jaccard(shingles[pair[0]], shingles[pair[1]]) >= config.jaccard_threshold:
                num_confirmed += 1
                sets.union(*pair)
    groups = [group for group in sets.groups() if len(group) > 1]
    return Clusters(groups=groups, num_candidates=len(checked), num_confirmed=num_confirmed)


def _pairs(bucket: Sequence[int]) -> list[tuple[int, int]]:
    return [(first, second) for place, first in enumerate(bucket) for second in bucket[place + 1 :]]
