"""Fit the parametric law to many runs, as approach 3 of Hoffmann et al. (2022) does; bootstrap it.

The objective is the sum over runs of the Huber loss, with ``delta`` = 1e-3, of the error of the
log-loss

    LSE(e, a - alpha ln N, b - beta ln D) - ln L,        E = exp(e), A = exp(a), B = exp(b),

where the log-sum-exp form keeps E, A and B positive. The errors are summed, not averaged:
averaged, they are so flat that minimizers stop early, which is what misled the original fit
(Besiroglu et al., "Chinchilla Scaling: A replication attempt", 2024).

Many starts are needed because the valley of (A, alpha) is long and curved. Here they come from a
grid over (E, alpha, beta); for each, the law is linear in A and B, so the best pair is known in
closed form and only the most promising starts are refined.

How much the law moves when the runs are drawn again, the bootstrap tells: the runs are resampled
with replacement and the law refitted from the full fit's optimum (Efron, 1979; Besiroglu et al. use
4,000 samples). All samples descend together, see ``robust_least_squares``.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from lm_scaling.laws.parametric import ParametricLaw
from lm_scaling.laws.points import ScalingPoint
from lm_scaling.laws.robust_least_squares import (
    LogTable,
    minimize_batch,
    residuals_and_jacobian,
)
from lm_shared.intervals import resampled_counts

MIN_POINTS = 5
"""The law has five unknowns."""

MAX_COLLINEARITY = 0.999
"""Squared correlation of ln N and ln D up to which they are told apart.

Above it, less than about 3% of the spread of ln D is not explained by ln N.
"""

_GRID_EXPONENTS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 1.0)
# E lies below every run: the floors are shares of the lowest loss.
_GRID_FLOORS = (0.05, 0.3, 0.5, 0.65, 0.8, 0.9, 0.97)

# Samples that descend together: a Jacobian of 240 runs then takes 5 MB and stays in the cache.
_SAMPLES_PER_BATCH = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class ParametricFitConfig:
    """How the parametric law is fitted."""

    delta: float = 1e-3
    """Residual of the log-loss at which the Huber loss turns from quadratic to linear."""
    num_starts: int = 8
    """Grid points that are refined; the best result wins."""
    max_iterations: int = 500
    """Most descent steps per start."""

    def __post_init__(self) -> None:
        if self.delta <= 0:
            raise ValueError(f"delta must be positive, got {self.delta}")
        if self.num_starts < 1 or self.max_iterations < 1:
            raise ValueError(
                f"expected positive counts, got {self.num_starts} and {self.max_iterations}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class ParametricFit:
    """A fitted law with what it was fitted to."""

    law: ParametricLaw
    """The law of the lowest objective."""
    objective: float
    """Sum of the Huber losses at the law, with the prior's penalty where there is one."""
    num_points: int
    """Runs fitted."""
    rms_error: float
    """Root mean square of the relative error of the fitted losses."""


def fit_parametric(
    points: Sequence[ScalingPoint], config: ParametricFitConfig | None = None
) -> ParametricFit:
    """Fit the law to at least ``MIN_POINTS`` runs; the result is the same on every call.

    Raises:
        ValueError: Too few runs, sizes or token counts that are all alike, or sizes and tokens that
            rise together: a squared correlation of ln N and ln D above ``MAX_COLLINEARITY``.
    """
    config = config or ParametricFitConfig()
    check_spread(points, MIN_POINTS)
    _check_collinearity(points)
    table = LogTable.from_points(points)
    starts = grid_starts(table, config.num_starts)
    thetas, values = minimize_batch(
        table,
        starts,
        # Every start sees every run once.
        np.ones((len(starts), len(points))),
        delta=config.delta,
        max_iterations=config.max_iterations,
    )
    best = int(values.argmin())
    return ParametricFit(
        law=table.law(thetas[best]),
        objective=float(values[best]),
        num_points=len(points),
        rms_error=rms_error(table, thetas[best]),
    )


