"""Gopher's rules (Rae et al., 2021, appendix A) beyond the course's selection, which is ``rules``.

``GOPHER`` completes the quality rules of A.1.1: symbols, bullet points, stop words. ``REPETITION``
is Table A1: how much of a document repeats itself. Of the copies of a line,
a paragraph or an n-gram of words all but one are repetitions; the most frequent n-gram counts
wherever it stands. Of n-grams the characters in words count, each once even where several overlap.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
from jaxtyping import Bool

from lm_data.filters.text_parts import ELLIPSES, Rule, TextParts, share

BULLETS = ("•", "‣", "\u2043", "◦", "●", "▪", "■", "- ", "* ")
STOP_WORDS = frozenset({"the", "be", "to", "of", "and", "that", "have", "with"})


def hash_ratio(parts: TextParts) -> float:
    """Return number signs per word."""
    return share(parts.text.count("#"), len(parts.words))


def ellipsis_ratio(parts: TextParts) -> float:
    """Return ellipses per word."""
    return share(sum(map(parts.text.count, ELLIPSES)), len(parts.words))


def bullet_share(parts: TextParts) -> float:
    """Return the share of lines that begin with a bullet point."""
    return share(sum(line.startswith(BULLETS) for line in parts.lines), len(parts.lines))


def count_stop_words(parts: TextParts) -> int:
    """Return how many of the stop words occur, in small or capital letters."""
    return len(STOP_WORDS.intersection(map(str.lower, set(parts.words))))


def repeated_share(pieces: Sequence[str]) -> float:
    """Return the share of lines or paragraphs that repeat others."""
    return share(len(pieces) - len(set(pieces)), len(pieces))


def repeated_character_share(pieces: Sequence[str]) -> float:
    """Return the share of the characters of lines or paragraphs in those that repeat others."""
    num_characters = sum(map(len, pieces))
    return share(num_characters - sum(map(len, set(pieces))), num_characters)


def top_ngram_share(parts: TextParts, *, size: int) -> float:
    """Return the share of characters in the n-gram that occurs most often, if twice or more."""
    ngrams = parts.number_ngrams(size)
    counts = np.bincount(ngrams)
    if len(ngrams) == 0 or counts.max() < 2:
        return 0.0
    return _covered_share(parts, ngrams == counts.argmax(), size)


def repeated_ngram_share(parts: TextParts, *, size: int) -> float:
    """Return the share of characters in n-grams that stand again further on."""
    ngrams = parts.number_ngrams(size)
    places = np.arange(len(ngrams))
    last = np.zeros(len(ngrams), dtype=np.int64)
    # Of several values for one n-gram the last one stays.
    last[ngrams] = places
    return _covered_share(parts, last[ngrams] != places, size)


GOPHER = (
    Rule("too_many_hashes", hash_ratio, "<=", 0.1),
    Rule("too_many_inner_ellipses", ellipsis_ratio, "<=", 0.1),
    Rule("too_many_bullets", bullet_share, "<=", 0.9, "lines"),
    Rule("too_few_stop_words", count_stop_words, ">=", 2, "english"),
)

TOP_NGRAM_LIMITS = {2: 0.2, 3: 0.18, 4: 0.16}
REPEATED_NGRAM_LIMITS = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}

REPETITION = (
    Rule("repeated_lines", lambda parts: repeated_share(parts.lines), "<=", 0.3, "lines"),
    Rule("repeated_paragraphs", lambda parts: repeated_share(parts.paragraphs), "<=", 0.3, "lines"),
    Rule(
        "repeated_line_characters",
        lambda parts: repeated_character_share(parts.lines),
        "<=",
        0.2,
        "lines",
    ),
    Rule(
        "repeated_paragraph_characters",
        lambda parts: repeated_character_share(parts.paragraphs),
        "<=",
        0.2,
        "lines",
    ),
    *(
        Rule(f"top_{size}_gram", partial(top_ngram_share, size=size), "<=", limit)
        for size, limit in TOP_NGRAM_LIMITS.items()
    ),
    *(
        Rule(f"repeated_{size}_grams", partial(repeated_ngram_share, size=size), "<=", limit)
        for size, limit in REPEATED_NGRAM_LIMITS.items()
    ),
)


def _covered_share(parts: TextParts, starts: Bool[np.ndarray, " ngrams"], size: int) -> float:
    """Return the share of characters in words of the n-grams that begin where ``starts`` says."""
    lengths = np.fromiter(map(len, parts.words), dtype=np.int64, count=len(parts.words))
    change = np.zeros(len(lengths) + size, dtype=np.int64)
    change[: len(starts)] += starts
    change[size : size + len(starts)] -= starts
    is_covered = np.cumsum(change)[: len(lengths)] > 0
    return share(float(lengths[is_covered].sum()), float(lengths.sum()))
