"""Paired t-tests of several variants against one base, over the same seeds.

A seed decides the order of the data and the initialization, so most of what it adds to the loss it
adds to both runs of a pair: their difference varies less than the loss. The differences are taken
to be independent and normal from seed to seed; what the test speaks of is the mean over seeds, on
the given held-out tokens.

After a pilot that decided how many seeds to run (see ``seed_planning``) the standard deviation is
that of the pilot alone, with its degrees of freedom: Stein (1945) shows that the test keeps its
level exactly then, while a test that pools all seeds rejects too often.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from lm_basics.ablation.student_t import t_quantile, t_tail

DEFAULT_ALPHA = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class PairedEffect:
    """What is known of the mean difference between a variant and the base."""

    num_pairs: int
    """Seeds."""
    mean: float
    """Mean of variant minus base."""
    sd: float | None
    """Standard deviation of the differences that the test uses; None for a single pair."""
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
    if num_pairs == 1:
        return PairedEffect(num_pairs=1, mean=mean, sd=None, low=None, high=None, p_value=None)
    measured = differences if num_pilot is None else differences[:num_pilot]
    sd, dof = float(measured.std(ddof=1)), len(measured) - 1
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
    """Return Holm's (1979) adjusted p-values, in the order given.

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


def _two_sided_p(mean: float, error: float, dof: int) -> float:
    if error == 0:
        # Runs that agree to the bit: equal ones are no evidence, others are certain.
        return 1.0 if mean == 0 else 0.0
    return min(1.0, 2 * t_tail(abs(mean) / error, dof))
