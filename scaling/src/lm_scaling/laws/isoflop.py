"""IsoFLOP fits: at each compute budget find the best size, then a power law through the optima.

This is approach 2 of "Training Compute-Optimal Large Language Models" (Hoffmann et al., 2022):
runs that spend the same FLOPs C on models of different size N trace a valley in ``ln N``. Its
lowest point is ``N_opt(C)``, and the optima of several budgets follow ``N_opt = k C^a``, ``D_opt =
k' C^b``.

Two readings of a valley: ``parabola`` fits a quadratic in ``ln N`` and takes its vertex, which
uses every run and averages their noise; ``minimum`` takes the best run as it is, which assumes
nothing about the valley's shape. Two spaces for the power law: least squares of the logarithms,
where each budget counts alike, or of the values themselves, where the largest budget decides.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.optimize import least_squares

from lm_scaling.laws.points import FLOPS_PER_PARAMETER_TOKEN, ScalingPoint, group_by_budget

ValleyMethod = Literal["parabola", "minimum"]
FitSpace = Literal["log", "linear"]

MAX_EXTRAPOLATION = 10.0
"""How many times larger than the largest run, or smaller than the smallest, a vertex may be."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PowerLaw:
    """``y = coefficient * x ** exponent``."""

    coefficient: float
    """Value at x = 1."""
    exponent: float
    """Slope in log-log coordinates."""
    r_squared: float
    """Share of the variance that is explained, in the space that the law was fitted in."""

    def __call__(self, x: float) -> float:
        """Return the law's value at ``x``."""
        return self.coefficient * x**self.exponent


@dataclass(frozen=True, kw_only=True, slots=True)
class Parabola:
    """``loss = loss_min + curvature * (ln N - log_parameters)^2``: one budget's valley."""

    log_parameters: float
    """Natural logarithm of the best size."""
    loss_min: float
    """Loss at the vertex, nats per token."""
    curvature: float
    """Half the second derivative of the loss by ``ln N``."""

    def __call__(self, parameters: float) -> float:
        """Return the valley's loss at a size."""
        return self.loss_min + self.curvature * (math.log(parameters) - self.log_parameters) ** 2


