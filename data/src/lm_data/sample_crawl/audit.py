"""Comparison of a curated corpus with the ground truth of a sample crawl.

Kept is positive. A page and its duplicates are one group, of which exactly one member should be
kept, no matter which. So a kept page is right if its group should be kept and no other member
is, and a group is found if at least one member is kept.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lm_data.document import Document
from lm_data.pipeline.receipts import SPLITS
from lm_data.sample_crawl.pages import PageTruth, read_truth
from lm_data.shards import list_shards, read_shard


@dataclass(frozen=True, kw_only=True, slots=True)
class KindOutcome:
    """What became of the pages of one kind."""

    kind: str
    """Kind of page, as in the ground truth."""
    pages: int
    """Pages of the kind."""
    kept: int
    """Of these, kept."""
    dropped_by: dict[str, int]
    """Of these, dropped, by step, most first."""
    wrong: int
    """Pages that should have had another outcome; a page stands for its group of duplicates."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Audit:
    """How well the curation found what was worth keeping."""

    kinds: list[KindOutcome]
    """One row per kind, by name."""
    precision: float
    """Share of the kept pages that were worth keeping and no further copy; pages of which the
    truth allows either outcome count only as further copies."""
    recall: float
    """Share of the groups worth keeping of which a member was kept."""
    kept_once: int
    """Groups worth keeping of which exactly one member was kept."""
    groups: int
    """Groups worth keeping."""
    personal_data: int
    """Pieces of personal data inserted into pages that were kept."""
    personal_data_left: int
    """Of these, still in the text."""
    train_bytes: dict[str, int]
    """Bytes of training text by true source, largest first."""
    missing: int
    """Pages of the truth that are no document at all."""


def compare_with_truth(folder: Path | str, truth_path: Path | str) -> Audit:
    """Compare the documents of a curated corpus with the truth of its crawl, by address.

    Raises:
        FileNotFoundError: The corpus or the truth is missing.
        ValueError: A document's address is not in the truth.
    """
    truth = {page.url: page for page in read_truth(truth_path)}
    documents: dict[str, Document] = {}
    train_bytes: Counter[str] = Counter()
    for split in SPLITS:
        for path in list_shards(folder, split):
            for document in read_shard(path):
                if document.url not in truth:
                    raise ValueError(f"{document.url} is not in the ground truth {truth_path}")
                documents[document.url] = document
                if split == "train":
                    train_bytes[truth[document.url].source] += len(document.text.encode())
    return _audit(truth, documents, train_bytes)


def _audit(
    truth: dict[str, PageTruth], documents: dict[str, Document], train_bytes: Counter[str]
) -> Audit:
    groups: defaultdict[str, list[PageTruth]] = defaultdict(list)
    for page in truth.values():
        groups[page.duplicate_of or page.url].append(page)
    # A duplicate and its original are one group: which of them is kept does not matter.
    kept = {url for url, document in documents.items() if document.is_kept}
    wanted = [url for url in groups if truth[url].expected == "keep"]
    num_kept = {url: sum(page.url in kept for page in groups[url]) for url in groups}
    # Where either outcome is right, only further copies are judged.
    judged = sum(
        max(0, count - 1) if truth[url].expected == "either" else count
        for url, count in num_kept.items()
    )
    found = sum(num_kept[url] >= 1 for url in wanted)
    pieces, left = _count_personal_data(truth, documents)
    return Audit(
        kinds=_list_kinds(truth, documents, groups, num_kept),
        precision=found / judged if judged else 0.0,
        recall=found / len(wanted) if wanted else 0.0,
        kept_once=sum(num_kept[url] == 1 for url in wanted),
        groups=len(wanted),
        personal_data=pieces,
        personal_data_left=left,
        train_bytes=dict(sorted(train_bytes.items(), key=lambda item: (-item[1], item[0]))),
        missing=len(truth.keys() - documents.keys()),
    )


def _list_kinds(
    truth: dict[str, PageTruth],
    documents: dict[str, Document],
    groups: dict[str, list[PageTruth]],
    num_kept: dict[str, int],
) -> list[KindOutcome]:
    by_kind: defaultdict[str, list[PageTruth]] = defaultdict(list)
    for page in truth.values():
        by_kind[page.kind].append(page)
    outcomes = []
    for kind, pages in sorted(by_kind.items()):
        present = [documents[page.url] for page in pages if page.url in documents]
        steps = Counter(document.dropped_by for document in present if document.dropped_by)
        outcomes.append(
            KindOutcome(
                kind=kind,
                pages=len(pages),
                kept=sum(document.is_kept for document in present),
                dropped_by=dict(steps.most_common()),
                wrong=sum(_is_wrong(page, documents, truth, num_kept) for page in pages),
            )
        )
    return outcomes


def _is_wrong(
    page: PageTruth,
    documents: dict[str, Document],
    truth: dict[str, PageTruth],
    num_kept: dict[str, int],
) -> bool:
    original = page.duplicate_of or page.url
    expected = truth[original].expected
    is_kept = page.url in documents and documents[page.url].is_kept
    if expected == "drop":
        return is_kept
    if num_kept[original] == 0:
        # A group that is lost counts once, at its original.
        return expected == "keep" and page.url == original
    return is_kept and num_kept[original] > 1


def _count_personal_data(
    truth: dict[str, PageTruth], documents: dict[str, Document]
) -> tuple[int, int]:
    kept: Iterable[Document] = (one for one in documents.values() if one.is_kept)
    pieces: Sequence[bool] = [
        piece in document.text for document in kept for piece in truth[document.url].personal_data
    ]
    return len(pieces), sum(pieces)
