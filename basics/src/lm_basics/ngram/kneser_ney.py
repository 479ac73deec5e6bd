"""Interpolated modified Kneser-Ney n-gram model over token ids.

Source: Chen & Goodman, "An Empirical Study of Smoothing Techniques for Language Modeling"
(TR-10-98, 1998), section 3.2; starts of documents as in Heafield et al., "Scalable Modified
Kneser-Ney Language Model Estimation" (2013), section 3. With h the n-1 tokens before w and h' the
same without its first token,

    p(w | h) = [a(hw) - D(a(hw))] / sum_x a(hx)  +  b(h) p(w | h')
    b(h)     = [D_1 N_1(h) + D_2 N_2(h) + D_3 N_3+(h)] / sum_x a(hx)

and p(w) of the last step interpolates with the uniform 1/V. N_k(h) is the number of words that
follow h with adjusted count k (three or more for N_3+). The adjusted count a(g) of an n-gram g is
how often it occurs if n is the model's order or g starts a document, and otherwise the number of
different tokens that occur before it: a word that follows many words is likely in new places, a
word that is merely frequent is not. A context that was never seen has p(w | h) = p(w | h').
Discounts come from the counts of adjusted counts, t_k = number of n-grams with a = k, per order:

    Y = t_1 / (t_1 + 2 t_2),    D_k = k - (k + 1) Y t_(k+1) / t_k    for k = 1, 2, 3.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64, Integer

from lm_basics.ngram.counts import (
    MarkedText,
    NgramCounts,
    OrderCounts,
    count_ngrams,
    find_ngrams,
)

logger = logging.getLogger(__name__)

_FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Order:
    """All n-grams of one order, in the order of their keys."""

    keys: Int64[np.ndarray, " ngrams"]
    """As in ``OrderCounts``."""
    discounted: Float64[np.ndarray, " ngrams"]
    """First term of p(w | h)."""
    backoff: Float64[np.ndarray, " contexts"]
    """b(h) by number of the context; 1 where h has no followers. The number behind the last one
    stands for every context that was never seen."""
    discounts: tuple[float, float, float]
    """D_1, D_2 and D_3 of this order."""


class KneserNeyModel:
    """Probabilities of tokens given up to ``order - 1`` tokens before them; made by ``fit``."""

    def __init__(self, orders: list[_Order], vocab_size: int) -> None:
        self._orders = orders
        self.vocab_size = vocab_size

    @classmethod
    def fit(
        cls,
        tokens: Integer[np.ndarray, " tokens"],
        *,
        vocab_size: int,
        order: int = 5,
        document_starts: Integer[np.ndarray, " documents"] | None = None,
    ) -> "KneserNeyModel":
        """Count the n-grams of ``tokens`` and derive all probabilities.

        Args:
            tokens: ids of all documents.
            vocab_size: V; all ids are below.
            order: longest n-gram; less where no document is long enough.
            document_starts: positions of the first token of each document, from 0 upwards; without
                it, ``tokens`` is one document.

        Raises:
            ValueError: no tokens, ids outside of the vocabulary, or starts out of order.
        """
        return cls.from_counts(
            count_ngrams(
                tokens, vocab_size=vocab_size, order=order, document_starts=document_starts
            )
        )

    @classmethod
    def from_counts(cls, counts: NgramCounts, order: int | None = None) -> "KneserNeyModel":
        """Derive all probabilities from counts.

        Args:
            counts: Of the text to learn from.
            order: Longest n-gram; None means the longest that was counted.

        Raises:
            ValueError: ``order`` is below 1.
        """
        tables = counts.up_to(len(counts.orders) if order is None else order)
        orders = [_derive_order(tables, n) for n in range(1, len(tables) + 1)]
        return cls(orders, counts.vocab_size)

    @property
    def order(self) -> int:
        """Longest n-gram."""
        return len(self._orders)

    @property
    def discounts(self) -> list[tuple[float, float, float]]:
        """D_1, D_2 and D_3 of each order, unigrams first."""
        return [order.discounts for order in self._orders]

    def log_probabilities(
        self,
        tokens: Integer[np.ndarray, " tokens"],
        document_starts: Integer[np.ndarray, " documents"] | None = None,
    ) -> Float64[np.ndarray, " tokens"]:
        """Return the natural logarithm of each token's probability given those before it."""
        text = MarkedText(tokens, document_starts, self.vocab_size)
        probability = np.full(len(text.symbols), 1 / self.vocab_size)
        # By the place of its last token, the number of the n-gram of the order before.
        numbers = np.zeros(len(text.symbols), dtype=np.int64)
        for n, table in enumerate(self._orders, start=1):
            ends = text.ends_of_ngrams(n)
            context = numbers[ends - 1]
            keys = context * (self.vocab_size + 1) + text.symbols[ends]
            number, was_seen = find_ngrams(table.keys, keys)
            discounted = np.where(was_seen, table.discounted[number], 0.0)
            probability[ends] = discounted + table.backoff[context] * probability[ends]
            numbers = np.full(len(text.symbols), len(table.keys))
            numbers[ends[was_seen]] = number[was_seen]
        return np.log(probability[text.is_token])


def _adjust_counts(counts: Sequence[OrderCounts], n: int) -> Int64[np.ndarray, " ngrams"]:
    """Return the adjusted counts a(g) of the n-grams."""
    table = counts[n - 1]
    adjusted = table.occurrences
    if n < len(counts):
        continuations = np.bincount(counts[n].suffix, minlength=len(table.keys))
        adjusted = np.where(table.starts_document, table.occurrences, continuations)
    # The start symbol itself is never predicted.
    return np.where(table.starts_document, 0, adjusted) if n == 1 else adjusted


def _derive_order(counts: Sequence[OrderCounts], n: int) -> _Order:
    """Return the terms of p(w | h) for n-grams."""
    keys = counts[n - 1].keys
    adjusted = _adjust_counts(counts, n)
    discounts = _estimate_discounts(adjusted, n)
    discount = np.array([0.0, *discounts])[np.minimum(adjusted, 3)]
    radix = len(counts[0].keys)
    context = keys // radix
    num_contexts = 1 + (len(counts[n - 2].keys) if n > 1 else 1)
    total = np.bincount(context, weights=adjusted, minlength=num_contexts)
    withheld = np.bincount(context, weights=discount, minlength=num_contexts)
    backoff = np.ones(num_contexts)
    np.divide(withheld, total, out=backoff, where=total > 0)
    discounted = (adjusted - discount) / total[context]
    return _Order(keys=keys, discounted=discounted, backoff=backoff, discounts=discounts)


def _estimate_discounts(
    adjusted: Int64[np.ndarray, " ngrams"], n: int
) -> tuple[float, float, float]:
    """Return D_1, D_2 and D_3 from the counts of adjusted counts."""
    t = np.bincount(np.minimum(adjusted, 5), minlength=6).astype(np.float64)
    if t[1:4].all():
        y = t[1] / (t[1] + 2 * t[2])
        d_1, d_2, d_3 = (float(k - (k + 1) * y * t[k + 1] / t[k]) for k in (1, 2, 3))
        if 0 <= d_1 <= 1 and 0 <= d_2 <= 2 and 0 <= d_3 <= 3:
            return d_1, d_2, d_3
    # Very small texts, or ones whose rare n-grams were removed, do not have enough counts.
    logger.warning("Counts of %d-grams give no valid discounts; using %s.", n, _FALLBACK_DISCOUNTS)
    return _FALLBACK_DISCOUNTS
