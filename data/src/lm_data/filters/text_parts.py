"""The parts of a text that quality rules measure, and the rules themselves.

A word is what stands between white space, punctuation included; a line has text; a paragraph ends
at a blank line. Chinese, Japanese, Thai and others are written without spaces: what stands between
white space there is a clause and no word, so rules about words pass over such texts, and rules
about English words over texts in other languages.
"""

import operator
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Literal

import numpy as np
from jaxtyping import Int64

ELLIPSES = ("...", "…")
# Thai, Lao, Tibetan, Myanmar and Khmer; kana and Chinese characters. Korean has spaces.
_UNSPACED = "\u0e00-\u0eff\u0f00-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff"
_UNSPACED_LETTERS = re.compile(rf"[{_UNSPACED}]+")
_OTHER_LETTERS = re.compile(rf"[^\W\d_{_UNSPACED}]+")

Needs = Literal["lines", "words", "english"]
"""What a rule is about: any text has lines, not all have words, and not all words are English."""

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class TextParts:
    """A text, and its words, lines and paragraphs once a rule has asked for them."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._ngrams: Int64[np.ndarray, " ngrams"] | None = None
        self._ngram_size = 0

    @cached_property
    def words(self) -> list[str]:
        """What stands between white space."""
        return self.text.split()

    @cached_property
    def lines(self) -> list[str]:
        """Lines with text, without the white space around it."""
        return [line for line in map(str.strip, self.text.splitlines()) if line]

    @cached_property
    def paragraphs(self) -> list[str]:
        """Lines between blank ones, joined."""
        groups = groupby(map(str.strip, self.text.splitlines()), key=bool)
        return ["\n".join(lines) for has_text, lines in groups if has_text]

    @cached_property
    def word_numbers(self) -> Int64[np.ndarray, " words"]:
        """A number for each word, equal for equal words."""
        numbers = {word: number for number, word in enumerate(dict.fromkeys(self.words))}
        return np.fromiter(map(numbers.__getitem__, self.words), np.int64, count=len(self.words))

    def number_ngrams(self, size: int) -> Int64[np.ndarray, " ngrams"]:
        """Return a number for the n-gram that begins at each word, equal for equal n-grams.

        An n-gram is the one that is a word shorter and the word behind it, so nothing is hashed.
        The last numbers are kept for who asks for the next size.
        """
        if self._ngrams is None or size < self._ngram_size:
            self._ngrams, self._ngram_size = self.word_numbers, 1
        while self._ngram_size < size:
            followers = self.word_numbers[self._ngram_size :]
            pairs = self._ngrams[: len(followers)] * len(self.words) + followers
            self._ngrams = np.unique(pairs, return_inverse=True)[1]
            self._ngram_size += 1
        return self._ngrams

    @cached_property
    def has_words(self) -> bool:
        """Whether at least half of the letters are of scripts that put spaces between words."""
        return has_spaced_words(self.text)


@dataclass(frozen=True, slots=True)
class Rule:
    """A document stays where its measurement compares so with the limit."""

    name: str
    """Reason of a drop."""
    measure: Callable[[TextParts], float]
    """What is measured."""
    keeps: Literal["<", "<=", ">", ">="]
    """How the measurement of a good document compares with the limit."""
    limit: float
    """The published number."""
    needs: Needs = "words"
    """What a text must have for the rule to say anything about it."""

    def passes(self, value: float) -> bool:
        """Return whether a document with this measurement stays."""
        return _COMPARE[self.keeps](value, self.limit)


def find_broken_rule(
    text: str, rules: Iterable[Rule], *, is_english: bool = True
) -> tuple[str, float] | None:
    """Return the name of the first rule that a text breaks and its value, or ``None``."""
    parts = TextParts(text)
    for rule in rules:
        if rule.needs != "lines" and not parts.has_words:
            continue
        if rule.needs == "english" and not is_english:
            continue
        value = rule.measure(parts)
        if not rule.passes(value):
            return rule.name, float(value)
    return None


def has_spaced_words(text: str) -> bool:
    """Return whether at least half of the letters are of scripts that put spaces between words."""
    if text.isascii():
        return True
    num_unspaced = sum(map(len, _UNSPACED_LETTERS.findall(text)))
    return num_unspaced == 0 or sum(map(len, _OTHER_LETTERS.findall(text))) >= num_unspaced


def share(part: float, whole: float) -> float:
    """Return the part of the whole; of nothing it is 0."""
    return part / whole if whole else 0.0
