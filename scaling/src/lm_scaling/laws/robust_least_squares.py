"""Robust least squares for the parametric law: many fits at once by damped Gauss-Newton steps.

The unknowns ``theta = (e, a, b, ln alpha, ln beta)`` give, with sizes and tokens centered,

    ln L(N, D) = LSE(e, a - alpha ln N, b - beta ln D).

Each row of a batch minimizes its own

    sum_i w_i rho_delta(ln L(N_i, D_i) - ln L_i) + 1/2 sum_j ((theta_j - mean_j) / deviation_j)^2

with the Huber loss rho. A Gauss-Newton step weights each residual r by ``min(1, delta / |r|)``,
which is a parabola above the Huber loss, and Levenberg's damping grows until the objective falls;
so it never rises. Rows are starts, bootstrap samples or left-out runs: numpy does a thousand
five-by-five problems in the time of a few calls of a general minimizer.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from lm_scaling.laws.parametric import ParametricLaw
from lm_scaling.laws.points import ScalingPoint

NUM_UNKNOWNS = 5
_E, _A, _B, _ALPHA, _BETA = range(NUM_UNKNOWNS)
# Beyond these the law is indistinguishable from one without the term, and powers overflow.
_LOWEST = np.array([-20.0, -20.0, -20.0, math.log(1e-3), math.log(1e-3)])
_HIGHEST = np.array([10.0, 10.0, 10.0, math.log(5.0), math.log(5.0)])
_SMALLEST_DAMPING = 1e-12
_LARGEST_DAMPING = 1e8


@dataclass(frozen=True, kw_only=True, slots=True)
class GaussianPrior:
    """Independent normal priors on the unknowns; an infinite deviation is none."""

    mean: Float[np.ndarray, "unknowns"]
    deviation: Float[np.ndarray, "unknowns"]


@dataclass(frozen=True, slots=True)
class LogTable:
    """Runs as logarithms; sizes and tokens are centered so that the unknowns barely interact."""

    log_n: Float[np.ndarray, "points"]
    log_d: Float[np.ndarray, "points"]
    log_loss: Float[np.ndarray, "points"]
    center_n: float
    center_d: float

    @classmethod
    def from_points(cls, points: Sequence[ScalingPoint]) -> "LogTable":
        """Take the logarithms of ``points`` and move sizes and tokens to mean zero."""
        log_n = np.log([point.parameters for point in points])
        log_d = np.log([point.tokens for point in points])
        log_loss = np.log([point.loss for point in points])
        center_n, center_d = float(log_n.mean()), float(log_d.mean())
        return cls(log_n - center_n, log_d - center_d, log_loss, center_n, center_d)

    def law(self, theta: Float[np.ndarray, "unknowns"]) -> ParametricLaw:
        """Return the law that ``theta`` stands for."""
        e, a, b, log_alpha, log_beta = (float(value) for value in theta)
        alpha, beta = math.exp(log_alpha), math.exp(log_beta)
        return ParametricLaw(
            E=math.exp(e),
            A=math.exp(a + alpha * self.center_n),
            B=math.exp(b + beta * self.center_d),
            alpha=alpha,
            beta=beta,
        )

    def theta(self, law: ParametricLaw) -> Float[np.ndarray, "unknowns"]:
        """Return the unknowns of ``law``; a term that is zero becomes the smallest one allowed."""
        a, b, e = (math.log(value) if value > 0 else -math.inf for value in (law.A, law.B, law.E))
        theta = [
            e,
            a - law.alpha * self.center_n,
            b - law.beta * self.center_d,
            math.log(law.alpha),
            math.log(law.beta),
        ]
        return np.clip(theta, _LOWEST, _HIGHEST)


def residuals_and_jacobian(
    table: LogTable, theta: Float[np.ndarray, "batch unknowns"]
) -> tuple[Float[np.ndarray, "batch points"], Float[np.ndarray, "batch unknowns points"]]:
    """Return ``ln L_predicted - ln L`` of every run, and its derivatives by the unknowns."""
    columns = theta[:, :, None]
    # Exponents as logarithms stay positive, and a normal prior on them needs no bounds.
    alpha, beta = np.exp(columns[:, _ALPHA]), np.exp(columns[:, _BETA])
    e, a, b = np.broadcast_arrays(
        columns[:, _E],
        columns[:, _A] - alpha * table.log_n,
        columns[:, _B] - beta * table.log_d,
    )
    # The largest term is divided out, so that no power overflows far from the data.
    peak = np.maximum(np.maximum(e, a), b)
    floor, size, data = np.exp(e - peak), np.exp(a - peak), np.exp(b - peak)
    total = floor + size + data
    floor, size, data = floor / total, size / total, data / total
    jacobian = np.stack(
        [floor, size, data, -size * alpha * table.log_n, -data * beta * table.log_d], axis=1
    )
    return peak + np.log(total) - table.log_loss, jacobian


def huber(residuals: Float[np.ndarray, "*batch"], delta: float) -> Float[np.ndarray, "*batch"]:
    """Return ``r^2 / 2`` within ``delta`` and ``delta (|r| - delta / 2)`` beyond."""
    clipped = np.clip(residuals, -delta, delta)
    return clipped * (residuals - clipped / 2)


def minimize_batch(
    table: LogTable,
    starts: Float[np.ndarray, "batch unknowns"],
    weights: Float[np.ndarray, "batch points"],
    *,
    delta: float,
    prior: GaussianPrior | None = None,
    max_iterations: int = 500,
    tolerance: float = 1e-12,
) -> tuple[Float[np.ndarray, "batch unknowns"], Float[np.ndarray, "batch"]]:
    """Descend from each start; return the unknowns reached and their objectives.

    Args:
        table: The runs.
        starts: One row of unknowns per fit.
        weights: How often each run counts in each fit; zero leaves it out.
        delta: Threshold of the Huber loss, in units of the log-loss.
        prior: Normal priors, in the units that the weighted Huber losses have.
        max_iterations: Most steps, accepted or not.
        tolerance: A row stops when an accepted step lowers its objective by less than this share.
    """
    # Kept beside scipy.optimize.least_squares, which finds the same optima one problem at a time in
    # two to three times the time (docs/log.md, 2026-11-30).
    precision = np.zeros(NUM_UNKNOWNS) if prior is None else prior.deviation**-2.0
    mean = np.zeros(NUM_UNKNOWNS) if prior is None else prior.mean

    def value_at(theta: np.ndarray, counts: np.ndarray) -> np.ndarray:
        residuals, _ = residuals_and_jacobian(table, theta)
        penalty = (precision * (theta - mean) ** 2).sum(axis=1) / 2
        return (counts * huber(residuals, delta)).sum(axis=1) + penalty

    theta = np.clip(starts, _LOWEST, _HIGHEST)
    value = value_at(theta, weights)
    damping = np.full(len(theta), 1e-2)
    active = np.arange(len(theta))
    for _ in range(max_iterations):
        if active.size == 0:
            break
        current, counts = theta[active], weights[active]
        step = _damped_step(table, current, counts, delta, precision, mean, damping[active])
        proposed = np.clip(current + step, _LOWEST, _HIGHEST)
        proposed_value = value_at(proposed, counts)
        gain = value[active] - proposed_value
        is_better = gain > 0
        accepted = active[is_better]
        theta[accepted], value[accepted] = proposed[is_better], proposed_value[is_better]
        # One retry undoes the trust that one success has won.
        damping[active] *= np.where(is_better, 0.2, 5.0)
        np.clip(damping, _SMALLEST_DAMPING, None, out=damping)
        # Rows leave as they converge: the slowest few do not keep the others computing.
        is_done = is_better & (gain <= tolerance * proposed_value)
        active = active[~is_done & (damping[active] < _LARGEST_DAMPING)]
    return theta, value


def _damped_step(
    table: LogTable,
    theta: Float[np.ndarray, "batch unknowns"],
    weights: Float[np.ndarray, "batch points"],
    delta: float,
    precision: Float[np.ndarray, "unknowns"],
    mean: Float[np.ndarray, "unknowns"],
    damping: Float[np.ndarray, "batch"],
) -> Float[np.ndarray, "batch unknowns"]:
    """Return the Gauss-Newton step of the reweighted squares, damped in each row's own scale."""
    residuals, jacobian = residuals_and_jacobian(table, theta)
    robust = weights * delta / np.maximum(np.abs(residuals), delta)
    gradient = (jacobian * (robust * residuals)[:, None]).sum(axis=2) + precision * (theta - mean)
    hessian = np.einsum("bip,bp,bjp->bij", jacobian, robust, jacobian)
    diagonal = np.arange(NUM_UNKNOWNS)
    hessian[:, diagonal, diagonal] += precision
    scale = hessian[:, diagonal, diagonal]
    # A term that has vanished has no curvature of its own: the floor keeps the system regular.
    scale = np.maximum(scale, 1e-9 * scale.max(axis=1, keepdims=True))
    hessian[:, diagonal, diagonal] += damping[:, None] * scale
    return -np.linalg.solve(hessian, gradient[:, :, None])[:, :, 0]