def bootstrap_laws(
    points: Sequence[ScalingPoint],
    config: ParametricFitConfig | None = None,
    *,
    num_samples: int = 400,
    seed: int = 0,
) -> list[ParametricLaw]:
    """Return the laws of ``num_samples`` resampled tables; the same for the same seed.

    ``lm_shared.intervals.percentile_interval`` makes an interval of a quantity of all of them.

    Raises:
        ValueError: ``num_samples`` is not positive, or the table cannot be fitted.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples must be positive, got {num_samples}")
    config = config or ParametricFitConfig()
    table = LogTable.from_points(points)
    start = table.theta(fit_parametric(points, config).law)
    # Counts instead of copies: one table serves all samples.
    all_counts = resampled_counts(len(points), num_samples, seed=seed)
    laws: list[ParametricLaw] = []
    for first in range(0, num_samples, _SAMPLES_PER_BATCH):
        counts = all_counts[first : first + _SAMPLES_PER_BATCH]
        thetas, _ = minimize_batch(
            table,
            np.tile(start, (len(counts), 1)),
            counts,
            delta=config.delta,
            max_iterations=config.max_iterations,
            # Far below the spread of the samples: more digits of one sample tell nothing.
            tolerance=1e-9,
        )
        laws.extend(table.law(theta) for theta in thetas)
    return laws


def check_spread(points: Sequence[ScalingPoint], min_points: int) -> None:
    """Refuse a table from which the exponents cannot be told.

    Raises:
        ValueError: Fewer than ``min_points`` runs, one size only, or one token count only.
    """
    if len(points) < min_points:
        raise ValueError(f"the parametric fit needs at least {min_points} runs, got {len(points)}")
    for name in ("parameters", "tokens"):
        values = {getattr(point, name) for point in points}
        if len(values) < 2:
            raise ValueError(f"the fit needs runs with different {name}, all have {values.pop()}")


def _check_collinearity(points: Sequence[ScalingPoint]) -> None:
    """Refuse runs of one number of tokens per parameter, or of one budget.

    What the size costs and what the data costs then cannot be told apart.
    """
    logs = np.log([[point.parameters for point in points], [point.tokens for point in points]])
    correlation = float(np.corrcoef(logs)[0, 1])
    if correlation**2 > MAX_COLLINEARITY:
        raise ValueError(
            f"the sizes and the tokens of the runs are collinear (correlation {correlation:.5f} of "
            "their logarithms): add runs with other tokens per parameter, or fit the small-sample "
            "law, whose prior holds the exponents"
        )


def rms_error(table: LogTable, theta: Float[np.ndarray, "unknowns"]) -> float:
    """Return the root mean square of the relative errors of the fitted losses."""
    residuals, _ = residuals_and_jacobian(table, theta[None])
    return float(np.sqrt(np.square(np.expm1(residuals)).mean()))


def grid_starts(table: LogTable, num_starts: int) -> Float[np.ndarray, "starts unknowns"]:
    """Return the best grid points: for each (E, alpha, beta) A and B by linear least squares."""
    loss = np.exp(table.log_loss)
    grid = np.array(list(itertools.product(_GRID_FLOORS, _GRID_EXPONENTS, _GRID_EXPONENTS)))
    floor, alpha, beta = grid.T[:, :, None]
    entropy = floor * loss.min()
    # Relative errors: every row of the linear system is divided by the loss that it explains.
    x, y = np.exp(-alpha * table.log_n) / loss, np.exp(-beta * table.log_d) / loss
    target = (loss - entropy) / loss
    xx, yy, xy = (x * x).sum(1), (y * y).sum(1), (x * y).sum(1)
    xt, yt = (x * target).sum(1), (y * target).sum(1)
    # Cauchy-Schwarz keeps the determinant above zero; the ridge covers nearly parallel columns.
    determinant = xx * yy - xy**2 + 1e-9 * xx * yy
    smallest = 1e-3 * loss.min()
    a = np.maximum((yy * xt - xy * yt) / determinant, smallest)
    b = np.maximum((xx * yt - xy * xt) / determinant, smallest)
    errors = np.abs(target - a[:, None] * x - b[:, None] * y).sum(1)
    # A stable sort keeps the grid's order among equals, and the fit its bytes.
    best = np.argsort(errors, kind="stable")[:num_starts]
    exponents = np.log(grid[:, 1:])
    return np.column_stack([np.log(entropy[:, 0]), np.log(a), np.log(b), exponents])[best]
