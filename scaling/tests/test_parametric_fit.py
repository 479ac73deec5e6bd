from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from lm_scaling.laws.parametric import ParametricLaw
from lm_scaling.laws.parametric_fit import (
    ParametricFitConfig,
    bootstrap_laws,
    fit_parametric,
    grid_starts,
)
from lm_scaling.laws.points import ScalingPoint, read_points
from lm_scaling.laws.robust_least_squares import LogTable
from lm_scaling.laws.small_sample import fit_small_sample
from lm_shared.intervals import percentile_interval
from scaling.tests.conftest import grid_points
from scaling.tests.reference import fit_by_scipy, huber_objective

SIZES, TOKENS = (1e8, 4e8, 1e9, 4e9), (1e9, 1e10, 1e11)


def replication_points(tables: Path) -> list[ScalingPoint]:
    """The 240 runs of Besiroglu et al. (2024): they leave out the five of the fewest tokens."""
    points = read_points(tables / "chinchilla_epoch_extracted.csv")
    return sorted(points, key=lambda point: point.tokens)[5:]


def test_the_replication_of_chinchilla_is_reproduced(tables: Path) -> None:
    fit = fit_parametric(replication_points(tables))
    law = fit.law
    # Published: E 1.8172 +- 0.03, A 482.01 +- 124.58, B 2085.43 +- 1293.23,
    # alpha 0.3478 +- 0.02, beta 0.3658 +- 0.02 (standard errors of their bootstrap).
    assert pytest.approx(1.8172, abs=0.01) == law.E
    assert law.alpha == pytest.approx(0.3478, abs=0.002)
    assert law.beta == pytest.approx(0.3658, abs=0.002)
    assert pytest.approx(482.01, rel=0.02) == law.A
    assert pytest.approx(2085.43, rel=0.04) == law.B
    assert law.size_exponent() == pytest.approx(0.513, abs=0.002)
    assert fit.num_points == 240


def test_the_replication_reaches_an_objective_no_higher_than_published(tables: Path) -> None:
    points = replication_points(tables)
    published = ParametricLaw(E=1.8172, A=482.01, B=2085.43, alpha=0.3478, beta=0.3658)
    fit = fit_parametric(points)
    assert fit.objective <= 0.00101828
    assert fit.objective <= huber_objective(published, points, 1e-3)
    assert fit.objective == pytest.approx(huber_objective(fit.law, points, 1e-3), rel=1e-9)


def test_the_original_rounded_law_is_far_from_its_own_data(tables: Path, law) -> None:
    points = replication_points(tables)
    assert huber_objective(law, points, 1e-3) > 3 * fit_parametric(points).objective


def test_the_fit_is_as_good_as_scipys_from_many_starts(law: ParametricLaw) -> None:
    points = grid_points(law, SIZES, TOKENS, noise=0.02, seed=3)
    starts = [
        ParametricLaw(E=e, A=a, B=b, alpha=alpha, beta=beta)
        for e in (0.5, 1.8)
        for a, alpha in ((50.0, 0.2), (500.0, 0.35))
        for b, beta in ((50.0, 0.2), (500.0, 0.3))
    ]
    _, objective = fit_by_scipy(points, starts)
    assert fit_parametric(points).objective <= objective * (1 + 1e-6)


@settings(max_examples=8, deadline=None)
@given(
    entropy=st.floats(0.8, 2.5),
    size_term=st.floats(0.2, 2.0),
    data_term=st.floats(0.2, 3.0),
    alpha=st.floats(0.2, 0.6),
    beta=st.floats(0.2, 0.6),
)
def test_noiseless_laws_are_recovered(entropy, size_term, data_term, alpha, beta) -> None:
    truth = ParametricLaw(
        E=entropy, A=size_term * 1e9**alpha, B=data_term * 1e10**beta, alpha=alpha, beta=beta
    )
    found = fit_parametric(grid_points(truth, SIZES, TOKENS)).law
    for name in ("E", "A", "B", "alpha", "beta"):
        assert getattr(found, name) == pytest.approx(getattr(truth, name), rel=1e-4), name