@dataclass(frozen=True, kw_only=True, slots=True)
class IsoFlopOptimum:
    """The best size at one budget."""

    flops: float
    """The budget C."""
    parameters: float
    """Best size N."""
    tokens: float
    """Tokens D that the budget buys at that size, at what the budget's runs paid for a token."""
    loss: float
    """Loss there, nats per token."""
    is_bracketed: bool
    """Whether runs on both sides are worse; otherwise the optimum is an extrapolation."""
    valley: Parabola | None
    """The fitted valley; None where the best run was taken as it is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IsoFlopFit:
    """Power laws of the compute-optimal size and data."""

    optima: tuple[IsoFlopOptimum, ...]
    """One per budget, in rising order."""
    parameters_law: PowerLaw
    """``N_opt(C)``."""
    tokens_law: PowerLaw
    """``D_opt(C)``."""


def fit_isoflop(
    points: Sequence[ScalingPoint],
    *,
    method: ValleyMethod = "parabola",
    space: FitSpace = "log",
    tolerance: float = 0.05,
) -> IsoFlopFit:
    """Fit ``N_opt(C)`` and ``D_opt(C)`` to runs at several budgets.

    Args:
        points: Runs; those within ``tolerance`` of one another in FLOPs form a budget.
        method: How a budget's optimum is read, see the module's text.
        space: Where the power laws' squared errors are taken.
        tolerance: Relative width of a budget.

    Raises:
        ValueError: Fewer than two budgets, or a budget whose runs show no valley.
    """
    optima = tuple(
        find_optimum(group, method=method)
        for group in group_by_budget(points, tolerance=tolerance).values()
    )
    if len(optima) < 2:
        raise ValueError(f"a power law needs at least 2 compute budgets, got {len(optima)}")
    budgets = [optimum.flops for optimum in optima]
    return IsoFlopFit(
        optima=optima,
        parameters_law=fit_power_law(budgets, [one.parameters for one in optima], space=space),
        tokens_law=fit_power_law(budgets, [one.tokens for one in optima], space=space),
    )


def find_optimum(
    points: Sequence[ScalingPoint], *, method: ValleyMethod = "parabola"
) -> IsoFlopOptimum:
    """Return the best size among runs of one budget.

    Raises:
        ValueError: No runs, or with ``parabola`` fewer than three sizes, runs without a valley, or
            a vertex far outside of them.
    """
    if not points:
        raise ValueError("expected at least one run of the budget, got none")
    flops = float(np.median([point.flops for point in points]))
    sizes = [point.parameters for point in points]
    best = min(points, key=lambda point: point.loss)
    if method == "minimum":
        valley, parameters, loss = None, best.parameters, best.loss
    else:
        valley = fit_parabola(points)
        parameters, loss = math.exp(valley.log_parameters), valley.loss_min
    return IsoFlopOptimum(
        flops=flops,
        parameters=parameters,
        tokens=flops
        / (FLOPS_PER_PARAMETER_TOKEN * parameters * _relative_cost(points, parameters)),
        loss=loss,
        is_bracketed=min(sizes) < parameters < max(sizes),
        valley=valley,
    )


def _relative_cost(points: Sequence[ScalingPoint], parameters: float) -> float:
    """Return what a token costs at a size in units of 6 N FLOPs, interpolated in ln N.

    1 for runs whose compute is 6 N D; more where attention and the head are counted.
    """
    costs: dict[float, list[float]] = {}
    for point in points:
        plain = FLOPS_PER_PARAMETER_TOKEN * point.parameters * point.tokens
        costs.setdefault(point.parameters, []).append(point.flops / plain)
    sizes = sorted(costs)
    cost = np.interp(
        math.log(parameters), np.log(sizes), [float(np.mean(costs[size])) for size in sizes]
    )
    # Without the rounding of C = 6 N D, which is no cost.
    return round(float(cost), 12)


def fit_parabola(points: Sequence[ScalingPoint]) -> Parabola:
    """Fit a quadratic in ``ln N`` to runs of one budget by least squares.

    Raises:
        ValueError: Fewer than three sizes, the quadratic opens downward, or its vertex lies more
            than a factor ``MAX_EXTRAPOLATION`` outside of the runs.
    """
    num_sizes = len({point.parameters for point in points})
    if num_sizes < 3:
        raise ValueError(f"a parabola needs at least 3 sizes per budget, got {num_sizes}")
    log_sizes = np.log([point.parameters for point in points])
    # Centered, the normal equations stay well conditioned: ln N is about 20 and varies by 1 or 2.
    center = float(log_sizes.mean())
    losses = [point.loss for point in points]
    curvature, slope, offset = (float(c) for c in np.polyfit(log_sizes - center, losses, 2))
    if curvature <= 0:
        raise ValueError(
            f"the runs at {points[0].flops:.3g} FLOPs show no valley (curvature {curvature:.3g}): "
            "add sizes on the other side, or take the best run of each budget"
        )
    shift = -slope / (2 * curvature)
    offsets = log_sizes - center
    beyond = max(float(offsets.min()) - shift, shift - float(offsets.max()))
    if beyond > math.log(MAX_EXTRAPOLATION):
        raise ValueError(
            f"the lowest point of the runs at {points[0].flops:.3g} FLOPs lies at "
            f"1e{(center + shift) / math.log(10):.1f} parameters, far outside of them: "
            "add sizes on that side, or take the best run of each budget"
        )
    return Parabola(
        log_parameters=center + shift,
        loss_min=offset - curvature * shift**2,
        curvature=curvature,
    )


def fit_power_law(x: Sequence[float], y: Sequence[float], *, space: FitSpace = "log") -> PowerLaw:
    """Fit ``y = k x^a`` by least squares of the logarithms, or of the values.

    Raises:
        ValueError: Fewer than two different x, or a value that is not positive.
    """
    values_x, values_y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if len(set(x)) < 2 or values_x.shape != values_y.shape:
        raise ValueError(f"a power law needs at least 2 pairs with different x, got {len(set(x))}")
    if values_x.min() <= 0 or values_y.min() <= 0:
        raise ValueError("a power law needs positive values")
    log_x, log_y = np.log(values_x), np.log(values_y)
    # Centered, slope and offset do not trade against each other.
    center_x, center_y = float(log_x.mean()), float(log_y.mean())
    log_x, log_y = log_x - center_x, log_y - center_y
    exponent, offset = float(log_x @ log_y / (log_x @ log_x)), 0.0
    targets, fitted = log_y, exponent * log_x
    if space == "linear":
        # In units of the geometric means, both unknowns are of order one at C = 1e18 as well.
        targets = np.exp(log_y)
        solution = least_squares(
            lambda theta: np.exp(theta[0] + theta[1] * log_x) - targets, [0.0, exponent]
        )
        offset, exponent = (float(value) for value in solution.x)
        fitted = np.exp(offset + exponent * log_x)
    # Values that are all alike leave nothing to explain: R^2 is one by convention.
    variance = float(((targets - targets.mean()) ** 2).sum())
    residual = float(((targets - fitted) ** 2).sum())
    return PowerLaw(
        coefficient=math.exp(center_y + offset - exponent * center_x),
        exponent=exponent,
        r_squared=1.0 - residual / variance if variance > 0 else 1.0,
    )
