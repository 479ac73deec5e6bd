import pytest
from hypothesis import given, settings, strategies as st

from lm_scaling.laws.parametric import ParametricLaw
from scaling.tests.reference import best_allocation_by_search

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
    with pytest.raises(ValueError, match="positive, rising, finite bounds"):
        law.optimum_for(1e20, lambda n: 6 * n, bounds=(5.0, 2.0))
    flat = ParametricLaw(E=1.0, A=0.0, B=1.0, alpha=0.3, beta=0.3)
    with pytest.raises(ValueError, match="needs A, B > 0"):
        flat.optimum(1e20)
    with pytest.raises(ValueError, match="needs A, B > 0"):
        flat.optimum_for(1e20, lambda n: 6 * n)
