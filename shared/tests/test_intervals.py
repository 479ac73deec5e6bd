"""Intervals and tests: against scipy, tables, and by hand."""

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from lm_shared.intervals import (
    Interval,
    adjust_p_values,
    noncentral_t_tail,
    paired_effect,
    percentile_interval,
    resampled_counts,
    t_quantile,
    wilson_interval,
)

DOFS = (1, 2, 3, 7, 50, 3_000)


@pytest.mark.parametrize(("successes", "trials"), [(0, 7), (7, 7), (1, 1), (3, 10), (512, 1_000)])
@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
def test_wilson_is_that_of_scipy(successes: int, trials: int, level: float) -> None:
    expected = stats.binomtest(successes, trials).proportion_ci(level, method="wilson")
    found = wilson_interval(successes, trials, level=level)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert successes / trials in found
    assert found.level == level


def test_quantiles_are_those_of_scipy_and_of_the_tables() -> None:
    for dof in DOFS:
        for tail in (0.4, 0.1, 0.025, 0.001, 1e-6, 0.9):
            assert t_quantile(tail, dof) == pytest.approx(stats.t.isf(tail, dof), rel=1e-10)
    # Any textbook's table, 95% two-sided and 99% two-sided.
    for dof, wide, wider in ((1, 12.706, 63.657), (4, 2.776, 4.604), (30, 2.042, 2.750)):
        assert t_quantile(0.025, dof) == pytest.approx(wide, abs=5e-4)
        assert t_quantile(0.005, dof) == pytest.approx(wider, abs=5e-4)
    assert t_quantile(0.5, 3) == pytest.approx(0.0, abs=1e-12)


def test_the_noncentral_tail_is_an_average_over_the_scale() -> None:
    # Given the scale s = sqrt(V / dof) the probability is that of a normal variable.
    rng = np.random.default_rng(0)
    for dof, shift, t in ((1, 0.5, 1.0), (2, 1.0, 4.3), (7, 2.0, 2.0), (50, -1.0, 0.5)):
        scale = np.sqrt(rng.chisquare(dof, 200_000) / dof)
        expected = stats.norm.sf(t * scale - shift).mean()
        assert noncentral_t_tail(t, dof, shift) == pytest.approx(expected, abs=3e-3)
        assert noncentral_t_tail(t, dof, 0.0) == pytest.approx(stats.t.sf(t, dof), abs=1e-10)


def test_a_paired_effect_is_scipys_one_sample_test() -> None:
    differences = np.random.default_rng(0).normal(0.01, 0.02, 7)
    expected: Any = stats.ttest_1samp(differences, 0.0)
    effect = paired_effect(differences)
    interval = expected.confidence_interval(0.95)
    assert effect.num_pairs == 7
    assert effect.mean == pytest.approx(differences.mean())
    assert effect.p_value == pytest.approx(expected.pvalue, rel=1e-10)
    assert (effect.low, effect.high) == pytest.approx((interval.low, interval.high), rel=1e-9)
    interval = expected.confidence_interval(0.8)
    assert paired_effect(differences, alpha=0.2).high == pytest.approx(interval.high, rel=1e-9)


def test_after_a_pilot_the_spread_is_the_pilots() -> None:
    differences = np.array([1.0, 3.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0])
    effect = paired_effect(differences, num_pilot=2)
    assert effect.sd == pytest.approx(math.sqrt(2))
    # One degree of freedom is Cauchy's distribution: P(|T| > t) = 1 - 2/pi atan(t).
    t = 2.0 / (math.sqrt(2) / 3)
    assert effect.p_value == pytest.approx(1 - 2 / math.pi * math.atan(t))


def test_a_pilot_without_a_spread_tests_nothing_that_has_one() -> None:
    effect = paired_effect(np.array([0.5, 0.5, -3.0, 4.0]), num_pilot=2)
    assert effect.mean == 0.5
    assert (effect.sd, effect.low, effect.high, effect.p_value) == (None, None, None, None)
    assert paired_effect(np.full(4, 0.5), num_pilot=2).p_value == 0.0


def test_a_single_pair_has_an_effect_and_no_interval() -> None:
    effect = paired_effect(np.array([0.25]))
    assert (effect.mean, effect.low, effect.p_value) == (0.25, None, None)


