"""What looks at the whole corpus between the passes: copies, near copies, and the split.

The two deduplications decide which rows of which shards go. Near duplicates are compared in an
order that jumps between shards, so each shard is read once, in order, and only what comparing needs
is kept: the hashed shingles of the candidates, 8 bytes each, in one file on the disk.
"""

import hashlib
from collections.abc import Iterable, Sequence, Set
from pathlib import Path

import numpy as np
from jaxtyping import UInt64

from lm_data.deduplicate.minhash import ShingleHasher
from lm_data.deduplicate.near_duplicates import Clusters
from lm_data.pipeline.passes import Duplicate, Extracted, Signed
from lm_data.shards import read_texts

DuplicatesByShard = list[dict[int, Duplicate]]

SHINGLE_DTYPE = np.dtype(np.uint64)


def find_exact_duplicates(extracted: Sequence[Extracted]) -> DuplicatesByShard:
    """Find documents whose text, or whose id, stood in the corpus before.

    Documents are counted through in the order of the shards, and the first one stays.
    """
    first_of_text: dict[bytes, str] = {}
    seen_ids: set[str] = set()
    duplicates: DuplicatesByShard = []
    for part in extracted:
        own: dict[int, Duplicate] = {}
        for row, (name, digest) in enumerate(zip(part.ids, part.digests, strict=True)):
            if digest is None:
                continue
            if name in seen_ids:
                own[row] = Duplicate(reason="repeated_record", of=name)
            elif digest in first_of_text:
                own[row] = Duplicate(reason="same_text", of=first_of_text[digest])
            else:
                # Of a document that stays: the text of a dropped one would drop its last copy.
                first_of_text[digest] = name
            seen_ids.add(name)
        duplicates.append(own)
    return duplicates


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


def find_near_duplicates(signed: Sequence[Signed], clusters: Clusters) -> DuplicatesByShard:
    """Find the members of clusters that go: all but the longest, by id among equally long ones."""
    members = [
        (number, place) for number, part in enumerate(signed) for place in range(len(part.rows))
    ]
    duplicates: DuplicatesByShard = [{} for _ in signed]
    for group in clusters.groups:
        # The longest lost least on its way; nothing else tells an original from a copy.
        ranked = sorted(
            (-signed[number].sizes[place], signed[number].ids[place], number, place)
            for number, place in (members[position] for position in group)
        )
        _, kept_id, kept_number, kept_place = ranked[0]
        kept_digest = signed[kept_number].digests[kept_place]
        for _, _, number, place in ranked[1:]:
            part = signed[number]
            is_same = part.digests[place] == kept_digest
            # Texts can become the same only when boilerplate has gone.
            reason = "same_text" if is_same else "near_duplicate"
            duplicates[number][part.rows[place]] = Duplicate(reason=reason, of=kept_id)
    return duplicates


def choose_validation(
    sizes: Sequence[tuple[str, int]], share: float, *, seed: int = 0
) -> frozenset[str]:
    """Return the ids of the validation documents: about ``share`` of documents and of bytes.

    Documents stand in the order of a hash of their id, which is as good as random and does not
    depend on the order of shards or on other documents. The validation set is a prefix of that
    order, cut where its bytes come closest to the share; so a few long documents cannot double it.

    Args:
        sizes: Id and size in bytes of every kept document.
        share: Share of the bytes.
        seed: Another seed gives another order.

    Raises:
        ValueError: There are fewer than two documents, or the share is not between 0 and 1.
    """
    if not 0.0 < share < 1.0:
        raise ValueError(f"validation share {share} is not between 0 and 1")
    if len(sizes) < 2:
        raise ValueError(f"a split needs at least two documents, {len(sizes)} were kept")
    ordered = sorted(sizes, key=lambda item: (_hash_id(item[0], seed), item[0]))
    target = share * sum(size for _, size in ordered)
    chosen: list[str] = []
    total = 0
    # The last document always stays for training.
    for name, size in ordered[:-1]:
        # At least one document; a further one only if it brings the total closer to the target.
        if chosen and abs(total + size - target) > abs(total - target):
            break
        chosen.append(name)
        total += size
    return frozenset(chosen)


def _hash_id(name: str, seed: int) -> bytes:
    return hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
