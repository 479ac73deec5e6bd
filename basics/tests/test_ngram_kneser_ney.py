"""Modified Kneser-Ney against its equations, plainly and by hand."""

import logging
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from basics.tests.ngram_documents import DOCUMENTS, join_documents, zipf_documents
from basics.tests.reference import KneserNeyReference
from lm_basics.ngram import KneserNeyModel, count_ngrams


def _fit(documents: list[list[int]], order: int, vocab_size: int) -> KneserNeyModel:
    tokens, starts = join_documents(documents)
    return KneserNeyModel.fit(tokens, order=order, vocab_size=vocab_size, document_starts=starts)


def _distribution(model: KneserNeyModel, context: list[int]) -> np.ndarray:
    """Return p(w | context) for every w, with the context at the start of a document."""
    documents = [[*context, word] for word in range(model.vocab_size)]
    return np.exp(
        model.log_probabilities(*join_documents(documents))[len(context) :: len(context) + 1]
    )


@given(documents=DOCUMENTS, scored=DOCUMENTS, order=st.integers(1, 5))
@settings(max_examples=100, deadline=None)
def test_probabilities_equal_those_of_the_equations(
    documents: list[list[int]], scored: list[list[int]], order: int
) -> None:
    documents = [*documents, [0, 1]]
    model = _fit(documents, order, vocab_size=6)
    reference = KneserNeyReference(documents, order, vocab_size=6)
    expected = [
        math.log(reference.probability(word, (None, *document[:index])))
        for document in scored
        for index, word in enumerate(document)
    ]
    np.testing.assert_allclose(
        model.log_probabilities(*join_documents(scored)), expected, rtol=1e-10
    )


def test_discounts_equal_those_of_the_equations() -> None:
    documents = zipf_documents(200, 40, seed=1)
    model = _fit(documents, 4, vocab_size=40)
    reference = KneserNeyReference(documents, 4, vocab_size=40)
    expected = [reference.discounts[n] for n in range(1, 5)]
    np.testing.assert_allclose(model.discounts, expected, rtol=1e-12)
    # Estimated, not the fallback of texts that are too small.
    assert (0.5, 1.0, 1.5) not in model.discounts[1:]


@pytest.mark.parametrize("order", [1, 2, 5])
def test_every_context_has_a_distribution(order: int) -> None:
    documents = zipf_documents(100, 30, seed=2)
    model = _fit(documents, order, vocab_size=35)
    seen = documents[0][:6]
    for context in ([], seen[:1], seen, [34] * 6, [*seen, 34], [34, *seen[:3]]):
        distribution = _distribution(model, context)
        assert np.all(distribution > 0)
        np.testing.assert_allclose(distribution.sum(), 1.0, rtol=1e-12)


def test_small_case_by_hand() -> None:
    # One document, 0 1 0 0, order 2; bigrams ^0 01 10 00, each once.
    # No bigram occurs twice: fallback D = (1/2, 1, 3/2) in both orders. Different tokens before
    # 0: {^, 1, 0}, before 1: {0}. So a(0) = 3, a(1) = 1, sum 4, and with V = 3:
    #   b() = (D_1 + D_3) / 4 = 1/2,  p(0) = (3 - 3/2)/4 + 1/2 * 1/3 = 13/24,
    #   p(1) = (1 - 1/2)/4 + 1/6 = 7/24,  p(2) = 1/6
    # After 0 come 1 and 0, once each: b(0) = (1/2 + 1/2)/2 = 1/2, u = (1 - 1/2)/2 = 1/4.
    model = _fit([[0, 1, 0, 0]], 2, vocab_size=3)
    after_zero = [1 / 4 + 13 / 48, 1 / 4 + 7 / 48, 1 / 12]
    np.testing.assert_allclose(_distribution(model, [0]), after_zero, rtol=1e-12)
    # After 1 comes 0, once: b(1) = 1/2, u = 1/2; after 2 nothing: the unigrams.
    after_one = [1 / 2 + 13 / 48, 7 / 48, 1 / 12]
    np.testing.assert_allclose(_distribution(model, [1]), after_one, rtol=1e-12)
    np.testing.assert_allclose(_distribution(model, [2]), [13 / 24, 7 / 24, 1 / 6], rtol=1e-12)


A, B, C = range(3)
HAND_DOCUMENTS = [[A] * 6 + [B], [A, B, A, B], [A, B, A, B], [A, B, A, B]]
# Worked out on paper from the equations of Chen & Goodman. Adjusted counts, ^ starts a document:
#   1: a 3, b 1                                          t = 1 0 1: no discounts, so 1/2, 1, 3/2
#   2: ^a 4, aa 2, ab 3, ba 1                            t = 1 1 1 1, Y = 1/3
#   3: ^aa 1, ^ab 3, aaa 2, aab 1, aba 1, bab 1          t = 4 1 1 0, Y = 2/3
#   4: ^aaa 1, ^aba 3, aaaa 2, aaab 1, abab 1            t = 3 1 1 0, Y = 3/5
#   5: ^aaaa 1, ^abab 3, aaaaa 2, aaaab 1                t = 2 1 1 0, Y = 1/2
HAND_DISCOUNTS = {
    2: (Fraction(1, 3), 1, Fraction(5, 3)),
    3: (Fraction(2, 3), 0, 3),
    4: (Fraction(3, 5), Fraction(1, 5), 3),
    5: (Fraction(1, 2), Fraction(1, 2), 3),
}
# Context at the start of a document: p(a), p(b) and p(c) times their common denominator.
HAND_PROBABILITIES = [
    # p(x | ^): D_3 of the one follower a, b(^) = (5/3)/4; below it p(a) = 13/24, p(b) = 7/24.
    ([], (233, 35, 20), 288),
    # p(x | ^a): a 1 and b 3 of 4, b(^a) = (2/3 + 3)/4 = 11/12; p(x | a) = 22/45, 19/45, 4/45.
    ([A], (287, 209, 44), 540),
    # p(x | ^aa): a 1 of 1, b(^aa) = 3/5; p(x | aa) = 314/405, 83/405, 8/405.
    ([A, A], (584, 83, 8), 675),
    # p(x | ^aba): b(^aba) = 3/3 leaves p(x | aba) = 2/5 + 3/5 83/135 for b.
    ([A, B, A], (44, 173, 8), 225),
    # p(x | ^aaa) = 1/2 + 1/2 4901/6075 for a.
    ([A, A, A], (10976, 1142, 32), 12150),
    # p(x | aaaa): a 2 and b 1 of 3, b(aaaa) = (1/2 + 1/2)/3; p(x | aaa) = 4901, 1142, 32 / 6075.
    ([A, A, A, A], (28027, 8359, 64), 36450),
    # Contexts that were not seen fall back to their ends: aaa, b, nothing.
    ([C, A, A, A], (4901, 1142, 32), 6075),
    ([B, B], (61, 7, 4), 72),
    ([C, C, C, C], (13, 7, 4), 24),
]


