"""The hashed shingles of the candidates for near duplicates, in one file.

Candidates are compared in an order that jumps between shards. So each shard is read once, in
order, and only what comparing needs is kept: 8 bytes per shingle, on the disk.
"""

from collections.abc import Iterable, Set
from pathlib import Path

import numpy as np
from jaxtyping import UInt64

from lm_data.deduplicate.shingles import ShingleHasher
from lm_data.shards import read_texts

SHINGLE_DTYPE = np.dtype(np.uint64)


class ShingleFile:
    """Writes shingles in the order of documents; reads those of any one of them."""

    def __init__(self, path: Path, ngram_size: int) -> None:
        self.path = path
        self._hasher = ShingleHasher(ngram_size)
        self._places: dict[int, tuple[int, int]] = {}

    def write(self, shards: Iterable[tuple[Path, list[int]]], candidates: Set[int]) -> None:
        """Write the shingles of candidates.

        Args:
            shards: Each shard and those of its rows that are documents to count, in their order.
            candidates: Places of the candidates in the count through all shards.
        """
        first = start = 0
        with self.path.open("wb") as file:
            for path, rows in shards:
                position_of = {row: first + place for place, row in enumerate(rows)}
                first += len(rows)
                if not candidates & set(position_of.values()):
                    continue
                for row, text in enumerate(read_texts(path)):
                    if position_of.get(row) in candidates:
                        shingles = self._hasher.hash_text(text)
                        file.write(shingles.tobytes())
                        self._places[position_of[row]] = start, len(shingles)
                        start += len(shingles)

    def read(self, position: int) -> UInt64[np.ndarray, " shingles"]:
        """Return the shingles of a candidate."""
        start, count = self._places[position]
        return np.fromfile(
            self.path, SHINGLE_DTYPE, count=count, offset=start * SHINGLE_DTYPE.itemsize
        )
