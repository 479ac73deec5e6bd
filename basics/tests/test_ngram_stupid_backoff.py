"""Stupid backoff against its equation, plainly and by hand."""

import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from basics.tests.ngram_documents import DOCUMENTS, join_documents, zipf_documents
from lm_basics.ngram import StupidBackoffModel, count_ngrams

A, B, C = range(3)
FACTOR = Fraction(2, 5)


class Reference:
    """The paper's recursion with tuples and exact fractions; ``None`` starts a document."""

    def __init__(self, documents: list[list[int]], order: int, vocab_size: int) -> None:
        self.order, self.vocab_size = order, vocab_size
        marked = [(None, *document) for document in documents]
        self.counts = Counter(
            text[start : start + n]
            for text in marked
            for n in range(1, order + 1)
            for start in range(len(text) - n + 1)
        )
        self.num_tokens = sum(map(len, documents))

    def score(self, word: int, context: tuple[int | None, ...]) -> Fraction:
        context = context[max(0, len(context) - self.order + 1) :]
        if count := self.counts[(*context, word)]:
            return Fraction(count, self.counts[context] if context else self.num_tokens)
        shorter = self.score(word, context[1:]) if context else Fraction(1, self.vocab_size)
        return FACTOR * shorter

    def probability(self, word: int, context: tuple[int | None, ...]) -> Fraction:
        total = sum(self.score(other, context) for other in range(self.vocab_size))
        return self.score(word, context) / total


def _fit(documents: list[list[int]], order: int, vocab_size: int) -> StupidBackoffModel:
    tokens, starts = join_documents(documents)
    return StupidBackoffModel.fit(
        tokens, order=order, vocab_size=vocab_size, document_starts=starts
    )


@given(documents=DOCUMENTS, scored=DOCUMENTS, order=st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_scores_and_probabilities_equal_those_of_the_equations(
    documents: list[list[int]], scored: list[list[int]], order: int
) -> None:
    documents = [*documents, [0, 1]]
    model, reference = _fit(documents, order, 6), Reference(documents, order, 6)
    places = [
        (word, (None, *document[:index]))
        for document in scored
        for index, word in enumerate(document)
    ]
    given_text = join_documents(scored)
    for found, exact in (
        (model.log_scores(*given_text), reference.score),
        (model.log_probabilities(*given_text), reference.probability),
    ):
        expected = [math.log(exact(*place)) for place in places]
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        # Four documents, all of which begin with a; 12 a and 7 b of 19 tokens.
        ([], (Fraction(1), FACTOR * Fraction(7, 19), FACTOR**2 / 3)),
        # ca was not seen: a factor for each token, and for c, which is nowhere, one for each of
        # ca, a, and nothing.
        ([C, A], (FACTOR * Fraction(5, 12), FACTOR * Fraction(7, 12), FACTOR**3 / 3)),
        ([A, A, A, A], (Fraction(2, 3), Fraction(1, 3), FACTOR**5 / 3)),
        # ab is followed by a three times, and ends a document the other four.
        ([C, A, B], (FACTOR * Fraction(3, 7), FACTOR**3 * Fraction(7, 19), FACTOR**4 / 3)),
        # A context that was not seen costs a factor for each token that is left out.
        ([C, C, C, C], (FACTOR**4 * Fraction(12, 19), FACTOR**4 * Fraction(7, 19), FACTOR**5 / 3)),
    ],
)
def test_scores_by_hand(context: list[int], expected: tuple[Fraction, ...]) -> None:
    documents = [[A] * 6 + [B], [A, B, A, B], [A, B, A, B], [A, B, A, B]]
    # At the start of a document, only this order leaves the start symbol out of the context.
    model = _fit(documents, len(context) + 1 if context else 5, vocab_size=3)
    scored = join_documents([[*context, word] for word in range(3)])
    found = np.exp(model.log_scores(*scored)[len(context) :: len(context) + 1])
    np.testing.assert_allclose(found, np.array(expected, dtype=np.float64), rtol=1e-12)


@pytest.mark.parametrize("order", [1, 2, 5])
def test_probabilities_sum_to_one_and_scores_to_more(order: int) -> None:
    documents = zipf_documents(100, 30, seed=2)
    model = _fit(documents, order, vocab_size=35)
    seen = documents[0][:6]
    for context in ([], seen[:1], seen, [34] * 6, [*seen, 34], [34, *seen[:3]]):
        scored = join_documents([[*context, word] for word in range(35)])
        last = slice(len(context), None, len(context) + 1)
        probabilities = np.exp(model.log_probabilities(*scored)[last])
        np.testing.assert_allclose(probabilities.sum(), 1.0, rtol=1e-12)
    everywhere = join_documents([[*seen[:1], word] for word in range(35)])
    assert np.exp(model.log_scores(*everywhere)[1::2]).sum() > 1.001


def test_models_of_several_orders_share_counts() -> None:
    documents = zipf_documents(100, 20, seed=6)
    tokens, starts = join_documents(documents)
    counts = count_ngrams(tokens, vocab_size=20, order=5, document_starts=starts)
    for order in (1, 3, 5):
        model = StupidBackoffModel(counts, order)
        assert model.order == order
        np.testing.assert_array_equal(
            model.log_scores(tokens, starts),
            _fit(documents, order, vocab_size=20).log_scores(tokens, starts),
        )
    with pytest.raises(ValueError, match="order must be at least 1, got 0"):
        StupidBackoffModel(counts, 0)