def test_identical_differences_are_certain_or_no_evidence() -> None:
    assert paired_effect(np.zeros(4)).p_value == 1.0
    assert paired_effect(np.full(4, 0.5)).p_value == 0.0


def test_holms_correction_by_hand() -> None:
    # Sorted 0.01, 0.02, 0.03, 0.5 times 4, 3, 2, 1, and never less than the one before.
    assert adjust_p_values([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert adjust_p_values([0.6, 0.7]) == [1.0, 1.0]
    assert adjust_p_values([]) == []
    assert adjust_p_values([1.0, 0.0]) == [1.0, 0.0]


def test_resampled_tables_have_the_size_of_the_first() -> None:
    counts = resampled_counts(5, 4_000)
    assert counts.shape == (4_000, 5)
    assert (counts.sum(axis=1) == 5).all()
    # A draw of 5 among 5 misses a given item with probability 0.8^5.
    assert (counts == 0).mean() == pytest.approx(0.8**5, abs=0.01)
    assert (resampled_counts(5, 10) == counts[:10]).all()
    assert (resampled_counts(5, 10, seed=1) != counts[:10]).any()
    assert resampled_counts(1, 1).tolist() == [[1.0]]


def test_the_bootstrapped_mean_has_the_interval_of_theory() -> None:
    values = np.random.default_rng(1).normal(3.0, 1.0, 400)
    means = resampled_counts(400, 2_000) @ values / 400
    found = percentile_interval(means.tolist())
    margin = 1.96 * values.std() / math.sqrt(400)
    assert found.low == pytest.approx(values.mean() - margin, abs=0.01)
    assert found.high == pytest.approx(values.mean() + margin, abs=0.01)


def test_percentiles_by_hand() -> None:
    found = percentile_interval([*range(101)], level=0.9)
    assert (found.low, found.high, found.level) == pytest.approx((5.0, 95.0, 0.9))
    assert 5.0 in Interval(low=5.0, high=95.0, level=0.9)
    assert 95.1 not in Interval(low=5.0, high=95.0, level=0.9)


def test_senseless_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="got 3 successes in 2 trials"):
        wilson_interval(3, 2)
    with pytest.raises(ValueError, match="got 0 successes in 0 trials"):
        wilson_interval(0, 0)
    for call in (
        lambda: wilson_interval(1, 2, level=1.0),
        lambda: percentile_interval([1], level=0),
    ):
        with pytest.raises(ValueError, match=r"a level in \(0, 1\), got [01]"):
            call()
    with pytest.raises(ValueError, match="values of bootstrapped tables, got none"):
        percentile_interval([])
    for lost in (math.nan, math.inf):
        with pytest.raises(ValueError, match="expected finite values, but 1 of 3 are not"):
            percentile_interval([1.0, lost, 2.0])
    with pytest.raises(ValueError, match="expected items and samples, got 0 and 3"):
        resampled_counts(0, 3)
    with pytest.raises(ValueError, match="expected finite differences"):
        paired_effect(np.array([0.1, math.nan]))
    with pytest.raises(ValueError, match="at least one"):
        paired_effect(np.array([]))
    with pytest.raises(ValueError, match="num_pilot=4 must lie between 2 and 3"):
        paired_effect(np.zeros(3), num_pilot=4)
    with pytest.raises(ValueError, match="num_pilot=1 must lie between 2 and 3"):
        paired_effect(np.zeros(3), num_pilot=1)
    with pytest.raises(ValueError, match=r"p-values must lie in \[0, 1\]"):
        adjust_p_values([1.5])
    with pytest.raises(ValueError, match="at least 1 degree of freedom, got 0"):
        noncentral_t_tail(1.0, 0, 0.0)
    with pytest.raises(ValueError, match=r"a tail in \(0, 1\) and dof >= 1, got 0.0 and 3"):
        t_quantile(0.0, 3)
    with pytest.raises(ValueError, match=r"got 1.0 and 3"):
        t_quantile(1.0, 3)
    with pytest.raises(ValueError, match=r"got 0.1 and 0"):
        t_quantile(0.1, 0)
