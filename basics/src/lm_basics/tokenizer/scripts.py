"""The writing system of a piece of text, by the Unicode property Script.

A script is not a language: English and Vietnamese both count as Latin. Japanese is spread over Han,
Hiragana and Katakana.
"""

from functools import lru_cache

import regex

NO_SCRIPT = "no script"
"""Text of digits, punctuation, symbols and white space, which all scripts share."""
OTHER_SCRIPTS = "other scripts"
"""Text in a script that is not in ``SCRIPTS``."""

SCRIPTS = (
    *("Latin", "Cyrillic", "Han", "Arabic", "Devanagari", "Hiragana", "Katakana", "Hangul"),
    *("Greek", "Hebrew", "Thai", "Bengali", "Tamil", "Telugu", "Gujarati", "Gurmukhi", "Kannada"),
    *("Malayalam", "Oriya", "Sinhala", "Armenian", "Georgian", "Ethiopic", "Khmer", "Lao"),
    *("Myanmar", "Tibetan", "Mongolian", "Bopomofo"),
)
"""Scripts that are told apart, by their Unicode names."""

_SHARED = r"\p{Script=Common}\p{Script=Inherited}\p{Script=Unknown}"
_PATTERN = regex.compile(
    "|".join([*(rf"(?P<{name}>\p{{Script={name}}})" for name in SCRIPTS), f"[^{_SHARED}]"])
)


@lru_cache(maxsize=1 << 16)
def script_of(text: str) -> str:
    """Return the script of the first character in ``text`` that has one of its own."""
    match = _PATTERN.search(text)
    if match is None:
        return NO_SCRIPT
    return match.lastgroup or OTHER_SCRIPTS
