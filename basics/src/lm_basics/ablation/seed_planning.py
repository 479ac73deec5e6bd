"""How many seeds it takes to find an effect.

Two questions. How many would a *fixed* number have to be, were the standard deviation of the
differences known? That is ``seeds_needed``, from the noncentral t distribution. And how many are to
be run when it has to be estimated first? That is Stein's (1945) two-stage procedure: with ``s`` the
standard deviation over ``n0`` pilot seeds, ``k`` variants and t quantiles of ``n0 - 1`` degrees of
freedom, run

    n = max(n0, ceil(((t(alpha / 2k) + t(1 - power)) * s / effect)^2))

seeds and test with ``s``. The mean of normal differences is independent of ``s``, hence of ``n``,
so that the statistic is exactly Student's: the level is exact and the power at least what was asked
for, **whatever the true standard deviation is**. The price is more seeds than a known one would
need, the more so the smaller the pilot.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from lm_shared.intervals import DEFAULT_ALPHA, noncentral_t_tail, t_quantile

_MOST_SEEDS = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class SeedPlan:
    """A search for an effect of a given size, with a pilot."""

    effect: float = 0.01
    """Smallest difference that has to be found, in nats per token."""
    num_pilot: int = 8
    """Seeds from which the spread is estimated."""
    power: float = 0.9
    """Probability of finding it."""
    alpha: float = DEFAULT_ALPHA
    """Most probability of a false alarm, over all variants together."""
    max_seeds: int = 64
    """Most seeds; where more are wanted the power is not reached, the level is kept."""

    def __post_init__(self) -> None:
        _check_goal(self.effect, self.power, self.alpha)
        if self.num_pilot < 2:
            raise ValueError(f"a spread needs at least 2 pilot seeds, got {self.num_pilot}")
        if self.max_seeds < self.num_pilot:
            raise ValueError(
                f"max_seeds={self.max_seeds} is less than num_pilot={self.num_pilot} seeds"
            )

    def wanted_seeds(
        self, pilot: Float[np.ndarray, "variants seeds"], *, num_tests: int | None = None
    ) -> int:
        """Return how many seeds give every variant the power, not limited by ``max_seeds``.

        Args:
            pilot: Differences of the ``num_pilot`` first seeds.
            num_tests: Variants that p-values are adjusted for; None means those of the pilot.

        Raises:
            ValueError: the pilot has another number of seeds, or no variant.
        """
        num_variants, num_seeds = pilot.shape
        if num_seeds != self.num_pilot or num_variants == 0:
            raise ValueError(
                f"expected differences of {self.num_pilot} seeds, got {num_seeds} of "
                f"{num_variants} variants"
            )
        dof = num_seeds - 1
        # Holm's first step compares with alpha / k: what is found there is found.
        tail = self.alpha / (2 * (num_tests or num_variants))
        reach = t_quantile(tail, dof) + t_quantile(1 - self.power, dof)
        widest = float(pilot.std(axis=1, ddof=1).max())
        return max(num_seeds, math.ceil((reach * widest / self.effect) ** 2))


def power_of_test(
    effect: float, sd: float, num_seeds: int, *, alpha: float = DEFAULT_ALPHA
) -> float:
    """Return the power of a two-sided paired t-test with ``num_seeds`` fixed beforehand."""
    dof = num_seeds - 1
    critical, shift = t_quantile(alpha / 2, dof), effect / sd * math.sqrt(num_seeds)
    # T < -c with this shift is T > c with the opposite one.
    return noncentral_t_tail(critical, dof, shift) + noncentral_t_tail(critical, dof, -shift)


def seeds_needed(
    effect: float, sd: float, *, power: float = 0.9, alpha: float = DEFAULT_ALPHA
) -> int:
    """Return the least fixed number of seeds whose paired t-test has the wanted power.

    Args:
        effect: True mean difference.
        sd: True standard deviation of the differences; an estimate makes the answer one.
        power: Wanted probability of finding it.
        alpha: Level of the two-sided test.

    Raises:
        ValueError: a number is out of range, or more than a million seeds would be needed.
    """
    _check_goal(effect, power, alpha)
    if not sd >= 0:
        raise ValueError(f"sd must not be negative, got {sd}")
    if sd == 0:
        return 2
    low, high = 1, 2
    while power_of_test(effect, sd, high, alpha=alpha) < power:
        low, high = high, 2 * high
        if high > _MOST_SEEDS:
            raise ValueError(f"effect={effect} is too small for sd={sd}: over {_MOST_SEEDS} seeds")
    while high - low > 1:
        middle = (low + high) // 2
        if power_of_test(effect, sd, middle, alpha=alpha) < power:
            low = middle
        else:
            high = middle
    return high


def _check_goal(effect: float, power: float, alpha: float) -> None:
    if not effect > 0:
        raise ValueError(f"effect must be positive, got {effect}")
    if not (0 < power < 1 and 0 < alpha < 1):
        raise ValueError(f"power={power} and alpha={alpha} must lie in (0, 1)")
