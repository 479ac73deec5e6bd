"""The quality rules of Gopher (Rae et al., 2021, appendix A.1.1), in the course's selection.

A word is what stands between white space, punctuation included. Texts in scripts without spaces,
such as Chinese, have none, so that the rules about words pass over them.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from lm_data.filters.text_parts import ELLIPSES, has_spaced_words, share


@dataclass(frozen=True, kw_only=True, slots=True)
class GopherConfig:
    """Limits inside which a document stays; each limit itself is allowed."""

    min_words: int = 50
    """Fewest words."""
    max_words: int = 100_000
    """Most words."""
    min_mean_word_length: float = 3.0
    """Lowest mean length of a word in characters."""
    max_mean_word_length: float = 10.0
    """Highest mean length of a word in characters."""
    max_ellipsis_share: float = 0.3
    """Largest share of lines that end in an ellipsis."""
    min_alphabetic_share: float = 0.8
    """Smallest share of words with at least one alphabetic character."""

    def __post_init__(self) -> None:
        if not 0 <= self.min_words <= self.max_words:
            raise ValueError(f"min_words={self.min_words} exceeds max_words={self.max_words}")
        if self.min_mean_word_length > self.max_mean_word_length:
            raise ValueError(
                f"min_mean_word_length={self.min_mean_word_length} exceeds "
                f"max_mean_word_length={self.max_mean_word_length}"
            )
        for name in ("max_ellipsis_share", "min_alphabetic_share"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name}={getattr(self, name)} is not between 0 and 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class GopherMeasurements:
    """What the rules look at."""

    num_words: int
    """Words in the document."""
    mean_word_length: float
    """Mean length of a word in characters; 0 without words."""
    ellipsis_share: float
    """Share of the lines with text that end in an ellipsis."""
    alphabetic_share: float
    """Share of words with at least one alphabetic character."""
    has_words: bool = True
    """Whether most letters are of scripts that put spaces between words."""


def measure_gopher(text: str) -> GopherMeasurements:
    """Measure what the rules look at."""
    # White space, not a linguistic tokenizer: the limits were published for whole words, and a
    # tokenizer that splits off punctuation lowers the mean length and the alphabetic share.
    words = text.split()
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return GopherMeasurements(
        num_words=len(words),
        mean_word_length=share(sum(map(len, words)), len(words)),
        ellipsis_share=share(sum(line.endswith(ELLIPSES) for line in lines), len(lines)),
        alphabetic_share=share(_count_alphabetic(words), len(words)),
        has_words=has_spaced_words(text),
    )


def find_failed_rule(
    measured: GopherMeasurements, config: GopherConfig
) -> tuple[str, float] | None:
    """Return the name of the first rule that the document fails and its value, or ``None``."""
    has_ellipses = measured.ellipsis_share > config.max_ellipsis_share
    ellipses = ("too_many_ellipses", measured.ellipsis_share) if has_ellipses else None
    if not measured.has_words:
        return ellipses
    if measured.num_words < config.min_words:
        return "too_few_words", float(measured.num_words)
    if measured.num_words > config.max_words:
        return "too_many_words", float(measured.num_words)
    if measured.mean_word_length < config.min_mean_word_length:
        return "words_too_short", measured.mean_word_length
    if measured.mean_word_length > config.max_mean_word_length:
        return "words_too_long", measured.mean_word_length
    if ellipses is not None:
        return ellipses
    if measured.alphabetic_share < config.min_alphabetic_share:
        return "too_few_letters", measured.alphabetic_share
    return None


def passes_gopher_rules(text: str) -> bool:
    """Return whether a text passes the rules with their published limits."""
    return find_failed_rule(measure_gopher(text), GopherConfig()) is None


def _count_alphabetic(words: Sequence[str]) -> int:
    # Most words of a text are repetitions, so each distinct word is looked at once.
    return sum(
        count
        for word, count in Counter(words).items()
        if word.isalpha() or any(map(str.isalpha, word))
    )
