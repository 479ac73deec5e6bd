"""The passes over shards between which the global steps stand.

Each pass is a function of one shard and of what the global steps found, runs anywhere, and leaves
its documents in a shard file. Rows keep their places through all passes, so a document is known by
shard and row.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path

import numpy as np
from jaxtyping import UInt64

from lm_data.convert.html import normalize_whitespace
from lm_data.crawl.warc import CrawlCounts, OnRead, iterate_responses
from lm_data.deduplicate.lines import LineCounts, remove_lines
from lm_data.deduplicate.near_duplicates import sign_texts
from lm_data.document import Document
from lm_data.pipeline.receipts import SPLITS, Attrition
from lm_data.pipeline.steps import (
    EXACT,
    LINES,
    MEASUREMENTS,
    MINHASH,
    CurateConfig,
    LanguageStep,
    RulesStep,
    apply_rules,
    convert_response,
    mask_personal_data,
    run_steps,
)
from lm_data.shards import read_shard, write_shard


@dataclass(frozen=True, kw_only=True, slots=True)
class Duplicate:
    """Why a row goes, and for whose sake."""

    reason: str
    """Reason of the drop."""
    of: str
    """Id of the document that stays."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """One crawl file and the place of its documents."""

    crawl_path: Path
    """WARC file."""
    path: Path
    """Document shard that each pass reads and replaces."""
    number: int
    """Place among the shards."""
    duplicates: Mapping[int, Duplicate] = field(default_factory=dict)
    """Rows that the last global step found to be copies."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Extracted:
    """Outcome of the first pass."""

    ids: list[str]
    """Id of each row."""
    digests: list[bytes | None]
    """Hash of each row's text, ``None`` for dropped ones."""
    crawl: CrawlCounts
    """What the reader met."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Signed:
    """Outcome of the pass that removes lines, for the rows that are kept after it."""

    rows: list[int]
    """Their places."""
    ids: list[str]
    """Their ids."""
    sizes: list[int]
    """Their UTF-8 bytes."""
    digests: list[bytes]
    """Hashes of their texts."""
    signatures: UInt64[np.ndarray, " documents hashes"]
    """Their MinHash signatures."""


def extract_shard(shard: Shard, config: CurateConfig, on_read: OnRead | None = None) -> Extracted:
    """Read a crawl file; run the steps that look at one document at a time."""
    counts = CrawlCounts()
    steps = [LanguageStep(config=config.language), RulesStep(config=config.rules)]
    documents = [
        mask_personal_data(run_steps(convert_response(response, config.html), steps))
        for response in iterate_responses(
            shard.crawl_path, counts, max_body_size=config.max_body_size, on_read=on_read
        )
    ]
    write_shard(shard.path, documents, MEASUREMENTS)
    return Extracted(
        ids=[document.id for document in documents],
        digests=[hash_text(document) if document.is_kept else None for document in documents],
        crawl=counts,
    )


def count_lines(shard: Shard, config: CurateConfig) -> LineCounts:
    """Drop exact duplicates, whose lines would pass for boilerplate; count the other lines."""
    documents = _drop_duplicates(shard, EXACT)
    write_shard(shard.path, documents, MEASUREMENTS)
    counts = LineCounts()
    counts.count(documents, config.lines)
    return counts


def remove_boilerplate(shard: Shard, boilerplate: Set[bytes], config: CurateConfig) -> Signed:
    """Remove boilerplate lines, drop what fails a rule after that, and sign the rest."""
    documents = [
        _remove_lines(document, boilerplate, config) if document.is_kept else document
        for document in read_shard(shard.path)
    ]
    write_shard(shard.path, documents, MEASUREMENTS)
    rows = [row for row, document in enumerate(documents) if document.is_kept]
    kept = [documents[row] for row in rows]
    return Signed(
        rows=rows,
        ids=[document.id for document in kept],
        sizes=[len(document.text.encode()) for document in kept],
        digests=[hash_text(document) for document in kept],
        signatures=sign_texts([document.text for document in kept], config.minhash),
    )


def finish_shard(shard: Shard, validation: Set[str], folder: Path) -> Attrition:
    """Drop near duplicates, and write a shard of each split into ``folder``."""
    parts: dict[str, list[Document]] = {split: [] for split in SPLITS}
    for document in _drop_duplicates(shard, MINHASH):
        if not document.is_kept:
            parts["dropped"].append(document)
        else:
            parts["validation" if document.id in validation else "train"].append(document)
    attrition = Attrition()
    for split, documents in parts.items():
        write_shard(folder / split / f"{shard.number:05d}.parquet", documents, MEASUREMENTS)
        attrition.count(documents, split)
    return attrition


def hash_text(document: Document) -> bytes:
    """Return the hash by which exact duplicates are found."""
    return blake2b(document.text.encode(), digest_size=16).digest()


def _drop_duplicates(shard: Shard, step: str) -> list[Document]:
    documents = list(read_shard(shard.path))
    for row, duplicate in shard.duplicates.items():
        documents[row] = (
            documents[row].measure(duplicate_of=duplicate.of).drop(step, duplicate.reason)
        )
    return documents


def _remove_lines(document: Document, boilerplate: Set[bytes], config: CurateConfig) -> Document:
    text, num_removed = remove_lines(document, boilerplate, config.lines)
    if num_removed == 0:
        return document.measure(num_removed_lines=0)
    document = replace(document, text=normalize_whitespace(text)).measure(
        num_removed_lines=num_removed
    )
    # What is left may be too short, or a list of numbers between which the words were.
    document, failed = apply_rules(document, config.rules)
    return document if failed is None else document.drop(LINES, f"{failed}_left")
