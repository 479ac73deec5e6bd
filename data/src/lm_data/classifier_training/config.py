"""Settings of a classifier's training, which a command describes without the rest."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassifierConfig:
    """How a classifier is trained and its threshold chosen; words and pairs of words by default."""

    min_precision: float | None = None
    """Precision that the threshold must have on its part; the best F1 when None."""
    held_out_share: float = 0.2
    """Share of the texts by which precision and recall are measured."""
    threshold_share: float = 0.1
    """Share of the texts by which the threshold is chosen."""
    epochs: int = 5
    """Passes over the training texts."""
    learning_rate: float = 0.5
    """At the beginning; it falls linearly to zero."""
    word_ngrams: int = 2
    """Longest n-gram of words."""
    dim: int = 16
    """Length of the vectors."""
    buckets: int = 200_000
    """Vectors that the n-grams share by their hash."""
    max_characters: int = 20_000
    """The beginning of a text from which is learnt; curation judges by as much."""
    seed: int = 0
    """Another seed chooses other parts and another beginning."""

    def __post_init__(self) -> None:
        for name in ("held_out_share", "threshold_share"):
            if not 0.0 < getattr(self, name) < 1.0:
                raise ValueError(f"{name}={getattr(self, name)} is not between 0 and 1")
        if self.held_out_share + self.threshold_share >= 1.0:
            raise ValueError("held_out_share and threshold_share leave nothing to learn from")
        if self.min_precision is not None and not 0.0 < self.min_precision <= 1.0:
            raise ValueError(f"min_precision={self.min_precision} is not between 0 and 1")
        for name in ("epochs", "word_ngrams", "dim", "buckets", "max_characters"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} is not positive")
