"""The document: one page's text, what was measured on it, and its outcome.

A document is never thrown away. A step that rejects it records its own name and a reason, and the
document travels on to the shard of dropped documents, where a person can look at it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

Measurement = float | int | str


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """One page: kept as long as ``dropped_by`` is ``None``."""

    id: str
    """Identity across the whole corpus: 16 hexadecimal digits."""
    url: str
    """Address that the page was fetched from."""
    text: str
    """Extracted text; empty when the page held none."""
    source: str
    """Host that served the page."""
    measurements: Mapping[str, Measurement] = field(default_factory=dict)
    """What the steps measured, by name; each becomes a column of the shards."""
    dropped_by: str | None = None
    """Name of the step that rejected the document, or ``None`` while it is kept."""
    reason: str | None = None
    """Short reason of the rejection, the same word for the same rule."""

    def __post_init__(self) -> None:
        if (self.dropped_by is None) != (self.reason is None):
            raise ValueError(
                "dropped_by and reason go together, "
                f"got dropped_by={self.dropped_by!r} and reason={self.reason!r}"
            )

    @property
    def is_kept(self) -> bool:
        """Whether no step has rejected the document so far."""
        return self.dropped_by is None

    def measure(self, **measurements: Measurement) -> "Document":
        """Return the document with further measurements; a repeated name takes the new value."""
        return replace(self, measurements={**self.measurements, **measurements})

    def drop(self, step: str, reason: str) -> "Document":
        """Return the document as rejected by ``step``.

        Raises:
            ValueError: It was rejected before; the first reason is the one that counts.
        """
        if self.dropped_by is not None:
            raise ValueError(f"document {self.id} was already dropped by {self.dropped_by!r}")
        return replace(self, dropped_by=step, reason=reason)
