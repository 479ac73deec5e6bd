"""Stupid backoff: relative frequencies, and a constant factor where there are none.

Source: Brants et al., "Large Language Models in Machine Translation" (2007), section 4. With h the
n-1 tokens before w and h' the same without its first token,

    S(w | h) = c(hw) / c(h)       where hw was seen,
               0.4 S(w | h')      elsewhere,
    S(w)     = c(w) / N           where w was seen.

c counts occurrences and N is the number of tokens. The paper has no value for a token that was
never seen; here the recursion takes one step more, to 0.4 / V. A document begins with a symbol that
is never predicted.

S is a score and not a probability: the scores of all tokens after a context sum to

    Z(h) = sum_(x seen after h) [c(hx) / c(h) - 0.4 S(x | h')] + 0.4 Z(h'),    Z of nothing = 1,

which is one by chance only: more after a context that was seen with some of the vocabulary, less
after one that was never seen. So a code length made of scores is no code length. S / Z is a
probability, and Z costs no more than the counts: it follows for all contexts of an order from
those of the order below.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Integer

from lm_basics.ngram.counts import (
    MarkedText,
    NgramCounts,
    OrderCounts,
    count_ngrams,
    find_ngrams,
)

BACKOFF_FACTOR = 0.4
"""The paper's, found on held-out text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Order:
    """Scores of one order."""

    counts: OrderCounts
    """Where the n-grams are found."""
    frequency: Float64[np.ndarray, " ngrams"]
    """c(hw) / c(h)."""
    total: Float64[np.ndarray, " contexts"]
    """Z(h) by number of the context."""


class StupidBackoffModel:
    """Scores of tokens given up to ``order - 1`` tokens before them."""

    def __init__(self, counts: NgramCounts, order: int | None = None) -> None:
        """Derive all scores from counts.

        Args:
            counts: Of the text to learn from.
            order: Longest n-gram, whether or not a document is as long; None means that of the
                counts.

        Raises:
            ValueError: ``order`` is below 1.
        """
        self.vocab_size = counts.vocab_size
        self.order = counts.max_order if order is None else order
        tables = counts.up_to(self.order)
        self._orders: list[_Order] = []
        for n in range(1, len(tables) + 1):
            self._orders.append(_derive_order(tables, n, self._orders, self.vocab_size))

    @classmethod
    def fit(
        cls,
        tokens: Integer[np.ndarray, " tokens"],
        *,
        vocab_size: int,
        order: int = 5,
        document_starts: Integer[np.ndarray, " documents"] | None = None,
    ) -> "StupidBackoffModel":
        """Count the n-grams of ``tokens``; arguments and errors are those of ``count_ngrams``."""
        return cls(
            count_ngrams(
                tokens, vocab_size=vocab_size, order=order, document_starts=document_starts
            )
        )

    def log_scores(
        self,
        tokens: Integer[np.ndarray, " tokens"],
        document_starts: Integer[np.ndarray, " documents"] | None = None,
    ) -> Float64[np.ndarray, " tokens"]:
        """Return the natural logarithm of each token's score given those before it.

        These are the paper's numbers. Over the vocabulary the scores do not sum to one.
        """
        score, _ = self._scores_with_totals(tokens, document_starts)
        return np.log(score)

    def log_probabilities(
        self,
        tokens: Integer[np.ndarray, " tokens"],
        document_starts: Integer[np.ndarray, " documents"] | None = None,
    ) -> Float64[np.ndarray, " tokens"]:
        """Return the natural logarithm of each token's score divided by the sum of all scores.

        These are probabilities, so they may be compared with those of other models.
        """
        score, total = self._scores_with_totals(tokens, document_starts)
        return np.log(score / total)

    def _scores_with_totals(
        self,
        tokens: Integer[np.ndarray, " tokens"],
        document_starts: Integer[np.ndarray, " documents"] | None,
    ) -> tuple[Float64[np.ndarray, " tokens"], Float64[np.ndarray, " tokens"]]:
        """Return S(w | h) and Z(h) of each token."""
        text = MarkedText(tokens, document_starts, self.vocab_size)
        score = np.full(len(text.symbols), 1 / self.vocab_size)
        total = np.ones(len(text.symbols))
        # By the place of its last token, the number of the n-gram of the order before.
        numbers = np.zeros(len(text.symbols), dtype=np.int64)
        for n, table in enumerate(self._orders, start=1):
            ends = text.ends_of_ngrams(n)
            context = numbers[ends - 1]
            # The number behind the last one stands for contexts that were never seen.
            all_totals = np.append(table.total, np.nan)
            is_known = context < len(table.total)
            total[ends] = np.where(is_known, all_totals[context], BACKOFF_FACTOR * total[ends])
            keys = context * (self.vocab_size + 1) + text.symbols[ends]
            number, was_seen = find_ngrams(table.counts.keys, keys)
            was_seen &= table.counts.occurrences[number] > 0
            backed_off = BACKOFF_FACTOR * score[ends]
            score[ends] = np.where(was_seen, table.frequency[number], backed_off)
            numbers = np.full(len(text.symbols), len(table.counts.keys))
            numbers[ends[was_seen]] = number[was_seen]
        for n in range(len(self._orders) + 1, self.order + 1):
            score[text.ends_of_ngrams(n)] *= BACKOFF_FACTOR
            total[text.ends_of_ngrams(n)] *= BACKOFF_FACTOR
        return score[text.is_token], total[text.is_token]


def _derive_order(
    counts: Sequence[OrderCounts], n: int, shorter: Sequence[_Order], vocab_size: int
) -> _Order:
    """Return the scores of order n, given those of the orders below."""
    table = counts[n - 1]
    context = table.keys // len(counts[0].keys)
    if n == 1:
        # The start symbol is no token.
        occurrences = np.where(table.starts_document, 0, table.occurrences)
        context_counts = occurrences.sum(keepdims=True)
        backed_off = np.where(occurrences > 0, 1 / vocab_size, 0.0)
        shorter_total = np.ones(1)
    else:
        occurrences, context_counts = table.occurrences, counts[n - 2].occurrences
        backed_off = shorter[-1].frequency[table.suffix]
        shorter_total = shorter[-1].total[counts[n - 2].suffix]
    frequency = occurrences / context_counts[context]
    gained = np.bincount(
        context,
        weights=frequency - BACKOFF_FACTOR * backed_off,
        minlength=len(context_counts),
    )
    return _Order(counts=table, frequency=frequency, total=gained + BACKOFF_FACTOR * shorter_total)
