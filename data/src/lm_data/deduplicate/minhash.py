"""MinHash signatures and banding over word shingles (Broder, 1997; Leskovec et al., chapter 3).

Texts are compared after normalization: lower case, no accents (NFD), no punctuation, single spaces.
Their shingles are word n-grams, each represented by a 64-bit hash; with 10^5 shingles two of them
share a hash with a probability below 10^-9, so the similarity of two sets of hashes is that of the
texts.

For a random permutation of all shingles, two sets have the same least shingle with a probability
equal to their Jaccard similarity ``s``. A signature holds the least values under ``k``
permutations, here ``h -> a h + b mod 2^64`` with odd ``a``. It is cut into ``b`` bands of
``r = k / b`` rows; two documents are candidates when a band agrees, which has the probability
``1 - (1 - s^r)^b``: an S-shaped curve whose steep part lies near ``(1/b)^(1/r)``.
"""

import hashlib
import re
import unicodedata
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt64
from numpy.typing import NDArray

NO_SHINGLE = np.uint64(2**64 - 1)
APOSTROPHES = re.compile("['`\u2019\u02bc]")
NOT_WORD = re.compile(r"[\W_]+")
COMBINING = re.compile("[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]+")


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


def normalize_text(text: str) -> str:
    """Return the text in lower case, without accents and punctuation, its words one space apart.

    An apostrophe joins what it separates; any other punctuation separates words.
    """
    # Most pages of an English corpus are ASCII, and decomposing is the slowest part.
    if not text.isascii():
        text = COMBINING.sub("", unicodedata.normalize("NFD", text))
    return NOT_WORD.sub(" ", APOSTROPHES.sub("", text.lower())).strip()


class ShingleHasher:
    """Hashes the word n-grams of texts; it remembers the words that it has met."""

    def __init__(self, ngram_size: int) -> None:
        if ngram_size < 1:
            raise ValueError(f"ngram_size={ngram_size} is not positive")
        self.ngram_size = ngram_size
        self._word_hashes = _WordHashes()
        # An odd multiplier per position makes the order of the words count.
        self._multipliers = splitmix64(0x5348494E, ngram_size) | np.uint64(1)

    def hash_text(self, text: str) -> UInt64[np.ndarray, " shingles"]:
        """Return the distinct hashes of the text's n-grams, ascending.

        A text of fewer words than ``ngram_size`` is one shingle; one without words has none.
        """
        words = normalize_text(text).split()
        hashes = np.fromiter(
            map(self._word_hashes.__getitem__, words), dtype=np.uint64, count=len(words)
        )
        size = min(self.ngram_size, len(words))
        if size == 0:
            return hashes
        # Sums wrap around at 2^64, which is what makes them a hash.
        num_shingles = len(words) - size + 1
        shingles = np.zeros(num_shingles, dtype=np.uint64)
        for place in range(size):
            shingles += hashes[place : place + num_shingles] * self._multipliers[place]
        return np.unique(mix64(shingles))


class _WordHashes(dict[str, int]):
    """The 64-bit hash of each word met so far; computed on the first look."""

    def __missing__(self, word: str) -> int:
        digest = hashlib.blake2b(word.encode(errors="surrogatepass"), digest_size=8).digest()
        found = self[word] = int.from_bytes(digest, "little")
        return found


def jaccard(first: UInt64[np.ndarray, " a"], second: UInt64[np.ndarray, " b"]) -> float:
    """Return the share that two sets, given as distinct hashes, have in common.

    The size of the intersection over that of the union; two empty sets have nothing in common.
    """
    shared = np.intersect1d(first, second, assume_unique=True).size
    united = first.size + second.size - shared
    return shared / united if united else 0.0


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


def mix64(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Mix each value so that every bit of it moves all bits (the finalizer of SplitMix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def splitmix64(seed: int, count: int) -> UInt64[np.ndarray, " count"]:
    """Return pseudo-random 64-bit numbers (Steele et al., 2014), the same on every machine."""
    steps = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return mix64(steps + np.uint64(seed % 2**64))
