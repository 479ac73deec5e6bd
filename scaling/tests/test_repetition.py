import pytest
from hypothesis import given, settings, strategies as st

from lm_scaling.laws.points import ScalingPoint
from lm_scaling.laws.repetition import REPETITION_SCALE, discount_repeats, effective_tokens
from scaling.tests.reference import effective_tokens_by_decay


@settings(max_examples=30, deadline=None)
@given(share=st.floats(0.01, 1.0))
def test_the_first_epoch_is_worth_itself(share: float) -> None:
    assert effective_tokens(share * 5e6, 5e6) == share * 5e6


@pytest.mark.parametrize("epochs", [1.5, 4.0, 40.0])
def test_the_worth_is_the_sum_of_decaying_repeats(epochs: float) -> None:
    expected = effective_tokens_by_decay(epochs * 1e6, 1e6, REPETITION_SCALE)
    assert effective_tokens(epochs * 1e6, 1e6) == pytest.approx(expected, rel=1e-6)


def test_four_epochs_are_nearly_as_good_as_fresh_data() -> None:
    # The paper's headline: up to four epochs cost almost nothing, at forty the gain is gone.
    assert effective_tokens(4e6, 1e6) == pytest.approx(4e6, rel=0.1)
    gain_of_the_41st_epoch = effective_tokens(41e6, 1e6) - effective_tokens(40e6, 1e6)
    assert gain_of_the_41st_epoch < 0.1e6


def test_infinitely_many_epochs_are_worth_a_finite_amount() -> None:
    limit = 1e6 * (1 + REPETITION_SCALE)
    assert effective_tokens(1e12, 1e6) == pytest.approx(limit)


@settings(max_examples=30, deadline=None)
@given(tokens=st.floats(1.0, 1e9), factor=st.floats(1.001, 100.0))
def test_more_tokens_are_never_worth_less(tokens: float, factor: float) -> None:
    assert effective_tokens(tokens * factor, 1e6) >= effective_tokens(tokens, 1e6)


def test_points_keep_everything_but_their_tokens() -> None:
    point = ScalingPoint.from_run(parameters=1e6, tokens=3e6, loss=4.0)
    (found,) = discount_repeats([point], 1e6)
    assert found.tokens == effective_tokens(3e6, 1e6)
    assert (found.parameters, found.loss, found.flops) == (1e6, 4.0, point.flops)


@pytest.mark.parametrize("arguments", [(0.0, 1.0), (1.0, 0.0), (-1.0, 1.0)])
def test_counts_must_be_positive(arguments: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="expected positive tokens"):
        effective_tokens(*arguments)