def test_the_descent_starts_where_every_run_is_nearly_explained(law: ParametricLaw) -> None:
    points = grid_points(law, SIZES, TOKENS)
    table = LogTable.from_points(points)
    start = table.law(grid_starts(table, 1)[0])
    for point in points:
        predicted = start.predict(point.parameters, point.tokens)
        assert predicted == pytest.approx(point.loss, rel=0.01)


def test_one_outlier_hardly_moves_the_fit(law: ParametricLaw) -> None:
    points = grid_points(law, SIZES, TOKENS)
    points[5] = replace(points[5], loss=points[5].loss * 1.2)
    found = fit_parametric(points).law
    assert pytest.approx(law.E, rel=0.01) == found.E
    assert found.alpha == pytest.approx(law.alpha, rel=0.02)
    assert found.beta == pytest.approx(law.beta, rel=0.02)


def test_the_best_start_is_a_law_of_the_grid_where_that_made_the_runs() -> None:
    law = ParametricLaw(E=0.0, A=300.0, B=90.0, alpha=0.4, beta=0.2)
    sizes, tokens = (1e6, 3e6, 2e7), (1e7, 2e8, 5e8)
    # The grid's floors are shares of the smallest loss: half of it is what cannot be reduced.
    law = replace(law, E=law.predict(sizes[-1], tokens[-1]))
    table = LogTable.from_points(grid_points(law, sizes, tokens))
    found = table.law(grid_starts(table, 3)[0])
    for name in ("E", "A", "B", "alpha", "beta"):
        assert getattr(found, name) == pytest.approx(getattr(law, name), rel=1e-5)


def test_the_fit_is_deterministic_and_does_not_depend_on_the_order(law: ParametricLaw) -> None:
    points = grid_points(law, SIZES, TOKENS, noise=0.02)
    fit = fit_parametric(points)
    assert fit_parametric(points) == fit
    order = np.random.default_rng(1).permutation(len(points))
    shuffled = fit_parametric([points[i] for i in order])
    assert shuffled.objective == pytest.approx(fit.objective, rel=1e-6)


def test_units_of_size_and_tokens_do_not_matter(law: ParametricLaw) -> None:
    points = grid_points(law, SIZES, TOKENS, noise=0.01)
    thousands = [
        replace(point, parameters=point.parameters / 1e3, tokens=point.tokens / 1e3)
        for point in points
    ]
    plain, scaled = fit_parametric(points).law, fit_parametric(thousands).law
    assert scaled.predict(1e6, 1e8) == pytest.approx(plain.predict(1e9, 1e11), rel=1e-5)


def test_the_error_is_that_of_the_fitted_losses(law: ParametricLaw) -> None:
    points = grid_points(law, SIZES, TOKENS, noise=0.02)
    fit = fit_parametric(points)
    errors = [fit.law.predict(p.parameters, p.tokens) / p.loss - 1 for p in points]
    assert fit.rms_error == pytest.approx(float(np.sqrt(np.mean(np.square(errors)))))


def test_tables_that_tell_nothing_are_refused(law: ParametricLaw) -> None:
    points = grid_points(law, SIZES, TOKENS)
    with pytest.raises(ValueError, match="at least 5 runs, got 4"):
        fit_parametric(points[:4])
    with pytest.raises(ValueError, match=r"different parameters, all have 100000000.0"):
        fit_parametric([replace(point, parameters=1e8) for point in points])
    with pytest.raises(ValueError, match="different tokens"):
        fit_parametric([replace(point, tokens=1e9) for point in points])


def test_one_start_and_one_step_are_allowed() -> None:
    config = ParametricFitConfig(num_starts=1, max_iterations=1)
    assert (config.num_starts, config.max_iterations) == (1, 1)


@pytest.mark.parametrize("settings_", [{"delta": 0.0}, {"num_starts": 0}, {"max_iterations": 0}])
def test_bad_settings_are_refused(settings_) -> None:
    with pytest.raises(ValueError, match="positive"):
        ParametricFitConfig(**settings_)


