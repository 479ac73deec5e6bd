"""The split into training and validation documents."""

import hashlib
from collections.abc import Sequence


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
