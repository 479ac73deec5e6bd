"""The interface that every tokenizer of this package has.

A model needs no more of a tokenizer: text to ids and back, and how many ids there are. What the
tokenizers differ in is how much text one id stands for, the ``compression_ratio``.
"""

from collections.abc import Iterable, Iterator
from typing import Protocol, runtime_checkable


@runtime_checkable
class TextTokenizer(Protocol):
    """Text to token ids and back."""

    @property
    def vocab_size(self) -> int:
        """Number of ids; all of them are below it."""
        ...

    def encode(self, text: str) -> list[int]:
        """Return the token ids of ``text``."""
        ...

    def encode_iterable(self, pieces: Iterable[str]) -> Iterator[int]:
        """Yield the ids of the joined ``pieces``, lazily, however the text is cut into pieces."""
        ...

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ``ids``."""
        ...


def compression_ratio(tokenizer: TextTokenizer, text: str) -> float:
    """Return the UTF-8 bytes of ``text`` per token: the higher, the shorter the sequence of ids.

    Raises:
        ValueError: there is no text.
    """
    if not text:
        raise ValueError("a compression ratio needs text, got an empty string")
    num_tokens = sum(1 for _ in tokenizer.encode_iterable([text]))
    return len(text.encode()) / num_tokens