@pytest.mark.parametrize(("context", "numerators", "denominator"), HAND_PROBABILITIES)
def test_order_five_by_hand(
    context: list[int], numerators: tuple[int, ...], denominator: int
) -> None:
    expected = [Fraction(numerator, denominator) for numerator in numerators]
    assert sum(expected) == 1
    model = _fit(HAND_DOCUMENTS, 5, vocab_size=3)
    assert model.order == 5
    np.testing.assert_allclose(
        _distribution(model, context), np.array(expected, dtype=np.float64), rtol=1e-12
    )


def test_discounts_of_order_five_by_hand() -> None:
    model = _fit(HAND_DOCUMENTS, 5, vocab_size=3)
    for order, expected in HAND_DISCOUNTS.items():
        np.testing.assert_allclose(
            model.discounts[order - 1], np.array(expected, dtype=np.float64), atol=1e-12
        )


def test_models_of_several_orders_share_counts() -> None:
    documents = zipf_documents(100, 20, seed=6)
    tokens, starts = join_documents(documents)
    counts = count_ngrams(tokens, vocab_size=20, order=5, document_starts=starts)
    for order in (1, 3, 5):
        shared = KneserNeyModel.from_counts(counts, order)
        alone = _fit(documents, order, vocab_size=20)
        np.testing.assert_array_equal(
            shared.log_probabilities(tokens, starts), alone.log_probabilities(tokens, starts)
        )
    with pytest.raises(ValueError, match="order must be at least 1, got 0"):
        KneserNeyModel.from_counts(counts, 0)


def test_contexts_end_at_documents() -> None:
    documents = zipf_documents(50, 20, seed=3)
    model = _fit(documents, 4, vocab_size=20)
    apart = [model.log_probabilities(*join_documents([document])) for document in documents]
    np.testing.assert_array_equal(
        model.log_probabilities(*join_documents(documents)), np.concatenate(apart)
    )
    # The same documents in another order leave the same model.
    shuffled = _fit(documents[::-1], 4, vocab_size=20)
    np.testing.assert_allclose(
        shuffled.log_probabilities(*join_documents(documents)), np.concatenate(apart)
    )


def test_higher_orders_predict_structured_text_better() -> None:
    train, held_out = zipf_documents(400, 30, seed=4)[:300], zipf_documents(400, 30, seed=4)[300:]
    losses = [
        -_fit(train, n, 30).log_probabilities(*join_documents(held_out)).mean() for n in (1, 2, 3)
    ]
    assert losses[1] < losses[0] - 0.5
    # The chain has memory one: more context can only cost a little.
    assert losses[2] < losses[1] + 0.1


def test_random_tokens_cost_the_logarithm_of_the_vocabulary() -> None:
    generator = np.random.default_rng(5)
    model = KneserNeyModel.fit(generator.integers(0, 16, 50_000), order=3, vocab_size=16)
    loss = -model.log_probabilities(generator.integers(0, 16, 20_000)).mean()
    assert math.log(16) - 0.01 < loss < math.log(16) + 0.05


def test_fallback_discounts_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        model = _fit([[0, 1]], 2, vocab_size=2)
    assert model.discounts == [(0.5, 1.0, 1.5)] * 2
    assert "Counts of 2-grams give no valid discounts" in caplog.text


@pytest.mark.parametrize(
    ("tokens", "starts", "message"),
    [
        ([], [0], "at least one token"),
        ([0, 5], [0], "expected token ids from 0 to 4, got 0 to 5"),
        ([0, -1], [0], "expected token ids from 0 to 4, got -1 to 0"),
        ([0, 1], [1], "expected document starts that ascend"),
        ([0, 1, 2], [0, 2, 1], "expected document starts that ascend"),
        ([0, 1], [0, 3], "expected document starts that ascend from 0 to at most 2"),
    ],
)
def test_impossible_texts_are_refused(tokens: list[int], starts: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        KneserNeyModel.fit(
            np.array(tokens, dtype=np.int64), vocab_size=5, document_starts=np.array(starts)
        )


def test_order_is_at_least_one() -> None:
    with pytest.raises(ValueError, match="order must be at least 1, got 0"):
        KneserNeyModel.fit(np.zeros(3, dtype=np.int64), vocab_size=5, order=0)
