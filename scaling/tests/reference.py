"""Plain, slow, obviously right versions of what the package does fast."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize

from lm_scaling.laws.parametric import ParametricLaw
from lm_scaling.laws.points import ScalingPoint


def huber_one(residual: float, delta: float) -> float:
    if abs(residual) <= delta:
        return residual**2 / 2
    return delta * (abs(residual) - delta / 2)


def huber_objective(law: ParametricLaw, points: Sequence[ScalingPoint], delta: float) -> float:
    """Sum of the Huber losses of the log-loss, one run after the other."""
    total = 0.0
    for point in points:
        predicted = law.E + law.A / point.parameters**law.alpha + law.B / point.tokens**law.beta
        total += huber_one(math.log(predicted) - math.log(point.loss), delta)
    return total


def fit_by_scipy(
    points: Sequence[ScalingPoint], starts: Sequence[ParametricLaw], delta: float = 1e-3
) -> tuple[ParametricLaw, float]:
    """Fit the uncentered log-sum-exp form with scipy's L-BFGS and numerical gradients."""
    n = np.log([point.parameters for point in points])
    d = np.log([point.tokens for point in points])
    observed = np.log([point.loss for point in points])

    def objective(theta: np.ndarray) -> float:
        a, b, e, alpha, beta = theta
        predicted = np.logaddexp(np.logaddexp(a - alpha * n, b - beta * d), e)
        size = np.abs(predicted - observed)
        return float(np.where(size <= delta, size**2 / 2, delta * (size - delta / 2)).sum() / delta)

    results = [
        minimize(
            objective,
            [math.log(s.A), math.log(s.B), math.log(s.E), s.alpha, s.beta],
            method="L-BFGS-B",
            options={"maxiter": 5000, "maxfun": 100_000, "ftol": 1e-15, "gtol": 1e-9},
        )
        for s in starts
    ]
    best = min(results, key=lambda result: result.fun)
    a, b, e, alpha, beta = best.x
    law = ParametricLaw(
        E=math.exp(e), A=math.exp(a), B=math.exp(b), alpha=float(alpha), beta=float(beta)
    )
    return law, float(best.fun) * delta


def best_allocation_by_search(law: ParametricLaw, flops: float, cost: float = 6.0) -> float:
    """Return the size of the lowest loss among many."""
    sizes = np.geomspace(1e3, 1e14, 200_001)
    losses = law.E + law.A * sizes**-law.alpha + law.B * (flops / (cost * sizes)) ** -law.beta
    return float(sizes[losses.argmin()])


def effective_tokens_by_decay(
    tokens: float, unique_tokens: float, scale: float, pieces: int = 200_000
) -> float:
    """Integrate a token's worth, which decays as exp(-repetitions / scale)."""
    repetitions = tokens / unique_tokens - 1
    middles = (np.arange(pieces) + 0.5) * repetitions / pieces
    return unique_tokens * (1 + float(np.exp(-middles / scale).mean()) * repetitions)
