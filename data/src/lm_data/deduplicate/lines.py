"""Removal of lines that stand on many pages: menus, notices, footers.

The course removes every line that occurs twice in the corpus (``LineConfig.for_course``). That also
takes the salutation of every letter and the headings of every report, so the pipeline asks more
before it calls a line boilerplate: it must stand on most of the pages of one site.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Set
from dataclasses import dataclass
from typing import Literal

from lm_data.document import Document


@dataclass(frozen=True, kw_only=True, slots=True)
class LineConfig:
    """Which lines are boilerplate."""

    scope: Literal["site", "corpus"] = "site"
    """Within what a line is counted: the documents of one source, or all documents."""
    min_documents: int = 5
    """Fewest documents of the scope that hold the line."""
    min_share: float = 0.5
    """Smallest share of the scope's documents that hold the line."""
    min_occurrences: int = 2
    """Fewest occurrences, repeated ones within a document included."""
    min_characters: int = 1
    """Shorter lines, white space at the ends not counted, always stay."""

    def __post_init__(self) -> None:
        for name in ("min_documents", "min_occurrences", "min_characters"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} is negative")
        if self.min_occurrences < 2:
            raise ValueError(f"min_occurrences={self.min_occurrences} would remove every line")
        if not 0.0 <= self.min_share <= 1.0:
            raise ValueError(f"min_share={self.min_share} is not between 0 and 1")

    @classmethod
    def for_course(cls) -> "LineConfig":
        """Return the rule of the course: a line that occurs twice in the corpus goes."""
        return cls(
            scope="corpus", min_documents=0, min_share=0.0, min_occurrences=2, min_characters=0
        )


class LineCounts:
    """Occurrences of lines by scope; counts of parts of the corpus add up."""

    def __init__(self) -> None:
        self.occurrences: Counter[bytes] = Counter()
        self.documents: Counter[bytes] = Counter()
        self.scope_sizes: Counter[bytes] = Counter()

    def count(self, documents: Iterable[Document], config: LineConfig) -> None:
        """Count the lines of the kept documents."""
        for document in documents:
            if document.is_kept:
                keys = hash_lines(document, config)
                self.occurrences.update(keys)
                # A refrain repeats within its song and is no boilerplate.
                self.documents.update(set(keys))
                self.scope_sizes[_hash_scope(document, config)] += 1

    def add(self, other: "LineCounts") -> None:
        """Add the counts of another part of the corpus."""
        self.occurrences.update(other.occurrences)
        self.documents.update(other.documents)
        self.scope_sizes.update(other.scope_sizes)

    def find_boilerplate(self, config: LineConfig) -> frozenset[bytes]:
        """Return the hashes of the lines that are boilerplate."""
        return frozenset(
            key
            for key, count in self.occurrences.items()
            if count >= config.min_occurrences
            and self.documents[key] >= config.min_documents
            and self.documents[key] >= config.min_share * self.scope_sizes[key[:SCOPE_SIZE]]
        )


SCOPE_SIZE = 8
LINE_SIZE = 12
"""Bytes of the hashes. Among 10^9 lines two share all 160 bits with a probability below 10^-30."""


def hash_lines(document: Document, config: LineConfig) -> list[bytes]:
    """Return a key per line of the document: the hash of its scope, then the line's own."""
    scope = _hash_scope(document, config)
    return [
        scope
        + hashlib.blake2b(
            line.strip().encode(errors="surrogatepass"), digest_size=LINE_SIZE
        ).digest()
        for line in document.text.split("\n")
    ]


def remove_lines(
    document: Document, boilerplate: Set[bytes], config: LineConfig
) -> tuple[str, int]:
    """Return the document's text without boilerplate lines, and how many were removed."""
    lines = document.text.split("\n")
    kept = [
        line
        for line, key in zip(lines, hash_lines(document, config), strict=True)
        if key not in boilerplate or len(line.strip()) < config.min_characters
    ]
    return "\n".join(kept), len(lines) - len(kept)


def _hash_scope(document: Document, config: LineConfig) -> bytes:
    scope = document.source if config.scope == "site" else ""
    return hashlib.blake2b(scope.encode(errors="surrogatepass"), digest_size=SCOPE_SIZE).digest()
