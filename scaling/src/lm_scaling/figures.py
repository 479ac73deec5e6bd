"""Figures of a scaling study: IsoFLOP valleys, power laws, a prediction and what came of it."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, NullFormatter

from lm_scaling.laws.isoflop import IsoFlopFit, PowerLaw, fit_parabola
from lm_scaling.laws.points import ScalingPoint, check_positive, group_by_budget
from lm_scaling.planner import Plan
from lm_shared.figures import PALETTE, house_style

_SIZE_INCHES = (7.2, 3.4)
_CURVE_POINTS = 80
_LOSS_LABEL = "validation loss (nats per token)"


def isoflop_figure(
    points: Sequence[ScalingPoint],
    *,
    planned: Plan | None = None,
    obtained_loss: float | None = None,
) -> Figure:
    """Draw the loss over the size, one curve per budget, with the optimum of each fitted valley.

    With a plan, a second panel shows the loss over compute: the runs, the law on the way to the
    planned run, the prediction with its interval and, once it is known, the loss obtained.

    Raises:
        ValueError: There are no points, or an obtained loss without a plan.
    """
    if not points:
        raise ValueError("an IsoFLOP figure needs at least one run, got none")
    if obtained_loss is not None and planned is None:
        raise ValueError(f"an obtained loss of {obtained_loss} needs the plan that predicted it")
    with house_style():
        figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
        if planned is None:
            _draw_valleys(figure.add_subplot(), points)
        else:
            left, right = figure.subplots(1, 2)
            _draw_valleys(left, points)
            _draw_extrapolation(right, points, planned, obtained_loss)
    return figure


def power_law_figure(fit: IsoFlopFit, *, flops: float) -> Figure:
    """Draw the best size and the best token count of each budget, and their laws up to ``flops``.

    Raises:
        ValueError: ``flops`` is not positive and finite.
    """
    check_positive(flops=flops)
    sizes = [optimum.parameters for optimum in fit.optima]
    tokens = [optimum.tokens for optimum in fit.optima]
    with house_style():
        figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
        left, right = figure.subplots(1, 2)
        _draw_power_law(left, fit, fit.parameters_law, sizes, flops)
        _draw_power_law(right, fit, fit.tokens_law, tokens, flops)
        left.set_ylabel("compute-optimal parameters")
        right.set_ylabel("compute-optimal tokens")
    return figure


def _draw_valleys(axes: Axes, points: Sequence[ScalingPoint]) -> None:
    """Draw each budget's runs, the fitted parabola where there is one, and its vertex."""
    for index, (flops, group) in enumerate(group_by_budget(points).items()):
        color = PALETTE[index % len(PALETTE)]
        sizes, losses = [one.parameters for one in group], [one.loss for one in group]
        axes.plot(sizes, losses, "o", color=color, label=f"{flops:.2g} FLOPs")
        try:
            valley = fit_parabola(group)
        except ValueError:
            # No valley, or one far away: a thin line shows which runs share the budget.
            axes.plot(sizes, losses, color=color, linewidth=0.8)
            continue
        # A vertex far outside of the runs would squeeze them into a corner.
        best = math.exp(valley.log_parameters)
        low, high = max(min(*sizes, best), min(sizes) / 2), min(max(*sizes, best), max(sizes) * 2)
        grid = np.geomspace(low, high, _CURVE_POINTS)
        axes.plot(grid, [valley(float(size)) for size in grid], color=color)
        if low <= best <= high:
            axes.plot([best], [valley.loss_min], "*", color=color, markersize=11)
    axes.set(xscale="log", xlabel="parameters", ylabel=_LOSS_LABEL)
    _shorten_sizes(axes)
    axes.legend(fontsize=8, handlelength=1)


def _draw_extrapolation(
    axes: Axes, points: Sequence[ScalingPoint], planned: Plan, obtained_loss: float | None
) -> None:
    """Draw loss over compute from the sweep to the planned run."""
    chosen, law = planned.alternatives[0], planned.fit.law
    flops, losses = [one.flops for one in points], [one.loss for one in points]
    axes.plot(flops, losses, "o", color=PALETTE[0], label="sweep")
    # From the cheapest budget's best run to the planned one, size and tokens grow in equal factors.
    cheapest = next(iter(group_by_budget(points).values()))
    start = min(cheapest, key=lambda point: point.loss)
    share = np.linspace(0, 1, _CURVE_POINTS)
    sizes = start.parameters * (chosen.parameters / start.parameters) ** share
    tokens = start.tokens * (chosen.effective_tokens / start.tokens) ** share
    curve = [law.predict(float(n), float(d)) for n, d in zip(sizes, tokens, strict=True)]
    path = start.flops * (chosen.flops / start.flops) ** share
    axes.plot(path, curve, color=PALETTE[0], linewidth=1, label="law")
    loss, interval = chosen.predicted_loss, chosen.interval
    axes.errorbar(
        [chosen.flops],
        [loss],
        yerr=[[loss - interval.low], [interval.high - loss]],
        fmt="s",
        color=PALETTE[1],
        capsize=3,
        label="predicted",
    )
    if obtained_loss is not None:
        axes.plot(
            [chosen.flops], [obtained_loss], "*", color=PALETTE[2], markersize=11, label="obtained"
        )
    axes.set(xscale="log", xlabel="training FLOPs", ylabel=_LOSS_LABEL)
    _name_powers(axes.xaxis)
    axes.legend(fontsize=8)


def _draw_power_law(
    axes: Axes, fit: IsoFlopFit, law: PowerLaw, values: Sequence[float], flops: float
) -> None:
    """Draw the optima and the law from the smallest budget to ``flops``."""
    # A budget inside of the table is allowed too: the line then ends where the table does.
    budgets = [optimum.flops for optimum in fit.optima]
    grid = np.geomspace(min(budgets), max(*budgets, flops), _CURVE_POINTS)
    axes.plot(grid, [law(float(budget)) for budget in grid], color=PALETTE[0])
    axes.plot(budgets, values, "o", color=PALETTE[0])
    axes.plot([flops], [law(flops)], "s", color=PALETTE[1])
    axes.annotate(
        f"{law(flops):.3g}",
        (flops, law(flops)),
        xytext=(-6, 0),
        textcoords="offset points",
        ha="right",
    )
    axes.set(xscale="log", yscale="log", xlabel="training FLOPs")
    _name_powers(axes.xaxis)
    _name_powers(axes.yaxis)


def _shorten_sizes(axes: Axes) -> None:
    """Write 300k and 1M; where sizes span about a decade, the ticks in between are named too."""
    low, high = axes.get_xlim()
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    is_narrow = high / low < 5
    axes.xaxis.set_minor_formatter(EngFormatter(sep="") if is_narrow else NullFormatter())


def _name_powers(axis: Axis) -> None:
    """Write 1e19: the house style draws no formulas, as which matplotlib writes powers of ten."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0e}".replace("e+", "e")))
    axis.set_minor_formatter(NullFormatter())
