from pathlib import Path

import numpy as np
import pytest

from lm_scaling.laws.parametric import ParametricLaw
from lm_scaling.laws.parametric_fit import fit_parametric
from lm_scaling.laws.points import read_points
from lm_scaling.laws.uncertainty import Interval, bootstrap_laws, percentile_interval
from scaling.tests.conftest import grid_points

SIZES, TOKENS = (1e8, 4e8, 1e9, 4e9), (1e9, 1e10, 1e11)


def test_published_intervals_of_the_replication_are_reproduced(tables: Path) -> None:
    points = read_points(tables / "chinchilla_epoch_extracted.csv")
    points = sorted(points, key=lambda point: point.tokens)[5:]
    laws = bootstrap_laws(points, num_samples=300)
    # Besiroglu et al. (2024): alpha 0.317 to 0.373, beta 0.331 to 0.415, a = 0.513 +- 0.020.
    alpha = percentile_interval(laws, lambda law: law.alpha)
    beta = percentile_interval(laws, lambda law: law.beta)
    assert (alpha.low, alpha.high) == pytest.approx((0.317, 0.373), abs=0.008)
    assert (beta.low, beta.high) == pytest.approx((0.331, 0.415), abs=0.012)
    assert np.std([law.size_exponent() for law in laws]) == pytest.approx(0.020, abs=0.004)


def test_samples_center_on_the_fit_and_shrink_with_the_noise(law: ParametricLaw) -> None:
    def spread(noise: float) -> float:
        points = grid_points(law, SIZES, TOKENS, noise=noise)
        laws = bootstrap_laws(points, num_samples=60)
        interval = percentile_interval(laws, lambda one: one.predict(1e10, 1e12), level=0.9)
        assert fit_parametric(points).law.predict(1e10, 1e12) in interval
        return interval.high - interval.low

    assert spread(0.001) < 0.3 * spread(0.02)


def test_noiseless_runs_leave_no_doubt(law: ParametricLaw) -> None:
    laws = bootstrap_laws(grid_points(law, SIZES, TOKENS), num_samples=20)
    interval = percentile_interval(laws, lambda one: one.predict(1e9, 1e10))
    assert interval.high - interval.low < 1e-3


def test_the_seed_decides_the_samples(law: ParametricLaw) -> None:
    points = grid_points(law, SIZES, TOKENS, noise=0.02)
    assert bootstrap_laws(points, num_samples=5) == bootstrap_laws(points, num_samples=5)
    assert bootstrap_laws(points, num_samples=5) != bootstrap_laws(points, num_samples=5, seed=1)


def test_percentiles_by_hand(law: ParametricLaw) -> None:
    laws = [ParametricLaw(E=e, A=1, B=1, alpha=0.3, beta=0.3) for e in range(101)]
    interval = percentile_interval(laws, lambda one: one.E, level=0.9)
    assert (interval.low, interval.high) == pytest.approx((5.0, 95.0))
    assert 5.5 in interval
    assert 4.5 not in interval


def test_empty_requests_are_refused(law: ParametricLaw) -> None:
    points = grid_points(law, SIZES, TOKENS)
    with pytest.raises(ValueError, match="num_samples must be positive"):
        bootstrap_laws(points, num_samples=0)
    with pytest.raises(ValueError, match="at least 5 runs"):
        bootstrap_laws(points[:3])
    with pytest.raises(ValueError, match="expected laws"):
        percentile_interval([], lambda one: one.E)
    with pytest.raises(ValueError, match="level in"):
        percentile_interval([law], lambda one: one.E, level=1.0)


def test_an_interval_holds_its_ends() -> None:
    interval = Interval(low=1.0, high=2.0, level=0.9)
    assert 1.0 in interval
    assert 2.0 in interval
    assert 2.1 not in interval