def test_runs_that_cannot_tell_size_from_data_are_refused(law: ParametricLaw) -> None:
    def points(tokens_of) -> list[ScalingPoint]:
        return [
            ScalingPoint.from_run(parameters=n, tokens=d, loss=law.predict(n, d))
            for n, d in ((n, tokens_of(n)) for n in np.geomspace(1e8, 1e10, 12).tolist())
        ]

    with pytest.raises(ValueError, match=r"are collinear \(correlation 1.00000"):
        fit_parametric(points(lambda n: 20 * n))
    # Rounded to whole steps, as in a real sweep.
    with pytest.raises(ValueError, match="are collinear"):
        fit_parametric(points(lambda n: round(20 * n / 2**19) * 2**19))
    # One budget.
    with pytest.raises(ValueError, match=r"are collinear \(correlation -1.00000"):
        fit_parametric(points(lambda n: 1e20 / (6 * n)))
    assert fit_small_sample(points(lambda n: 20 * n)).law.alpha == pytest.approx(0.34, rel=0.5)


SIZES, TOKENS = (1e8, 4e8, 1e9, 4e9), (1e9, 1e10, 1e11)


def test_published_intervals_of_the_replication_are_reproduced(tables: Path) -> None:
    points = read_points(tables / "chinchilla_epoch_extracted.csv")
    points = sorted(points, key=lambda point: point.tokens)[5:]
    laws = bootstrap_laws(points, num_samples=300)
    # Besiroglu et al. (2024): alpha 0.317 to 0.373, beta 0.331 to 0.415, a = 0.513 +- 0.020.
    alpha = percentile_interval([law.alpha for law in laws])
    beta = percentile_interval([law.beta for law in laws])
    assert (alpha.low, alpha.high) == pytest.approx((0.317, 0.373), abs=0.008)
    assert (beta.low, beta.high) == pytest.approx((0.331, 0.415), abs=0.012)
    assert np.std([law.size_exponent() for law in laws]) == pytest.approx(0.020, abs=0.004)


def test_samples_center_on_the_fit_and_shrink_with_the_noise(law: ParametricLaw) -> None:
    def spread(noise: float) -> float:
        points = grid_points(law, SIZES, TOKENS, noise=noise)
        laws = bootstrap_laws(points, num_samples=60)
        interval = percentile_interval([one.predict(1e10, 1e12) for one in laws], level=0.9)
        assert fit_parametric(points).law.predict(1e10, 1e12) in interval
        return interval.high - interval.low

    assert spread(0.001) < 0.3 * spread(0.02)


def test_noiseless_runs_leave_no_doubt(law: ParametricLaw) -> None:
    laws = bootstrap_laws(grid_points(law, SIZES, TOKENS), num_samples=20)
    interval = percentile_interval([one.predict(1e9, 1e10) for one in laws])
    assert interval.high - interval.low < 1e-3


def test_the_seed_decides_the_samples(law: ParametricLaw) -> None:
    points = grid_points(law, SIZES, TOKENS, noise=0.02)
    assert bootstrap_laws(points, num_samples=5) == bootstrap_laws(points, num_samples=5)
    assert bootstrap_laws(points, num_samples=5) != bootstrap_laws(points, num_samples=5, seed=1)


@pytest.mark.parametrize("num_samples", [1, 7, 501])
def test_as_many_samples_come_as_are_asked_for(law: ParametricLaw, num_samples: int) -> None:
    points = grid_points(law, SIZES[:3], TOKENS[:3], noise=0.02)
    assert len(bootstrap_laws(points, num_samples=num_samples)) == num_samples


def test_percentiles_by_hand(law: ParametricLaw) -> None:
    laws = [ParametricLaw(E=e, A=1, B=1, alpha=0.3, beta=0.3) for e in range(101)]
    interval = percentile_interval([one.E for one in laws], level=0.9)
    assert (interval.low, interval.high) == pytest.approx((5.0, 95.0))
    assert 5.5 in interval
    assert 4.5 not in interval


def test_empty_requests_are_refused(law: ParametricLaw) -> None:
    points = grid_points(law, SIZES, TOKENS)
    with pytest.raises(ValueError, match="num_samples must be positive"):
        bootstrap_laws(points, num_samples=0)
    with pytest.raises(ValueError, match="at least 5 runs"):
        bootstrap_laws(points[:3])
