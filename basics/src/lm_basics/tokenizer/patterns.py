"""Regular expressions that cut text before byte-pair encoding.

Two cuts come first, and no merge ever crosses either. Special tokens such as ``<|endoftext|>`` are
hard boundaries. The text between them is cut into *pre-tokens* (about a word with the space before
it) by a pattern; what its matches leave out, between two of them, is a pre-token as well.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

import regex

GPT2_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""Pre-tokens of GPT-2 (Radford et al., 2019), in the form that tiktoken publishes."""

END_OF_TEXT = "<|endoftext|>"
"""The special token that ends a document."""

GPT4_PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*+"
    r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
)
"""Pre-tokens of GPT-4 (cl100k_base), in the form that tiktoken publishes but for ``{1,3}+``, whose
``+`` tells Hugging Face tokenizers to repeat, so that they would not cut numbers at all."""

O200K_PATTERN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Pre-tokens of GPT-4o (o200k_base), in the form that tiktoken publishes."""

AllowedSpecial = Literal["all"] | Collection[str]
"""The special tokens that text may spell; in untrusted text none, the empty tuple."""

_LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

_GPT2_PLACES = r"(?<=\p{L})\P{L}|(?<=\p{N})\P{N}|(?<=[^\s\p{L}\p{N}'])[\s\p{L}\p{N}]"
# GPT-4o's takes marks for letters, apostrophes to the word before and slashes to line ends.
_LATER_PLACES = r"(?<=\p{L})[^\p{L}\p{M}']|(?<=\p{N})\P{N}|(?<=\S)[^\S\r\n]|(?<=\S\r?\n)[^\s/]"

PLACES_TO_CUT: Mapping[str, str] = {
    GPT2_PATTERN: _GPT2_PLACES,
    GPT4_PATTERN: _LATER_PLACES,
    O200K_PATTERN: _LATER_PLACES,
    # GPT-2's and GPT-4's as they were first published.
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+": _GPT2_PLACES,
    GPT4_PATTERN.replace("{1,3}", "{1,3}+"): _LATER_PLACES,
    # Llama 3 and, with one digit at a time, Qwen.
    _LLAMA3_PATTERN: _LATER_PLACES,
    _LLAMA3_PATTERN.replace("{1,3}", ""): _LATER_PLACES,
}
"""For every pattern of which this is known, the characters before which a text may be cut: a match
ends there and another begins, whatever stands further left or right. The matches of these patterns
cover every character. Of other patterns nobody knows where a text may be cut."""


def compile_pattern(pattern: str) -> regex.Pattern[str]:
    """Compile the pattern of pre-tokens.

    Raises:
        ValueError: it is no regular expression, empty, or a bare word such as a pattern's name.
    """
    if not pattern or pattern.isalnum():
        raise ValueError(
            f"the pattern {pattern!r} would cut at that word alone: expected a regular expression, "
            "such as GPT4_PATTERN of lm_basics.tokenizer"
        )
    try:
        compiled = regex.compile(pattern)
    except regex.error as error:
        raise ValueError(f"the pattern {pattern!r} is no regular expression: {error}") from error
    return compiled


def split_pretokens(text: str, pattern: regex.Pattern[str]) -> list[str]:
    """Return the pre-tokens of a text; joined they are the text."""
    if pattern.pattern in PLACES_TO_CUT:
        return pattern.findall(text)
    pretokens, end = [], 0
    for match in pattern.finditer(text):
        pretokens += [text[end : match.start()], match[0]]
        end = match.end()
    return [pretoken for pretoken in [*pretokens, text[end:]] if pretoken]


def check_special_tokens(special_tokens: Sequence[str]) -> None:
    """Refuse special tokens that could never be told apart.

    Raises:
        TypeError: ``special_tokens`` is one string instead of a sequence of strings.
        ValueError: a token is empty or occurs twice.
    """
    if isinstance(special_tokens, str):
        raise TypeError(f"expected a sequence of special tokens, got the string {special_tokens!r}")
    if "" in special_tokens:
        raise ValueError(f"special tokens must not be empty, got {list(special_tokens)}")
    if len(set(special_tokens)) != len(special_tokens):
        raise ValueError(f"special tokens must differ from each other, got {list(special_tokens)}")


def compile_special_tokens(special_tokens: Collection[str]) -> regex.Pattern[str] | None:
    """Return a pattern for ``split`` that keeps the special tokens, or ``None`` without any.

    Alternation takes the first branch that matches, so the longest token is written first: of two
    special tokens that start at the same character the longer one wins.
    """
    if not special_tokens:
        return None
    longest_first = sorted(special_tokens, key=len, reverse=True)
    return regex.compile("(" + "|".join(regex.escape(token) for token in longest_first) + ")")


def split_special_tokens(text: str, special_pattern: regex.Pattern[str] | None) -> list[str]:
    """Return ordinary text at even positions and special tokens at odd ones."""
    return [text] if special_pattern is None else special_pattern.split(text)


def resolve_allowed(allowed: AllowedSpecial, special_tokens: Collection[str]) -> Collection[str]:
    """Return the special tokens that text may spell.

    Raises:
        TypeError: it is another string than ``"all"``, or can be gone through only once.
        ValueError: one is none of ``special_tokens``.
    """
    if isinstance(allowed, str) and allowed == "all":
        return special_tokens
    if isinstance(allowed, str) or not isinstance(allowed, Collection):
        raise TypeError(
            f"allowed_special must be 'all' or a collection of special tokens, got {allowed!r}"
        )
    if unknown := set(allowed) - set(special_tokens):
        raise ValueError(f"{sorted(unknown)} are no special tokens of this tokenizer")
    return allowed
