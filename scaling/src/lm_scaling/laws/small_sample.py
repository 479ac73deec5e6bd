"""The parametric law from a handful of tiny runs: weak priors, chosen by leave-one-out error.

Six to nine noisy runs do not determine five unknowns: many (E, alpha, beta) explain them equally
well and disagree tenfold further. What other people's runs say about these three is a weak prior,
normal in their logarithms; A and B, which depend on the tokenizer and the architecture, have none.
The fit is the most probable law,

    minimize  sum_i rho((ln L(N_i, D_i) - ln L_i) / noise) + 1/2 sum_j ((theta_j - mean_j) / (s
    d_j))^2,

once for each strength s of the prior; the strength with the smallest leave-one-out error wins. The
Hessian at the optimum gives the covariance (Laplace's approximation), from which predictions carry
an interval.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from jaxtyping import Float

from lm_scaling.laws.parametric import ParametricLaw
from lm_scaling.laws.parametric_fit import check_spread, grid_starts, rms_error
from lm_scaling.laws.points import ScalingPoint
from lm_scaling.laws.robust_least_squares import (
    NUM_UNKNOWNS,
    GaussianPrior,
    LogTable,
    minimize_batch,
    residuals_and_jacobian,
)
from lm_shared.intervals import Interval

MIN_POINTS = 4
"""Fewer runs leave nothing to judge the fit by once one is left out."""

_NUM_STARTS = 6
# The Huber loss of a normal residual keeps 95% efficiency at this many standard deviations.
_HUBER_DEVIATIONS = 1.345


@dataclass(frozen=True, kw_only=True, slots=True)
class LawPrior:
    """Weak beliefs about a law; deviations are of natural logarithms (0.5: a factor of 1.65)."""

    entropy: float = 1.8
    """Median of E, nats per token: Hoffmann et al.'s data, at about four bytes per token."""
    entropy_deviation: float = 0.5
    """Deviation of ln E."""
    alpha: float = 0.35
    """Median of the size exponent (0.348 in Besiroglu et al., 2024)."""
    alpha_deviation: float = 0.35
    """Deviation of ln alpha."""
    beta: float = 0.37
    """Median of the data exponent (0.366 in Besiroglu et al., 2024)."""
    beta_deviation: float = 0.35
    """Deviation of ln beta."""
    noise: float = 0.004
    """Relative deviation of one run's loss from the law, by its seed and by the law's form."""
    strengths: tuple[float, ...] = (0.3, 1.0, 3.0)
    """Factors on the three deviations, among which the leave-one-out error chooses."""

    def __post_init__(self) -> None:
        for name in (
            "entropy", "entropy_deviation", "alpha", "alpha_deviation",
            "beta", "beta_deviation", "noise",
        ):  # fmt: skip
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if not self.strengths or min(self.strengths) <= 0:
            raise ValueError(f"strengths must be positive and not empty, got {self.strengths}")


@dataclass(frozen=True, kw_only=True, slots=True)
class SmallSampleFit:
    """The most probable law with its uncertainty."""

    law: ParametricLaw
    """The law."""
    strength: float
    """Factor on the prior's deviations that was chosen."""
    leave_one_out: dict[str, float]
    """Root mean square relative error of left-out runs for every strength."""
    num_points: int
    """Runs fitted."""
    rms_error: float
    """Root mean square of the relative error of the fitted losses."""
    scatter: float
    """Relative deviation of a new run: the larger of the prior's noise and the error left out."""
    covariance: tuple[tuple[float, ...], ...]
    """Of (ln E, ln a, ln b, ln alpha, ln beta), where a and b are the terms at ``center``."""
    center: tuple[float, float]
    """Geometric mean of the sizes and of the tokens."""

    def predict_interval(self, parameters: float, tokens: float, *, level: float = 0.9) -> Interval:
        """Return the range that holds a new run's loss with probability ``level``.

        Raises:
            ValueError: ``level`` is not between 0 and 1.
        """
        if not 0 < level < 1:
            raise ValueError(f"level must be between 0 and 1, got {level}")
        law, loss = self.law, self.law.predict(parameters, tokens)
        size, data = law.A * parameters**-law.alpha / loss, law.B * tokens**-law.beta / loss
        # Of ln L by the centered unknowns, in which the covariance is nearly diagonal.
        gradient = np.array(
            [
                law.E / loss,
                size,
                data,
                -size * law.alpha * math.log(parameters / self.center[0]),
                -data * law.beta * math.log(tokens / self.center[1]),
            ]
        )
        variance = float((gradient[:, None] * gradient * np.array(self.covariance)).sum())
        # The scatter counts once more: the interval is for a new run, not for the law.
        margin = NormalDist().inv_cdf((1 + level) / 2) * math.sqrt(variance + self.scatter**2)
        return Interval(low=loss * math.exp(-margin), high=loss * math.exp(margin), level=level)


