import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from lm_scaling.laws.isoflop import find_optimum, fit_isoflop, fit_parabola, fit_power_law
from lm_scaling.laws.parametric import ParametricLaw
from lm_scaling.laws.points import ScalingPoint, read_points


def budget_points(
    law: ParametricLaw, flops: float, factors: tuple[float, ...]
) -> list[ScalingPoint]:
    best = law.optimum(flops).parameters
    return [
        ScalingPoint.from_budget(
            parameters=best * factor,
            flops=flops,
            loss=law.predict(best * factor, flops / (6 * best * factor)),
        )
        for factor in factors
    ]


def test_the_course_answer_is_reproduced(tables: Path) -> None:
    # Minimum run per budget and a fit of the logarithms, as the handout recommends.
    fit = fit_isoflop(read_points(tables / "isoflops_curves.json"), method="minimum")
    assert fit.parameters_law.coefficient == pytest.approx(1.1634, abs=5e-5)
    assert fit.parameters_law.exponent == pytest.approx(0.46868, abs=5e-6)
    assert fit.parameters_law(1e23) == pytest.approx(70.1e9, rel=1e-3)
    assert fit.parameters_law(1e24) == pytest.approx(206e9, rel=1e-3)
    assert fit.tokens_law(1e23) == pytest.approx(238e9, rel=1e-3)
    assert fit.tokens_law(1e24) == pytest.approx(809e9, rel=1e-3)


def test_the_course_answer_in_linear_space_is_reproduced(tables: Path) -> None:
    points = read_points(tables / "isoflops_curves.json")
    fit = fit_isoflop(points, method="minimum", space="linear")
    assert fit.parameters_law.exponent == pytest.approx(0.404, abs=5e-4)
    assert fit.parameters_law(1e23) == pytest.approx(50.0e9, rel=2e-3)
    assert fit.parameters_law(1e24) == pytest.approx(126.7e9, rel=2e-3)
    assert fit.tokens_law.exponent == pytest.approx(0.597, abs=5e-4)
    assert fit.tokens_law(1e23) == pytest.approx(337e9, rel=2e-3)
    assert fit.tokens_law(1e24) == pytest.approx(1.33e12, rel=2e-3)


def test_the_course_minima_are_the_listed_ones(tables: Path) -> None:
    fit = fit_isoflop(read_points(tables / "isoflops_curves.json"), method="minimum")
    expected = [0.762, 0.807, 1.54, 1.95, 3.25, 5.90, 6.97, 6.86, 12.1]
    found = [optimum.parameters / 1e9 for optimum in fit.optima]
    np.testing.assert_allclose(found, expected, rtol=5e-3)
    assert all(optimum.is_bracketed for optimum in fit.optima)


def test_parabolas_of_a_noisy_table_fit_a_straighter_power_law(tables: Path) -> None:
    points = read_points(tables / "isoflops_curves.json")
    by_minimum = fit_isoflop(points, method="minimum").parameters_law.r_squared
    by_parabola = fit_isoflop(points, method="parabola").parameters_law.r_squared
    assert by_minimum == pytest.approx(0.979, abs=1e-3)
    assert by_parabola > 0.999


@pytest.mark.parametrize("space", ["log", "linear"])
@pytest.mark.parametrize(("coefficient", "exponent"), [(0.1, 0.5), (3e-7, 1.2), (40.0, -0.3)])
def test_a_power_law_is_recovered_exactly(space, coefficient: float, exponent: float) -> None:
    x = [1e17, 1e18, 3e18, 1e20]
    law = fit_power_law(x, [coefficient * value**exponent for value in x], space=space)
    assert law.coefficient == pytest.approx(coefficient, rel=1e-6)
    assert law.exponent == pytest.approx(exponent, rel=1e-8)
    assert law.r_squared == pytest.approx(1.0)


def test_the_log_fit_is_numpys_line_through_the_logarithms() -> None:
    x, y = [1.0, 4.0, 9.0, 30.0], [2.0, 3.0, 8.0, 9.0]
    slope, offset = np.polyfit(np.log(x), np.log(y), 1)
    law = fit_power_law(x, y)
    assert law.exponent == pytest.approx(slope)
    assert law.coefficient == pytest.approx(math.exp(offset))


def test_the_linear_fit_has_the_smaller_squared_error_of_values() -> None:
    x, y = [1.0, 4.0, 9.0, 30.0], [2.0, 3.0, 8.0, 9.0]

    def squared_error(law) -> float:
        return sum((law(one) - other) ** 2 for one, other in zip(x, y, strict=True))

    assert squared_error(fit_power_law(x, y, space="linear")) < squared_error(fit_power_law(x, y))


@settings(max_examples=30, deadline=None)
@given(
    vertex=st.floats(math.log(1e5), math.log(1e11)),
    curvature=st.floats(0.01, 10.0),
    loss_min=st.floats(0.5, 10.0),
    factors=st.lists(st.integers(-6, 6), min_size=3, max_size=8, unique=True),
)
def test_a_parabola_is_recovered_wherever_it_lies(vertex, curvature, loss_min, factors) -> None:
    points = [
        ScalingPoint.from_budget(
            parameters=math.exp(vertex + 0.4 * step),
            flops=1e18,
            loss=loss_min + curvature * (0.4 * step) ** 2,
        )
        for step in factors
    ]
    found = fit_parabola(points)
    assert found.log_parameters == pytest.approx(vertex, abs=1e-6)
    assert found.loss_min == pytest.approx(loss_min, rel=1e-6)
    assert found.curvature == pytest.approx(curvature, rel=1e-6)
    assert found(points[0].parameters) == pytest.approx(points[0].loss, rel=1e-6)


