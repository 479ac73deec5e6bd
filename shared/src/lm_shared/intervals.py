"""How sure a number is: intervals, tests and resampling.

==================  ==============================================================================
proportion          score interval (Wilson, 1927)
paired differences  Student's t (1908), after a pilot with the pilot's spread (Stein, 1945)
several tests       adjusted p-values (Holm, 1979)
anything else       bootstrap: percentiles over tables drawn again (Efron, 1979)
==================  ==============================================================================

A seed decides the order of the data and the initialization, so most of what it adds to a loss it
adds to both runs of a pair: their difference varies less than the loss. The differences are taken
to be independent and normal from seed to seed.

After a pilot that decided how many seeds to run the standard deviation is that of the pilot alone,
with its degrees of freedom: Stein shows that the test keeps its level exactly then, while a test
that pools all seeds rejects too often.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from types import ModuleType

import numpy as np
from jaxtyping import Float

DEFAULT_ALPHA = 0.05
DEFAULT_LEVEL = 0.95


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A range of plausible values."""

    low: float
    """Lower end."""
    high: float
    """Upper end."""
    level: float
    """Probability that it claims, between 0 and 1."""

    def __contains__(self, value: float) -> bool:
        """Tell whether ``value`` lies in the range."""
        return self.low <= value <= self.high


def wilson_interval(
    num_successes: float, num_trials: int, *, level: float = DEFAULT_LEVEL
) -> Interval:
    """Return the score interval of a proportion.

    Unlike ``p +- z sqrt(p (1 - p) / n)`` it stays inside [0, 1] and has a width at 0 and 1.

    Raises:
        ValueError: there are no trials, or more successes than trials, or ``level`` is none.
    """
    _check_level(level)
    if num_trials <= 0 or not 0 <= num_successes <= num_trials:
        raise ValueError(f"got {num_successes} successes in {num_trials} trials")
    p, n, z = num_successes / num_trials, num_trials, NormalDist().inv_cdf((1 + level) / 2)
    center = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    margin = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    # The bounds at 0 and 1 are exactly these; rounded, they could leave p outside.
    low, high = max(0.0, min(p, center - margin)), min(1.0, max(p, center + margin))
    return Interval(low=low, high=high, level=level)


@dataclass(frozen=True, kw_only=True, slots=True)
class PairedEffect:
    """What is known of the mean difference between a variant and the base."""

    num_pairs: int
    """Seeds."""
    mean: float
    """Mean of variant minus base."""
    sd: float | None
    """Standard deviation of the differences that the test uses; None, like all below, where there
    is no test: for a single pair, and where the pilot agrees to the bit and later seeds do not."""
    low: float | None
    """Lower end of the confidence interval, of this variant alone."""
    high: float | None
    """Upper end."""
    p_value: float | None
    """Two-sided, of this variant alone."""


def paired_effect(
    differences: Float[np.ndarray, " seeds"],
    *,
    num_pilot: int | None = None,
    alpha: float = DEFAULT_ALPHA,
) -> PairedEffect:
    """Return the mean difference with its confidence interval and p-value.

    Args:
        differences: Variant minus base, in the order of the seeds.
        num_pilot: How many of the first seeds decided the number of all; None where that number
            was fixed before.
        alpha: One minus the confidence.

    Raises:
        ValueError: there is no pair, a difference is not finite, or the pilot has not two pairs.
    """
    num_pairs = len(differences)
    if num_pairs == 0 or not np.isfinite(differences).all():
        raise ValueError(f"expected finite differences, at least one, got {differences.tolist()}")
    if num_pilot is not None and not 2 <= num_pilot <= num_pairs:
        raise ValueError(f"num_pilot={num_pilot} must lie between 2 and {num_pairs} seeds")
    mean = float(differences.mean())
    no_test = PairedEffect(
        num_pairs=num_pairs, mean=mean, sd=None, low=None, high=None, p_value=None
    )
    if num_pairs == 1:
        return no_test
    measured = differences if num_pilot is None else differences[:num_pilot]
    sd, dof = float(measured.std(ddof=1)), len(measured) - 1
    if not sd and differences.std() > 0:
        # Such a pilot says nothing of the spread that there is.
        return no_test
    error = sd / math.sqrt(num_pairs)
    margin = t_quantile(alpha / 2, dof) * error
    return PairedEffect(
        num_pairs=num_pairs,
        mean=mean,
        sd=sd,
        low=mean - margin,
        high=mean + margin,
        p_value=_two_sided_p(mean, error, dof),
    )


