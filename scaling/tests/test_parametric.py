import math

import pytest
from hypothesis import given, settings, strategies as st

from lm_scaling.laws.parametric import (
    REPETITION_SCALE,
    ParametricLaw,
    discount_repeats,
    effective_tokens,
)
from lm_scaling.laws.points import ScalingPoint
from scaling.tests.reference import best_allocation_by_search, effective_tokens_by_decay

laws = st.builds(
    ParametricLaw,
    E=st.floats(0.5, 3.0),
    A=st.floats(10.0, 1000.0),
    B=st.floats(10.0, 1000.0),
    alpha=st.floats(0.2, 0.7),
    beta=st.floats(0.2, 0.7),
)


def test_prediction_by_hand() -> None:
    law = ParametricLaw(E=1.0, A=8.0, B=27.0, alpha=0.5, beta=1 / 3)
    assert law.predict(16.0, 27.0) == pytest.approx(1.0 + 2.0 + 9.0)


@settings(max_examples=30, deadline=None)
@given(law=laws, flops=st.floats(1e14, 1e24))
def test_the_closed_form_is_a_minimum_on_the_budget(law: ParametricLaw, flops: float) -> None:
    best = law.optimum(flops)
    assert 6 * best.parameters * best.tokens == pytest.approx(flops, rel=1e-9)
    assert best.loss == pytest.approx(law.predict(best.parameters, best.tokens))
    for factor in (0.9, 1.1):
        assert best.loss <= law.predict(best.parameters * factor, best.tokens / factor)


def test_the_closed_form_equals_a_search(law: ParametricLaw) -> None:
    for flops in (1e16, 1e20, 5.76e23):
        found = best_allocation_by_search(law, flops)
        assert law.optimum(flops).parameters == pytest.approx(found, rel=1e-3)


def test_chinchillas_own_budget_asks_for_about_forty_billion_parameters(law: ParametricLaw) -> None:
    # Hoffmann et al. (2022), approach 3: 40B at Gopher's 5.76e23 FLOPs; the rounded constants of
    # the text land nearby.
    best = law.optimum(5.76e23)
    assert best.parameters == pytest.approx(40e9, rel=0.25)
    assert law.size_exponent() == pytest.approx(0.452, abs=1e-3)


def test_the_numeric_optimum_equals_the_closed_form(law: ParametricLaw) -> None:
    numeric = law.optimum_for(1e21, lambda parameters: 6 * parameters)
    closed = law.optimum(1e21)
    assert numeric.parameters == pytest.approx(closed.parameters, rel=1e-3)
    assert numeric.loss == pytest.approx(closed.loss, rel=1e-9)


def test_fixed_costs_per_token_favor_larger_models(law: ParametricLaw) -> None:
    plain = law.optimum(1e17)
    with_head = law.optimum_for(1e17, lambda parameters: 6 * (parameters + 1e8))
    assert with_head.parameters > plain.parameters
    assert with_head.tokens * 6 * (with_head.parameters + 1e8) == pytest.approx(1e17)


def test_dearer_tokens_are_the_same_as_less_compute(law: ParametricLaw) -> None:
    dear = law.optimum(1e20, flops_per_parameter_token=8.0)
    less = law.optimum(0.75e20)
    assert (dear.parameters, dear.loss) == pytest.approx((less.parameters, less.loss))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("E", -0.1, "expected E, A, B >= 0"),
        ("alpha", 0.0, "alpha, beta > 0"),
        ("beta", -0.2, "alpha, beta > 0"),
        ("A", float("nan"), "must be finite"),
        ("alpha", float("nan"), "must be finite"),
        ("beta", float("inf"), "must be finite"),
    ],
)
def test_a_law_refuses_what_is_no_law(name: str, value: float, message: str) -> None:
    values = {"E": 1.0, "A": 1.0, "B": 1.0, "alpha": 0.3, "beta": 0.3, name: value}
    with pytest.raises(ValueError, match=message):
        ParametricLaw(**values)


def test_no_optimum_without_budget_or_trade_off(law: ParametricLaw) -> None:
    for flops in (0.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="flops must be positive and finite"):
            law.optimum(flops)
        with pytest.raises(ValueError, match="flops must be positive and finite"):
            law.optimum_for(flops, lambda n: 6 * n)
    for bounds in ((5.0, 2.0), (0.0, 2.0), (2.0, 2.0), (2.0, math.inf)):
        with pytest.raises(ValueError, match="positive, rising, finite bounds"):
            law.optimum_for(1e20, lambda n: 6 * n, bounds=bounds)
    flat = ParametricLaw(E=1.0, A=0.0, B=1.0, alpha=0.3, beta=0.3)
    with pytest.raises(ValueError, match="needs A, B > 0"):
        flat.optimum(1e20)
    with pytest.raises(ValueError, match="needs A, B > 0"):
        flat.optimum_for(1e20, lambda n: 6 * n)


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