def fit_small_sample(
    points: Sequence[ScalingPoint], prior: LawPrior | None = None
) -> SmallSampleFit:
    """Fit the law to at least ``MIN_POINTS`` finished runs; the same result on every call.

    Each run should have completed its learning-rate schedule: a loss read off halfway lies above
    what the same tokens reach, and bends the law.

    Raises:
        ValueError: Too few runs, or sizes or token counts that are all alike.
    """
    prior = prior or LawPrior()
    check_spread(points, MIN_POINTS)
    table = LogTable.from_points(points)
    fits = {strength: _fit_and_leave_out(table, prior, strength) for strength in prior.strengths}
    # On a tie the tighter prior wins: min keeps the first, and sorted puts it there.
    strength = min(sorted(fits), key=lambda one: fits[one][1])
    theta, error = fits[strength]
    scatter = max(prior.noise, error)
    # A narrow prior may win by luck: the interval never believes more than the prior as stated.
    believed = _gaussian(prior, max(strength, 1.0))
    covariance = _laplace_covariance(table, theta, believed, scatter)
    return SmallSampleFit(
        law=table.law(theta),
        strength=strength,
        leave_one_out={f"{one:g}": fits[one][1] for one in sorted(fits)},
        num_points=len(points),
        rms_error=rms_error(table, theta),
        scatter=scatter,
        covariance=tuple(tuple(float(value) for value in row) for row in covariance),
        center=(math.exp(table.center_n), math.exp(table.center_d)),
    )


def _gaussian(prior: LawPrior, strength: float) -> GaussianPrior:
    # A and B depend on tokenizer and architecture: nothing is believed about them.
    free = math.inf
    deviations = (prior.entropy_deviation, free, free, prior.alpha_deviation, prior.beta_deviation)
    return GaussianPrior(
        mean=np.array([math.log(prior.entropy), 0, 0, math.log(prior.alpha), math.log(prior.beta)]),
        deviation=strength * np.array(deviations),
    )


def _fit_and_leave_out(
    table: LogTable, prior: LawPrior, strength: float
) -> tuple[Float[np.ndarray, "unknowns"], float]:
    """Return the most probable unknowns, and the relative error of runs left out one at a time."""
    gaussian = _gaussian(prior, strength)

    def descend(
        starts: Float[np.ndarray, "batch unknowns"], kept: Float[np.ndarray, "batch points"]
    ) -> tuple[Float[np.ndarray, "batch unknowns"], Float[np.ndarray, " batch"]]:
        return minimize_batch(
            table,
            starts,
            kept / prior.noise**2,
            delta=_HUBER_DEVIATIONS * prior.noise,
            prior=gaussian,
        )

    num_points = len(table.log_n)
    starts = grid_starts(table, _NUM_STARTS)
    thetas, values = descend(starts, np.ones((len(starts), num_points)))
    best = thetas[values.argmin()]
    # Leaving out one run moves the optimum little: it is the start for all of them at once.
    left_out, _ = descend(np.tile(best, (num_points, 1)), 1 - np.eye(num_points))
    residuals, _ = residuals_and_jacobian(table, left_out)
    return best, float(np.sqrt(np.square(np.diagonal(residuals)).mean()))


def _laplace_covariance(
    table: LogTable,
    theta: Float[np.ndarray, "unknowns"],
    prior: GaussianPrior,
    scatter: float,
) -> Float[np.ndarray, "unknowns unknowns"]:
    """Return the inverse of the Gauss-Newton Hessian, with the scatter that the runs showed."""
    _, jacobian = residuals_and_jacobian(table, theta[None])
    # The scatter stands in for the noise: runs that agree badly widen every interval.
    hessian = np.einsum("ip,jp->ij", jacobian[0], jacobian[0]) / scatter**2
    hessian[np.diag_indices(NUM_UNKNOWNS)] += prior.deviation**-2.0
    return np.linalg.inv(hessian)
