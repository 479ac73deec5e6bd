import numpy as np
import pytest

from lm_alignment.examples import (
    Conversation,
    Example,
    _epoch_order,
    draw_examples,
    hash_examples,
    keep_those_that_fit,
)
from lm_alignment.templates import Message

EXAMPLES = [Example(question=str(i), answer=str(i)) for i in range(10)]


def test_every_epoch_shows_each_example_once():
    steps = [draw_examples(EXAMPLES, 4, seed=3, step=step) for step in range(10)]
    drawn = [example for step in steps for example in step]
    for epoch in range(4):
        assert sorted(e.question for e in drawn[10 * epoch : 10 * epoch + 10]) == sorted(
            e.question for e in EXAMPLES
        )


def test_epochs_have_different_orders():
    first, second = (draw_examples(EXAMPLES, 10, seed=0, step=step) for step in (0, 1))
    assert first != second


def test_a_step_depends_on_seed_and_step_alone():
    assert draw_examples(EXAMPLES, 4, seed=1, step=7) == draw_examples(EXAMPLES, 4, seed=1, step=7)
    assert draw_examples(EXAMPLES, 4, seed=1, step=7) != draw_examples(EXAMPLES, 4, seed=2, step=7)


def test_no_examples_are_refused():
    with pytest.raises(ValueError, match="at least one example"):
        draw_examples([], 4, seed=0, step=0)


def test_hash_tells_examples_and_their_order_apart():
    assert hash_examples(EXAMPLES) == hash_examples(list(EXAMPLES))
    assert hash_examples(EXAMPLES) != hash_examples(EXAMPLES[::-1])
    joined = [Example(question="1", answer="23")], [Example(question="12", answer="3")]
    assert hash_examples(joined[0]) != hash_examples(joined[1])


def test_hash_tells_who_speaks():
    turns = [Message(role=role, content="x") for role in ("user", "assistant")]
    hashes = {hash_examples([Conversation(messages=(one, turns[1]))]) for one in turns}
    assert len(hashes) == 2
    assert hash_examples([Example(question="x", answer="x")]) in hashes


def test_of_many_that_are_too_long_the_first_are_named(caplog):
    kept = keep_those_that_fit(EXAMPLES, lambda one: 5 + int(one.question), context_length=7)
    assert kept == EXAMPLES[:3]
    (record,) = caplog.records
    assert "7 of 10 examples are too long" in record.getMessage()
    assert "example 7 takes 12 tokens, and 2 more" in record.getMessage()


def test_an_order_is_drawn_once_and_is_numpys():
    _epoch_order.cache_clear()
    drawn = [
        example for step in range(5) for example in draw_examples(EXAMPLES, 2, seed=6, step=step)
    ]
    order = np.random.default_rng([6, 0]).permutation(10)
    assert drawn == [EXAMPLES[index] for index in order]
    assert _epoch_order.cache_info().misses == 1


def test_an_order_that_is_remembered_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        _epoch_order(10, 6, 0)[0] = 1
