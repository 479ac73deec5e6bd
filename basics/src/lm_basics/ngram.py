"""Interpolated modified Kneser-Ney n-gram model over token ids: the baseline to beat by training.

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

Every document begins with a symbol that is never predicted, and no n-gram reaches beyond it.

There is no loop over tokens. An n-gram is numbered by its place in the sorted array of the
distinct n-grams of its order. Its sort key is made of the number of its first n-1 tokens, the
context, and of its last token, so the keys of order n follow from the numbers of order n-1.
"""

import logging
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64, Integer

logger = logging.getLogger(__name__)

_FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Order:
    """All n-grams of one order, in the order of their keys."""

    keys: Int64[np.ndarray, " ngrams"]
    """Number of the context times (vocab_size + 1) plus the last token; ascending."""
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
        if order < 1:
            raise ValueError(f"order must be at least 1, got {order}")
        if len(tokens) == 0:
            raise ValueError("expected at least one token to fit, got none")
        text = _MarkedText(tokens, document_starts, vocab_size)
        counts = _count_ngrams(text, order)
        return cls([_derive_order(counts, n) for n in range(1, len(counts) + 1)], vocab_size)

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
        text = _MarkedText(tokens, document_starts, self.vocab_size)
        probability = np.full(len(text.symbols), 1 / self.vocab_size)
        # By the place of its last token, the number of the n-gram of the order before.
        numbers = np.zeros(len(text.symbols), dtype=np.int64)
        for n, table in enumerate(self._orders, start=1):
            ends = text.ends_of_ngrams(n)
            context = numbers[ends - 1]
            keys = context * (self.vocab_size + 1) + text.symbols[ends]
            number = np.minimum(np.searchsorted(table.keys, keys), len(table.keys) - 1)
            was_seen = table.keys[number] == keys
            discounted = np.where(was_seen, table.discounted[number], 0.0)
            probability[ends] = discounted + table.backoff[context] * probability[ends]
            numbers = np.full(len(text.symbols), len(table.keys))
            numbers[ends[was_seen]] = number[was_seen]
        return np.log(probability[text.is_token])


@dataclass(frozen=True, kw_only=True, slots=True)
class _Counts:
    """The distinct n-grams of one order and how often each occurs."""

    keys: Int64[np.ndarray, " ngrams"]
    """As in ``_Order``."""
    occurrences: Int64[np.ndarray, " ngrams"]
    """How often each occurs."""
    suffix: Int64[np.ndarray, " ngrams"]
    """Number of the n-gram without its first token, among those of the order below."""
    starts_document: Bool[np.ndarray, " ngrams"]
    """Whether the first token is the start symbol."""


class _MarkedText:
    """Tokens with the symbol V before each document, and how far each is from that symbol."""

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


def _count_ngrams(text: _MarkedText, max_order: int) -> list[_Counts]:
    """Count the n-grams of every order up to the longest document's, unigrams first."""
    radix = text.start_symbol + 1
    # Unigrams are numbered by their ids, whether they occur or not.
    counts = [
        _Counts(
            keys=np.arange(radix),
            occurrences=np.bincount(text.symbols, minlength=radix),
            suffix=np.zeros(radix, dtype=np.int64),
            starts_document=np.arange(radix) == text.start_symbol,
        )
    ]
    numbers = text.symbols
    for n in range(2, max_order + 1):
        ends = text.ends_of_ngrams(n)
        if len(ends) == 0:
            break
        keys, number, occurrences = np.unique(
            numbers[ends - 1] * radix + text.symbols[ends], return_inverse=True, return_counts=True
        )
        # Every occurrence would do to look at an n-gram: numpy keeps the last one.
        example = np.empty(len(keys), dtype=np.int64)
        example[number] = ends
        counts.append(
            _Counts(
                keys=keys,
                occurrences=occurrences,
                suffix=numbers[example],
                starts_document=text.starts_document(example, n),
            )
        )
        numbers = np.zeros(len(text.symbols), dtype=np.int64)
        numbers[ends] = number
    return counts


def _adjust_counts(counts: list[_Counts], n: int) -> Int64[np.ndarray, " ngrams"]:
    """Return the adjusted counts a(g) of the n-grams."""
    table = counts[n - 1]
    adjusted = table.occurrences
    if n < len(counts):
        continuations = np.bincount(counts[n].suffix, minlength=len(table.keys))
        adjusted = np.where(table.starts_document, table.occurrences, continuations)
    # The start symbol itself is never predicted.
    return np.where(table.starts_document, 0, adjusted) if n == 1 else adjusted


def _derive_order(counts: list[_Counts], n: int) -> _Order:
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
