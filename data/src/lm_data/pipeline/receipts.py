"""The receipt of a curation: what came in, what went out, and why the rest did not."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from lm_data.crawl.warc import CrawlCounts
from lm_data.document import Document
from lm_data.pipeline.steps import CHOSEN_STEPS, STEP_NAMES
from lm_shared.config import load_config

RECEIPT_NAME = "curation.json"
SPLITS = ("train", "validation", "dropped")
"""Folders of a curated corpus."""


@dataclass(kw_only=True, slots=True)
class Attrition:
    """Counts over documents; those of parts of the corpus add up."""

    dropped: dict[str, dict[str, int]] = field(default_factory=dict)
    """Documents by step, then by reason."""
    documents: dict[str, int] = field(default_factory=dict)
    """Documents by split."""
    text_bytes: dict[str, int] = field(default_factory=dict)
    """UTF-8 bytes of text by split."""
    source_bytes: dict[str, int] = field(default_factory=dict)
    """UTF-8 bytes of training text by source."""
    masked: dict[str, int] = field(default_factory=dict)
    """Masked pieces of personal data in kept documents, by kind."""
    removed_lines: int = 0
    """Boilerplate lines removed from kept documents."""

    def count(self, documents: Iterable[Document], split: str) -> None:
        """Count documents of one split: ``train``, ``validation`` or ``dropped``."""
        for document in documents:
            size = len(document.text.encode())
            _add(self.documents, split, 1)
            _add(self.text_bytes, split, size)
            if document.dropped_by is not None and document.reason is not None:
                _add(self.dropped.setdefault(document.dropped_by, {}), document.reason, 1)
                continue
            if split == "train":
                _add(self.source_bytes, document.source, size)
            for name in ("num_emails", "num_ip_addresses", "num_phone_numbers"):
                _add(self.masked, name, int(document.measurements.get(name, 0)))
            self.removed_lines += int(document.measurements.get("num_removed_lines", 0))

    def add(self, other: "Attrition") -> None:
        """Add the counts of another part of the corpus."""
        for step, reasons in other.dropped.items():
            for reason, count in reasons.items():
                _add(self.dropped.setdefault(step, {}), reason, count)
        for name in ("documents", "text_bytes", "source_bytes", "masked"):
            for key, count in getattr(other, name).items():
                _add(getattr(self, name), key, count)
        self.removed_lines += other.removed_lines


@dataclass(frozen=True, kw_only=True, slots=True)
class CurateReceipt:
    """The outcome of ``curate``; it holds no times, so that equal runs have equal receipts."""

    crawl: dict[str, int]
    """Records and damage met while reading, as in ``CrawlCounts``."""
    documents_in: int
    """Documents that entered: one per response."""
    documents_kept: int
    """Documents in ``train`` and ``validation``."""
    documents: dict[str, int]
    """Documents by split."""
    text_bytes: dict[str, int]
    """UTF-8 bytes of text by split."""
    dropped: dict[str, dict[str, int]]
    """Dropped documents by step, in the order of the steps, then by reason."""
    source_bytes: dict[str, int]
    """UTF-8 bytes of training text by source, largest first."""
    masked: dict[str, int]
    """Masked pieces of personal data in kept documents, by kind."""
    removed_lines: int
    """Boilerplate lines removed from kept documents."""
    near_duplicate_pairs: dict[str, int]
    """Pairs compared and confirmed by MinHash deduplication."""

    @property
    def waterfall(self) -> list[tuple[str, int, int]]:
        """Step name, documents dropped there, documents left after it.

        Of the steps that run where they are asked for, those that have dropped something.
        """
        left = self.documents_in
        steps = []
        for step in STEP_NAMES:
            if step in CHOSEN_STEPS and step not in self.dropped:
                continue
            num_dropped = sum(self.dropped.get(step, {}).values())
            left -= num_dropped
            steps.append((step, num_dropped, left))
        return steps


def build_receipt(
    attrition: Attrition, crawl: CrawlCounts, near_duplicate_pairs: dict[str, int]
) -> CurateReceipt:
    """Return the receipt with its tables in a fixed order."""
    documents = {split: attrition.documents.get(split, 0) for split in SPLITS}
    return CurateReceipt(
        crawl={name: getattr(crawl, name) for name in CrawlCounts.__dataclass_fields__},
        documents_in=sum(documents.values()),
        documents_kept=documents["train"] + documents["validation"],
        documents=documents,
        text_bytes={split: attrition.text_bytes.get(split, 0) for split in SPLITS},
        dropped={
            step: dict(sorted(attrition.dropped[step].items()))
            for step in STEP_NAMES
            if step in attrition.dropped
        },
        source_bytes=dict(
            sorted(attrition.source_bytes.items(), key=lambda item: (-item[1], item[0]))
        ),
        masked=dict(sorted(attrition.masked.items())),
        removed_lines=attrition.removed_lines,
        near_duplicate_pairs=near_duplicate_pairs,
    )


def read_receipt(folder: Path | str) -> CurateReceipt:
    """Read the receipt of a curated corpus.

    Raises:
        ValueError: The file is damaged or is another one.
    """
    return load_config(CurateReceipt, Path(folder) / RECEIPT_NAME)


def _add(counts: dict[str, int], key: str, count: int) -> None:
    counts[key] = counts.get(key, 0) + count
