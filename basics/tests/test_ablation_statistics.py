"""Seed plans and the tests after them: by hand and in simulation."""

import math

import numpy as np
import pytest

from lm_basics.ablation import SeedPlan, power_of_test, seeds_needed
from lm_shared.intervals import adjust_p_values, paired_effect, t_quantile


def test_the_power_is_that_of_a_simulation() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(0.01, 0.012, (100_000, 9))
    t = x.mean(1) / (x.std(1, ddof=1) / 3)
    found = np.mean(np.abs(t) > t_quantile(0.025, 8))
    assert power_of_test(0.01, 0.012, 9) == pytest.approx(found, abs=0.005)
    # Without an effect both tails are false alarms.
    assert power_of_test(0.0, 0.012, 9) == pytest.approx(0.05)


@pytest.mark.parametrize("sd", [0.002, 0.01, 0.05])
def test_seeds_needed_are_the_fewest(sd: float) -> None:
    num_seeds = seeds_needed(0.01, sd)
    assert power_of_test(0.01, sd, num_seeds) >= 0.9
    assert num_seeds == 2 or power_of_test(0.01, sd, num_seeds - 1) < 0.9


def test_without_spread_two_seeds_are_enough() -> None:
    assert seeds_needed(0.01, 0.0) == 2


def test_a_plan_asks_for_steins_number() -> None:
    plan = SeedPlan(effect=0.5, num_pilot=3)
    pilot = np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
    # Standard deviations 1 and 0; two variants, so alpha / 4 on each side, two degrees of freedom.
    reach = t_quantile(0.05 / 4, 2) + t_quantile(0.1, 2)
    assert plan.wanted_seeds(pilot) == math.ceil((reach / 0.5) ** 2)
    assert plan.wanted_seeds(0 * pilot) == 3
    assert SeedPlan(num_pilot=3, max_seeds=3).wanted_seeds(0 * pilot) == 3
    assert plan.wanted_seeds(pilot, num_tests=5) > plan.wanted_seeds(pilot)


def _simulate(
    plan: SeedPlan, num_trials: int, *, sd: float, effects: tuple[float, ...], seed: int
) -> tuple[float, float, float]:
    """Return power for the first variant, rate of false alarms, and mean number of seeds.

    Half of the variance is the base's, which all variants are compared with.
    """
    rng = np.random.default_rng(seed)
    means = np.array(effects)[:, None]

    def draw(num_seeds: int) -> np.ndarray:
        base, own = rng.normal(0, 1, (1, num_seeds)), rng.normal(0, 1, (len(effects), num_seeds))
        return means + sd * (base + own) / math.sqrt(2)

    is_null = np.array(effects) == 0
    found, alarms, total = 0, 0, 0
    for _ in range(num_trials):
        pilot = draw(plan.num_pilot)
        num_seeds = plan.wanted_seeds(pilot)
        differences = np.hstack([pilot, draw(num_seeds - plan.num_pilot)])
        tests = [paired_effect(one, num_pilot=plan.num_pilot) for one in differences]
        adjusted = np.array(adjust_p_values([one.p_value or 0.0 for one in tests]))
        is_found = adjusted <= plan.alpha
        found += int(is_found[0])
        alarms += int(is_found[is_null].any())
        total += num_seeds
    return found / num_trials, alarms / num_trials, total / num_trials


# Standard errors of one trial: 0.3 where the probability is 90%, 0.22 where it is 5%; three of them
# are tolerated.
@pytest.mark.parametrize(
    ("num_trials", "sd"),
    [
        (2_000, 0.01),
        pytest.param(40_000, 0.005, marks=pytest.mark.slow),
        pytest.param(40_000, 0.02, marks=pytest.mark.slow),
    ],
)
def test_a_planted_effect_of_a_hundredth_is_found_and_nothing_else(
    num_trials: int, sd: float
) -> None:
    plan = SeedPlan(effect=0.01)
    error = 3 / math.sqrt(num_trials)
    power, _, _ = _simulate(plan, num_trials, sd=sd, effects=(-0.01,), seed=2)
    _, alarms, _ = _simulate(plan, num_trials, sd=sd, effects=(0.0,), seed=3)
    assert power >= 0.9 - error * 0.3
    # The level is exact, so neither may it lie far below.
    assert abs(alarms - 0.05) <= error * 0.22


def test_several_variants_raise_no_more_false_alarms_and_hide_no_effect() -> None:
    plan = SeedPlan(effect=0.01)
    power, alarms, _ = _simulate(plan, 1_000, sd=0.006, effects=(-0.01, 0.0, 0.0), seed=4)
    assert power >= 0.9
    assert alarms <= 0.05 + 3 * 0.22 / math.sqrt(1_000)


def test_pooling_the_spread_after_a_pilot_would_raise_more_false_alarms() -> None:
    # Why the spread is the pilot's: the pooled one is too small just where the pilot's was.
    plan = SeedPlan(effect=0.01, num_pilot=3)
    rng = np.random.default_rng(5)
    alarms = 0
    for _ in range(1_000):
        pilot = rng.normal(0, 0.004, (1, 3))
        more = rng.normal(0, 0.004, plan.wanted_seeds(pilot) - 3)
        p_value = paired_effect(np.concatenate([pilot[0], more])).p_value
        alarms += p_value is not None and p_value <= 0.05
    assert alarms / 1_000 > 0.06


def test_senseless_goals_are_refused() -> None:
    with pytest.raises(ValueError, match="effect must be positive, got 0"):
        SeedPlan(effect=0.0)
    with pytest.raises(ValueError, match="power=1"):
        SeedPlan(power=1.0)
    with pytest.raises(ValueError, match="at least 2 pilot seeds, got 1"):
        SeedPlan(num_pilot=1)
    with pytest.raises(ValueError, match="max_seeds=4 is less than num_pilot=8"):
        SeedPlan(max_seeds=4)
    with pytest.raises(ValueError, match="expected differences of 8 seeds, got 3 of 1"):
        SeedPlan().wanted_seeds(np.zeros((1, 3)))
    with pytest.raises(ValueError, match="sd must not be negative"):
        seeds_needed(0.01, -1.0)
    with pytest.raises(ValueError, match="too small for sd=1"):
        seeds_needed(1e-6, 1.0)
