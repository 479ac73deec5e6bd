"""Shingles: the set of word n-grams by which two texts are compared.

Texts are compared after normalization: lower case, no accents (NFD), no punctuation, single spaces.
An n-gram is represented by a 64-bit hash; with 10^5 shingles two of them share a hash with a
probability below 10^-9, so the similarity of two sets of hashes is that of the texts.
"""

import hashlib
import re
import unicodedata

import numpy as np
from jaxtyping import UInt64
from numpy.typing import NDArray

APOSTROPHES = re.compile("['`\u2019\u02bc]")
NOT_WORD = re.compile(r"[\W_]+")
COMBINING = re.compile("[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]+")


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


def mix64(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Mix each value so that every bit of it moves all bits (the finalizer of SplitMix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def splitmix64(seed: int, count: int) -> UInt64[np.ndarray, " count"]:
    """Return pseudo-random 64-bit numbers (Steele et al., 2014), the same on every machine."""
    steps = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return mix64(steps + np.uint64(seed % 2**64))
