"""Which rows of which shards are copies: the decisions of the two global deduplications."""

from collections.abc import Sequence

from lm_data.deduplicate.near_duplicates import Clusters
from lm_data.pipeline.passes import Duplicate, Extracted, Signed

DuplicatesByShard = list[dict[int, Duplicate]]


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
            seen_ids.add(name)
            first_of_text.setdefault(digest, name)
        duplicates.append(own)
    return duplicates


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