def test_valleys_of_a_law_lead_to_its_optimum(law: ParametricLaw) -> None:
    factors = (0.5, 0.7, 1.0, 1.4, 2.0)
    points = [p for flops in (1e18, 1e19, 1e20) for p in budget_points(law, flops, factors)]
    fit = fit_isoflop(points)
    # A parabola is only the valley's second order, hence the tolerance.
    assert fit.parameters_law.exponent == pytest.approx(law.size_exponent(), abs=2e-3)
    for optimum in fit.optima:
        assert optimum.parameters == pytest.approx(law.optimum(optimum.flops).parameters, rel=0.03)
        assert optimum.loss == pytest.approx(law.optimum(optimum.flops).loss, rel=1e-3)


def test_exponents_of_size_and_data_add_up_to_one(law: ParametricLaw) -> None:
    points = [p for flops in (1e18, 1e20) for p in budget_points(law, flops, (0.4, 0.9, 1.7, 3.0))]
    fit = fit_isoflop(points)
    assert fit.parameters_law.exponent + fit.tokens_law.exponent == pytest.approx(1.0)


def test_an_optimum_beyond_the_runs_says_so(law: ParametricLaw) -> None:
    assert not find_optimum(budget_points(law, 1e19, (1.5, 2.0, 3.0))).is_bracketed
    assert find_optimum(budget_points(law, 1e19, (0.5, 1.1, 3.0))).is_bracketed
    at_the_edge = find_optimum(budget_points(law, 1e19, (1.5, 2.0, 3.0)), method="minimum")
    assert not at_the_edge.is_bracketed
    assert at_the_edge.valley is None


def test_tables_without_a_valley_are_refused(law: ParametricLaw) -> None:
    flops = 1e19
    hill = [
        ScalingPoint.from_budget(parameters=size, flops=flops, loss=loss)
        for size, loss in ((1e6, 3.0), (2e6, 3.5), (4e6, 3.0))
    ]
    with pytest.raises(ValueError, match=r"show no valley \(curvature -"):
        fit_parabola(hill)
    with pytest.raises(ValueError, match="at least 3 sizes per budget, got 2"):
        fit_parabola(hill[:2])
    with pytest.raises(ValueError, match="at least one run"):
        find_optimum([])
    with pytest.raises(ValueError, match="at least 2 compute budgets, got 1"):
        fit_isoflop(budget_points(law, flops, (0.5, 1.0, 2.0)))


def test_power_laws_need_two_positive_pairs() -> None:
    with pytest.raises(ValueError, match="at least 2 pairs"):
        fit_power_law([2.0, 2.0], [1.0, 3.0])
    with pytest.raises(ValueError, match="positive values"):
        fit_power_law([1.0, 2.0], [1.0, -3.0])


def budget_of(losses: dict[float, float], flops: float = 1e15) -> list[ScalingPoint]:
    return [
        ScalingPoint.from_budget(parameters=size, flops=flops, loss=loss)
        for size, loss in losses.items()
    ]


@pytest.mark.parametrize("last", [2.8 + 1e-6, 2.802])
def test_a_vertex_far_outside_of_the_runs_is_refused(last: float) -> None:
    points = budget_of({1e6: 3.0, 2e6: 2.9, 4e6: last})
    with pytest.raises(ValueError, match=r"far outside of them: add sizes on that side"):
        find_optimum(points)
    mirrored = budget_of({4e6: 3.0, 2e6: 2.9, 1e6: last})
    with pytest.raises(ValueError, match=r"far outside of them"):
        find_optimum(mirrored)
    assert find_optimum(points, method="minimum").parameters == 4e6


def test_the_tokens_of_an_optimum_are_paid_at_the_cost_of_the_runs() -> None:
    # Attention and head cost small models more: 1.2, 1.1 and 1 times 6 N a token.
    points = [
        ScalingPoint(parameters=size, tokens=1e15 / (6 * size * cost), loss=loss, flops=1e15)
        for size, cost, loss in ((1e6, 1.2, 3.0), (2e6, 1.1, 2.9), (4e6, 1.0, 3.0))
    ]
    for method in ("minimum", "parabola"):
        optimum = find_optimum(points, method=method)
        assert optimum.parameters == pytest.approx(2e6)
        assert optimum.tokens == pytest.approx(1e15 / (6 * 2e6 * 1.1))


def test_the_cost_of_a_token_is_interpolated_in_the_logarithm_of_the_size() -> None:
    # The vertex lies halfway between the first two sizes in ln N, a third of the way in N.
    points = [
        ScalingPoint(
            parameters=size,
            tokens=1e15 / (6 * size * cost),
            loss=3 + math.log(size / 2e6) ** 2,
            flops=1e15,
        )
        for size, cost in ((1e6, 1.2), (4e6, 1.0), (16e6, 1.0))
    ]
    optimum = find_optimum(points)
    assert optimum.parameters == pytest.approx(2e6)
    assert optimum.tokens == pytest.approx(1e15 / (6 * 2e6 * 1.1))


def test_the_tokens_of_plain_runs_are_exactly_those_of_six_n_d(law: ParametricLaw) -> None:
    optimum = find_optimum(budget_points(law, 1e19, (0.5, 0.9, 1.1, 3.0)))
    assert optimum.tokens == optimum.flops / (6 * optimum.parameters)
