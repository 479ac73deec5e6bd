"""C4's rules (Raffel et al., 2020, section 2.2): lines that go, and pages that go.

The numbers are those of the paper's last version and of its program: five words for a line, three
sentences for a page. A sentence ends at a period, question or exclamation mark before white space,
without the program's model of abbreviations; and spans of three sentences that occur twice are left
to the deduplication.
"""

import re
from collections.abc import Set
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from lm_data.filters.text_parts import ELLIPSES, has_spaced_words

END_MARKS = (".", "?", "!", '"', "”")
MAX_WORD_LENGTH = 1000
"""Lines with a longer word are no prose."""
POLICY_PHRASES = (
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
)
CITATION_MARKS = re.compile(r"\[(?:\d{0,4}|edit|citation needed)\]")
SENTENCE_END = re.compile("[.?!][\"'\u201d\u2019)\\]]{0,3}(?=\\s)")
WORD = re.compile(r"\w+")


@dataclass(frozen=True, kw_only=True, slots=True)
class C4Config:
    """How strictly C4's rules are applied, where they are chosen."""

    terminal_punctuation: bool = True
    """Remove lines that do not end a sentence; FineWeb leaves this rule out."""
    min_words_per_line: int = 5
    """Shorter lines are removed."""
    min_sentences: int = 3
    """Pages with fewer sentences in the lines that stay are dropped."""
    bad_words_path: Path | None = None
    """File with a word or phrase per line; pages that hold one are dropped."""

    def __post_init__(self) -> None:
        for name in ("min_words_per_line", "min_sentences"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} is negative")


def clean_page(text: str, config: C4Config) -> tuple[str, str | None]:
    """Return the lines that stay, blank ones included, and why the page goes or ``None``.

    Texts in scripts without spaces keep lines of few words and pages of few sentences.

    Raises:
        FileNotFoundError: There is no file of bad words.
    """
    lower = text.lower()
    if "lorem ipsum" in lower:
        return text, "lorem_ipsum"
    if "{" in text:
        return text, "curly_bracket"
    path = config.bad_words_path
    if path is not None and _holds_phrase(lower, _read_phrases(path)):
        return text, "bad_words"
    has_words = has_spaced_words(text)
    kept: list[str] = []
    for raw_line in text.splitlines():
        line = CITATION_MARKS.sub("", raw_line).strip()
        if not line or keeps_line(line, config, has_words=has_words):
            kept.append(line)
    num_sentences = sum(map(count_sentences, kept))
    is_short = has_words and num_sentences < config.min_sentences
    return "\n".join(kept), "too_few_sentences" if is_short else None


def keeps_line(line: str, config: C4Config, *, has_words: bool = True) -> bool:
    """Return whether a line stays: prose, and no notice about scripts, cookies or terms."""
    words, lower = line.split(), line.lower()
    if has_words and len(words) < config.min_words_per_line:
        return False
    if has_words and max(map(len, words), default=0) > MAX_WORD_LENGTH:
        return False
    if has_words and config.terminal_punctuation and not ends_sentence(line):
        return False
    return "javascript" not in lower and not any(phrase in lower for phrase in POLICY_PHRASES)


def ends_sentence(line: str) -> bool:
    """Return whether a line ends in a terminal punctuation mark, which an ellipsis is not."""
    return line.endswith(END_MARKS) and not line.endswith(ELLIPSES)


def count_sentences(line: str) -> int:
    """Return the sentences of a line; what stands behind the last mark is one as well."""
    return len(SENTENCE_END.findall(line)) + bool(line)


@lru_cache(maxsize=2)
def _read_phrases(path: Path) -> frozenset[tuple[str, ...]]:
    """Return the words of each phrase."""
    lines = path.read_text(encoding="utf-8").lower().splitlines()
    return frozenset(tuple(WORD.findall(line)) for line in lines) - {()}


def _holds_phrase(text: str, phrases: Set[tuple[str, ...]]) -> bool:
    words = WORD.findall(text)
    return any(
        not phrases.isdisjoint(zip(*(words[start:] for start in range(length)), strict=False))
        for length in sorted(set(map(len, phrases)))
    )
