"""What a tokenizer is given to encode, checked before any of it is encoded."""

from collections.abc import Collection, Iterable, Sequence
from typing import Literal

AllowedSpecial = Literal["all"] | Collection[str]
"""The special tokens that text may spell; in untrusted text none, the empty tuple."""


def check_text(text: str) -> None:
    """Raise ``TypeError`` unless it is a text."""
    if not isinstance(text, str):
        raise TypeError(f"expected a str to encode, got {type(text).__name__}")


def check_batch(texts: Iterable[str], num_threads: int | None) -> Sequence[str]:
    """Return the texts as a sequence.

    Raises:
        TypeError: it is one string instead of several.
        ValueError: ``num_threads`` is below 1.
    """
    if isinstance(texts, str):
        raise TypeError(f"expected several texts, got the string {texts[:40]!r}")
    if num_threads is not None and num_threads < 1:
        raise ValueError(f"num_threads={num_threads} leaves nobody to encode")
    return texts if isinstance(texts, Sequence) else list(texts)


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
