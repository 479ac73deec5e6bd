"""Counts of all n-grams of a text up to an order.

Every document begins with a symbol that is never predicted, and no n-gram reaches beyond it.

There is no loop over tokens. An n-gram is numbered by its place in the sorted array of the
distinct n-grams of its order. Its sort key is made of the number of its first n-1 tokens, the
context, and of its last token, so the keys of order n follow from the numbers of order n-1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int64, Integer


@dataclass(frozen=True, kw_only=True, slots=True)
class OrderCounts:
    """The distinct n-grams of one order and how often each occurs."""

    keys: Int64[np.ndarray, " ngrams"]
    """Number of the context times (vocab_size + 1) plus the last token; ascending."""
    occurrences: Int64[np.ndarray, " ngrams"]
    """How often each occurs."""
    suffix: Int64[np.ndarray, " ngrams"]
    """Number of the n-gram without its first token, among those of the order below; all are 0
    where that is empty."""
    starts_document: Bool[np.ndarray, " ngrams"]
    """Whether the first token is the start symbol."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NgramCounts:
    """The n-grams of a text; models of several kinds and orders share them."""

    orders: Sequence[OrderCounts]
    """By order, unigrams first; fewer than ``max_order`` where no document is long enough. Unigrams
    are numbered by their ids, whether they occur or not; the last one is the start symbol."""
    max_order: int
    """Longest n-gram that was asked for."""
    vocab_size: int
    """All ids are below; the start symbol has this number."""

    def up_to(self, order: int) -> Sequence[OrderCounts]:
        """Return the counts of the orders up to ``order``, or to the longest there is.

        Raises:
            ValueError: ``order`` is below 1.
        """
        if order < 1:
            raise ValueError(f"order must be at least 1, got {order}")
        return self.orders[:order]


class MarkedText:
    """Tokens with the symbol V before each document, and how far each is from that symbol.

    Args:
        tokens: ids of all documents.
        document_starts: positions of the first token of each document, from 0 upwards; None means
            that ``tokens`` is one document.
        vocab_size: V; all ids are below.

    Raises:
        ValueError: ids outside of the vocabulary, or starts out of order.
    """

    def __init__(
        self,
        tokens: Integer[np.ndarray, " tokens"],
        document_starts: Integer[np.ndarray, " documents"] | None,
        vocab_size: int,
    ) -> None:
        starts = np.zeros(1, dtype=np.int64) if document_starts is None else document_starts
        _check_text(tokens, starts, vocab_size)
        self.start_symbol = vocab_size
        self.symbols = np.insert(tokens.astype(np.int64), starts, self.start_symbol)
        self.is_token = self.symbols != self.start_symbol
        places = np.arange(len(self.symbols))
        last_start = np.maximum.accumulate(np.where(self.is_token, 0, places))
        self._distance = places - last_start

    def ends_of_ngrams(self, n: int) -> Int64[np.ndarray, " ngrams"]:
        """Return the places of the last tokens of all n-grams that lie inside of one document."""
        return np.flatnonzero(self._distance >= n - 1)

    def starts_document(
        self, ends: Int64[np.ndarray, " ngrams"], n: int
    ) -> Bool[np.ndarray, " ngrams"]:
        """Return whether the n-grams that end at ``ends`` begin with the start symbol."""
        return self._distance[ends] == n - 1


def count_ngrams(
    tokens: Integer[np.ndarray, " tokens"],
    *,
    vocab_size: int,
    order: int = 5,
    document_starts: Integer[np.ndarray, " documents"] | None = None,
) -> NgramCounts:
    """Count the n-grams of every order up to ``order``.

    Args:
        tokens: ids of all documents.
        vocab_size: V; all ids are below.
        order: longest n-gram; less where no document is long enough.
        document_starts: positions of the first token of each document, from 0 upwards; without
            it, ``tokens`` is one document.

    Raises:
        ValueError: no tokens, ids outside of the vocabulary, or starts out of order.
    """
    if order < 1:
        raise ValueError(f"order must be at least 1, got {order}")
    if len(tokens) == 0:
        raise ValueError("expected at least one token to fit, got none")
    text = MarkedText(tokens, document_starts, vocab_size)
    radix = vocab_size + 1
    counts = [
        OrderCounts(
            keys=np.arange(radix),
            occurrences=np.bincount(text.symbols, minlength=radix),
            suffix=np.zeros(radix, dtype=np.int64),
            starts_document=np.arange(radix) == text.start_symbol,
        )
    ]
    numbers = text.symbols
    for n in range(2, order + 1):
        ends = text.ends_of_ngrams(n)
        if len(ends) == 0:
            break
        table, numbers = _count_order(text, n, ends, numbers)
        counts.append(table)
    return NgramCounts(orders=counts, max_order=order, vocab_size=vocab_size)


def find_ngrams(
    keys: Int64[np.ndarray, " ngrams"], asked: Int64[np.ndarray, " asked"]
) -> tuple[Int64[np.ndarray, " asked"], Bool[np.ndarray, " asked"]]:
    """Return the number of each n-gram by its key, and whether it is among ``keys`` at all."""
    number = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    return number, keys[number] == asked


def _count_order(
    text: MarkedText,
    n: int,
    ends: Int64[np.ndarray, " ends"],
    shorter: Int64[np.ndarray, " symbols"],
) -> tuple[OrderCounts, Int64[np.ndarray, " symbols"]]:
    """Count the n-grams that end at ``ends``.

    Args:
        text: What is counted.
        n: Order.
        ends: Places of the last tokens.
        shorter: By the place of its last token, the number of the n-gram of the order before.

    Returns:
        The counts, and by the place of its last token the number of each n-gram.
    """
    keys, number, occurrences = np.unique(
        shorter[ends - 1] * (text.start_symbol + 1) + text.symbols[ends],
        return_inverse=True,
        return_counts=True,
    )
    # Every occurrence would do to look at an n-gram: numpy keeps the last one.
    example = np.empty(len(keys), dtype=np.int64)
    example[number] = ends
    numbers = np.zeros(len(text.symbols), dtype=np.int64)
    numbers[ends] = number
    table = OrderCounts(
        keys=keys,
        occurrences=occurrences,
        suffix=shorter[example],
        starts_document=text.starts_document(example, n),
    )
    return table, numbers


def _check_text(
    tokens: Integer[np.ndarray, " tokens"],
    starts: Integer[np.ndarray, " documents"],
    vocab_size: int,
) -> None:
    """Raise unless the ids are in the vocabulary and the documents tile the tokens."""
    if len(tokens) and not (tokens.min() >= 0 and tokens.max() < vocab_size):
        raise ValueError(
            f"expected token ids from 0 to {vocab_size - 1}, got {tokens.min()} to {tokens.max()}"
        )
    is_ordered = len(starts) > 0 and starts[0] == 0 and bool(np.all(starts[1:] >= starts[:-1]))
    if not is_ordered or starts[-1] > len(tokens):
        raise ValueError(
            f"expected document starts that ascend from 0 to at most {len(tokens)}, got {starts}"
        )
