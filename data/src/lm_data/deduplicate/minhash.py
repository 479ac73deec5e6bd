"""MinHash signatures and banding (Broder, 1997; Leskovec et al., chapter 3).

For a random permutation of all shingles, two sets have the same least shingle with a probability
equal to their Jaccard similarity ``s``. A signature holds the least values under ``k``
permutations, here ``h -> a h + b mod 2^64`` with odd ``a``. It is cut into ``b`` bands of
``r = k / b`` rows; two documents are candidates when a band agrees, which has the probability
``1 - (1 - s^r)^b``: an S-shaped curve whose steep part lies near ``(1/b)^(1/r)``.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt64

from lm_data.deduplicate.shingles import mix64, splitmix64

NO_SHINGLE = np.uint64(2**64 - 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class MinHashConfig:
    """Shingles, signature and threshold of near-duplicate detection."""

    num_hashes: int = 128
    """Permutations, the length of a signature."""
    num_bands: int = 16
    """Bands into which a signature is cut."""
    ngram_size: int = 5
    """Words in a shingle."""
    jaccard_threshold: float = 0.8
    """Least true similarity of a pair of near duplicates."""
    seed: int = 0
    """Seed of the permutations."""

    def __post_init__(self) -> None:
        for name in ("num_hashes", "num_bands", "ngram_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} is not positive")
        if self.num_hashes % self.num_bands:
            raise ValueError(
                f"num_hashes={self.num_hashes} is not divisible by num_bands={self.num_bands}"
            )
        if not 0.0 < self.jaccard_threshold <= 1.0:
            raise ValueError(
                f"jaccard_threshold={self.jaccard_threshold} is not above 0 and at most 1"
            )


class MinHasher:
    """Computes signatures."""

    def __init__(self, num_hashes: int, *, seed: int = 0) -> None:
        parameters = splitmix64(seed, 2 * num_hashes)
        self._a = parameters[:num_hashes] | np.uint64(1)
        self._b = parameters[num_hashes:]

    def sign(self, shingles: UInt64[np.ndarray, " shingles"]) -> UInt64[np.ndarray, " hashes"]:
        """Return the least value of each permutation, or the largest integer without shingles."""
        signature = np.full(len(self._a), NO_SHINGLE)
        if len(shingles) == 0:
            return signature
        # One permutation at a time, in place: four times as fast as a whole table of them, since
        # the values stay in the cache.
        permuted = np.empty_like(shingles)
        for row, (a, b) in enumerate(zip(self._a, self._b, strict=True)):
            np.multiply(shingles, a, out=permuted)
            np.add(permuted, b, out=permuted)
            signature[row] = permuted.min()
        return signature


def estimate_jaccard(
    first: UInt64[np.ndarray, " hashes"], second: UInt64[np.ndarray, " hashes"]
) -> float:
    """Return the share of equal places, an unbiased estimate of the Jaccard similarity.

    Its standard error is ``sqrt(s (1 - s) / k)``.
    """
    return float(np.mean(first == second))


def find_candidates(
    signatures: UInt64[np.ndarray, " documents hashes"], num_bands: int
) -> list[list[int]]:
    """Return the buckets with at least two documents: those that agree in a whole band.

    Documents without shingles are in no bucket. A bucket is met once per band in which it forms.
    """
    num_documents, num_hashes = signatures.shape
    num_rows = num_hashes // num_bands
    rows = np.flatnonzero((signatures != NO_SHINGLE).any(axis=1))
    buckets: list[list[int]] = []
    for band in range(num_bands):
        # The band's number is not part of the key: each band is sorted for itself.
        # One number stands for the tuple of a band's rows: 64 well-mixed bits.
        key = np.zeros(num_documents, dtype=np.uint64)
        for row in range(band * num_rows, (band + 1) * num_rows):
            key = mix64(key + signatures[:, row])
        order = rows[np.argsort(key[rows], kind="stable")]
        boundaries = np.flatnonzero(np.diff(key[order])) + 1
        groups = np.split(order, boundaries)
        buckets.extend(group.tolist() for group in groups if len(group) > 1)
    return buckets


def candidate_probability(similarity: float, num_hashes: int, num_bands: int) -> float:
    """Return the probability that a pair of this similarity becomes a candidate (the S-curve)."""
    return 1.0 - (1.0 - similarity ** (num_hashes // num_bands)) ** num_bands