def adjust_p_values(p_values: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p-values, in the order given.

    Rejecting what is at most ``alpha`` makes a false alarm among all true null hypotheses with at
    most that probability, however the tests depend on each other.

    Raises:
        ValueError: a p-value is none.
    """
    if not all(0 <= p <= 1 for p in p_values):
        raise ValueError(f"p-values must lie in [0, 1], got {list(p_values)}")
    adjusted, largest = [0.0] * len(p_values), 0.0
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def resampled_counts(
    num_items: int, num_samples: int, *, seed: int = 0
) -> Float[np.ndarray, "samples items"]:
    """Return how often each item is drawn in each of some tables of the same size.

    Counts instead of copies: a weighted statistic needs the one table for all samples.

    Raises:
        ValueError: there is nothing to draw, or nothing is to be drawn.
    """
    if num_items < 1 or num_samples < 1:
        raise ValueError(f"expected items and samples, got {num_items} and {num_samples}")
    uniform = np.full(num_items, 1 / num_items)
    counts = np.random.default_rng(seed).multinomial(num_items, uniform, size=num_samples)
    return counts.astype(np.float64)


def percentile_interval(values: Sequence[float], *, level: float = DEFAULT_LEVEL) -> Interval:
    """Return the central range of a quantity over bootstrapped tables.

    Raises:
        ValueError: there are no values, one is not finite, or ``level`` is not between 0 and 1.
    """
    _check_level(level)
    if not len(values):
        raise ValueError("expected values of bootstrapped tables, got none")
    if num_lost := int((~np.isfinite(values)).sum()):
        raise ValueError(f"expected finite values, but {num_lost} of {len(values)} are not")
    low, high = (float(v) for v in np.quantile(values, [(1 - level) / 2, (1 + level) / 2]))
    return Interval(low=low, high=high, level=level)


@lru_cache(maxsize=4_096)
def t_quantile(tail: float, dof: int) -> float:
    """Return the ``t`` that a Student variable exceeds with probability ``tail``.

    Raises:
        ValueError: ``tail`` does not lie in (0, 1), or there is no degree of freedom.
    """
    if not 0 < tail < 1 or dof < 1:
        raise ValueError(f"expected a tail in (0, 1) and dof >= 1, got {tail} and {dof}")
    # The lower tail, where small numbers keep their digits.
    return -float(_special().stdtrit(dof, tail))


def noncentral_t_tail(t: float, dof: int, shift: float) -> float:
    """Return ``P(T > t)`` for noncentral Student's ``T = (Z + shift) / sqrt(V / dof)``.

    ``Z`` is standard normal and ``V`` chi-squared.

    Raises:
        ValueError: there is no degree of freedom.
    """
    if dof < 1:
        raise ValueError(f"expected at least 1 degree of freedom, got {dof}")
    return 1 - float(_special().nctdtr(dof, shift, t))


def _two_sided_p(mean: float, error: float, dof: int) -> float:
    if error == 0:
        # Runs that agree to the bit: equal ones are no evidence, others are certain.
        return 1.0 if mean == 0 else 0.0
    return 2 * float(_special().stdtr(dof, -abs(mean) / error))


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"expected a level in (0, 1), got {level}")


def _special() -> ModuleType:
    """Load scipy's special functions, an optional dependency that takes a second."""
    from scipy import special  # noqa: PLC0415

    return special
