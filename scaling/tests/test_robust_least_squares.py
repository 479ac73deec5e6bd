import math

import numpy as np
import pytest
import torch

from lm_scaling.laws.parametric import ParametricLaw
from lm_scaling.laws.robust_least_squares import (
    GaussianPrior,
    LogTable,
    huber,
    minimize_batch,
    residuals_and_jacobian,
)
from scaling.tests.conftest import grid_points
from scaling.tests.reference import huber_objective, huber_one

SIZES, TOKENS = (1e6, 3e6, 1e7), (1e7, 5e7, 2e8)


def start_rows(table: LogTable, law: ParametricLaw, count: int) -> np.ndarray:
    return np.tile(table.theta(law), (count, 1))


def test_unknowns_and_laws_convert_both_ways(law: ParametricLaw) -> None:
    table = LogTable.from_points(grid_points(law, SIZES, TOKENS))
    back = table.law(table.theta(law))
    for name in ("E", "A", "B", "alpha", "beta"):
        assert getattr(back, name) == pytest.approx(getattr(law, name), rel=1e-12)


def test_residuals_of_the_true_law_vanish(law: ParametricLaw) -> None:
    table = LogTable.from_points(grid_points(law, SIZES, TOKENS))
    residuals, _ = residuals_and_jacobian(table, table.theta(law)[None])
    np.testing.assert_allclose(residuals, 0.0, atol=1e-14)


def test_the_jacobian_equals_autograd(law: ParametricLaw, tiny_law: ParametricLaw) -> None:
    table = LogTable.from_points(grid_points(law, SIZES, TOKENS, noise=0.1))
    theta = table.theta(tiny_law)
    log_n, log_d = torch.from_numpy(table.log_n), torch.from_numpy(table.log_d)

    def predicted(unknowns: torch.Tensor) -> torch.Tensor:
        e, a, b, log_alpha, log_beta = unknowns
        terms = [e.expand(log_n.shape), a - log_alpha.exp() * log_n, b - log_beta.exp() * log_d]
        return torch.stack(terms).logsumexp(0)

    expected = torch.autograd.functional.jacobian(predicted, torch.from_numpy(theta))
    _, jacobian = residuals_and_jacobian(table, theta[None])
    np.testing.assert_allclose(jacobian[0], np.asarray(expected).T, rtol=1e-10, atol=1e-14)


def test_huber_equals_its_definition_and_torch() -> None:
    residuals = np.linspace(-3, 3, 25)
    found = huber(residuals, 0.7)
    np.testing.assert_allclose(found, [huber_one(float(r), 0.7) for r in residuals])
    expected = torch.nn.functional.huber_loss(
        torch.from_numpy(residuals), torch.zeros(25, dtype=torch.float64), "none", delta=0.7
    )
    np.testing.assert_allclose(found, expected)


def test_the_returned_value_is_the_objective(law: ParametricLaw, tiny_law: ParametricLaw) -> None:
    points = grid_points(law, SIZES, TOKENS, noise=0.02)
    table = LogTable.from_points(points)
    thetas, values = minimize_batch(
        table, start_rows(table, tiny_law, 1), np.ones((1, 9)), delta=1e-3, max_iterations=20
    )
    assert values[0] == pytest.approx(huber_objective(table.law(thetas[0]), points, 1e-3))


def test_more_steps_never_raise_the_objective(law: ParametricLaw, tiny_law: ParametricLaw) -> None:
    table = LogTable.from_points(grid_points(law, SIZES, TOKENS, noise=0.02))
    values = [
        minimize_batch(
            table, start_rows(table, tiny_law, 1), np.ones((1, 9)), delta=1e-3, max_iterations=count
        )[1][0]
        for count in (0, 1, 2, 5, 20, 100)
    ]
    assert values == sorted(values, reverse=True)
    assert values[-1] < 0.2 * values[0]


def test_rows_of_a_batch_do_not_see_each_other(law: ParametricLaw, tiny_law: ParametricLaw) -> None:
    table = LogTable.from_points(grid_points(law, SIZES, TOKENS, noise=0.02))
    starts = np.stack([table.theta(law), table.theta(tiny_law), table.theta(law) + 0.3])
    weights = np.random.default_rng(0).integers(0, 3, (3, 9)).astype(np.float64)
    together, _ = minimize_batch(table, starts, weights, delta=1e-3)
    for row in range(3):
        alone, _ = minimize_batch(table, starts[row : row + 1], weights[row : row + 1], delta=1e-3)
        np.testing.assert_allclose(together[row], alone[0], rtol=1e-9)


def test_a_weight_of_zero_removes_a_run(law: ParametricLaw) -> None:
    points = grid_points(law, SIZES, TOKENS)
    spoiled = LogTable.from_points(points)
    spoiled.log_loss[4] += 1.0
    weights = np.ones((1, 9))
    weights[0, 4] = 0.0
    thetas, values = minimize_batch(
        spoiled, start_rows(spoiled, law, 1) + 0.05, weights, delta=1e-3
    )
    assert values[0] == pytest.approx(0.0, abs=1e-12)
    assert spoiled.law(thetas[0]).alpha == pytest.approx(law.alpha, rel=1e-4)


def test_a_certain_prior_decides_alone(law: ParametricLaw) -> None:
    table = LogTable.from_points(grid_points(law, SIZES, TOKENS))
    free, certain = math.inf, 1e-7
    prior = GaussianPrior(
        mean=np.array([0, 0, 0, math.log(0.5), math.log(0.4)]),
        deviation=np.array([free, free, free, certain, certain]),
    )
    thetas, _ = minimize_batch(
        table, start_rows(table, law, 1), np.ones((1, 9)), delta=1e-3, prior=prior
    )
    found = table.law(thetas[0])
    assert (found.alpha, found.beta) == pytest.approx((0.5, 0.4), rel=1e-4)


def test_a_term_that_the_runs_do_not_have_vanishes() -> None:
    truth = ParametricLaw(E=1.5, A=0.0, B=300.0, alpha=0.3, beta=0.4)
    table = LogTable.from_points(grid_points(truth, SIZES, TOKENS))
    start = ParametricLaw(E=1.0, A=50.0, B=200.0, alpha=0.3, beta=0.3)
    thetas, _ = minimize_batch(table, start_rows(table, start, 1), np.ones((1, 9)), delta=1e-3)
    residuals, _ = residuals_and_jacobian(table, thetas)
    # A size term of exponent near zero is part of E: the law is right, its unknowns are arbitrary.
    np.testing.assert_allclose(residuals, 0.0, atol=5e-4)


@pytest.mark.parametrize("unit", [1e-8, 1e-3, 1e6])
def test_the_unit_of_the_weights_does_not_matter(law: ParametricLaw, unit: float) -> None:
    """Not even where a term has no curvature of its own."""
    table = LogTable.from_points(grid_points(law, SIZES, TOKENS, noise=0.02))
    starts = start_rows(table, law, 3)
    starts[1:, 1] = -20.0
    starts[2, 3] = math.log(2.0)
    weights = np.ones((3, 9))
    for count in (1, 4):
        found, value = minimize_batch(table, starts, weights, delta=1e-3, max_iterations=count)
        scaled, scaled_value = minimize_batch(
            table, starts, weights * unit, delta=1e-3, max_iterations=count
        )
        np.testing.assert_allclose(scaled, found, rtol=1e-6)
        np.testing.assert_allclose(scaled_value / unit, value, rtol=1e-6)
