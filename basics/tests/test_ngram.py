import logging
import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from basics.tests.reference import KneserNeyReference
from lm_basics.ngram import KneserNeyModel

DOCUMENTS = st.lists(st.lists(st.integers(0, 4), max_size=30), min_size=1, max_size=5)


def _join(documents: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the tokens of all documents and the position of each one's first."""
    lengths = [len(document) for document in documents]
    tokens = np.array([token for document in documents for token in document], dtype=np.uint16)
    return tokens, np.cumsum([0, *lengths])[:-1]


def _fit(documents: list[list[int]], order: int, vocab_size: int) -> KneserNeyModel:
    tokens, starts = _join(documents)
    return KneserNeyModel.fit(tokens, order=order, vocab_size=vocab_size, document_starts=starts)


def _distribution(model: KneserNeyModel, context: list[int]) -> np.ndarray:
    """Return p(w | context) for every w, with the context at the start of a document."""
    documents = [[*context, word] for word in range(model.vocab_size)]
    return np.exp(model.log_probabilities(*_join(documents))[len(context) :: len(context) + 1])


def _zipf_documents(num_documents: int, vocab_size: int, seed: int) -> list[list[int]]:
    """Return documents of a first-order Markov chain with few frequent words."""
    generator = np.random.default_rng(seed)
    successors = generator.permuted(np.tile(np.arange(vocab_size), (vocab_size, 1)), axis=1)
    documents = []
    for length in generator.integers(1, 60, num_documents):
        document = [0]
        for rank in np.minimum(generator.zipf(1.6, length), vocab_size) - 1:
            document.append(int(successors[document[-1], rank]))
        documents.append(document)
    return documents


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
    np.testing.assert_allclose(model.log_probabilities(*_join(scored)), expected, rtol=1e-10)


def test_discounts_equal_those_of_the_equations() -> None:
    documents = _zipf_documents(200, 40, seed=1)
    model = _fit(documents, 4, vocab_size=40)
    reference = KneserNeyReference(documents, 4, vocab_size=40)
    expected = [reference.discounts[n] for n in range(1, 5)]
    np.testing.assert_allclose(model.discounts, expected, rtol=1e-12)
    # Estimated, not the fallback of texts that are too small.
    assert (0.5, 1.0, 1.5) not in model.discounts[1:]


@pytest.mark.parametrize("order", [1, 2, 5])
def test_every_context_has_a_distribution(order: int) -> None:
    documents = _zipf_documents(100, 30, seed=2)
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


def test_contexts_end_at_documents() -> None:
    documents = _zipf_documents(50, 20, seed=3)
    model = _fit(documents, 4, vocab_size=20)
    apart = [model.log_probabilities(*_join([document])) for document in documents]
    np.testing.assert_array_equal(model.log_probabilities(*_join(documents)), np.concatenate(apart))
    # The same documents in another order leave the same model.
    shuffled = _fit(documents[::-1], 4, vocab_size=20)
    np.testing.assert_allclose(shuffled.log_probabilities(*_join(documents)), np.concatenate(apart))


def test_higher_orders_predict_structured_text_better() -> None:
    train, held_out = _zipf_documents(400, 30, seed=4)[:300], _zipf_documents(400, 30, seed=4)[300:]
    losses = [-_fit(train, n, 30).log_probabilities(*_join(held_out)).mean() for n in (1, 2, 3)]
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
