"""The figures of a study: learning curves with bands, effects with intervals."""

from collections.abc import Callable
from itertools import cycle, islice

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from lm_basics.ablation.results import ArmResult, Comparison, StudyResults
from lm_shared.figures import PALETTE, house_style

_WIDTH_INCHES = 7.2
_STYLES = ("-", (0, (5, 2)), (0, (1, 1.5)))


def curve_figure(results: StudyResults) -> Figure:
    """Draw the held-out loss against tokens and against FLOPs, mean and range over seeds."""
    with house_style():
        figure = Figure(figsize=(_WIDTH_INCHES, 3.8), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        _draw_curves(left, results, lambda arm: arm.tokens / arm.steps)
        _draw_curves(right, results, lambda arm: arm.flops / arm.steps)
        left.set(xlabel="tokens", ylabel="held-out loss, nats per token")
        right.set(xlabel="FLOPs")
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=4)
    return figure


def effect_figure(results: StudyResults) -> Figure:
    """Draw each variant's effect with its confidence interval, and every pair as a small dot."""
    shown = [one for one in results.comparisons if one.effect is not None]
    with house_style():
        height = 1.1 + 0.36 * max(1, len(shown))
        figure = Figure(figsize=(_WIDTH_INCHES, height), layout="constrained")
        axes = figure.add_subplot()
        axes.axvline(0.0, color=axes.xaxis.label.get_color(), linewidth=1)
        for row, one in enumerate(shown):
            _draw_effect(axes, row, one, _pairs(results, one.name))
        axes.set_yticks(range(len(shown)), [one.name for one in shown])
        axes.set_ylim(max(1, len(shown)) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(f"nats per token, variant minus {results.base}: left of zero is better")
    return figure


def _draw_curves(axes: Axes, results: StudyResults, per_step: Callable[[ArmResult], float]) -> None:
    num = len(results.arms)
    colors = islice(cycle(PALETTE), num)
    styles = (_STYLES[index // len(PALETTE) % len(_STYLES)] for index in range(num))
    for arm, color, style in zip(results.arms, colors, styles, strict=True):
        x = [point.step * per_step(arm) for point in arm.curve]
        losses = [point.loss for point in arm.curve]
        axes.plot(x, losses, color=color, linestyle=style, label=arm.name)
        axes.fill_between(x, arm.curve_low, arm.curve_high, color=color, alpha=0.18, linewidth=0)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def _draw_effect(axes: Axes, row: int, one: Comparison, pairs: list[float]) -> None:
    effect = one.effect
    if effect is None:
        return
    is_told_apart = one.verdict in ("better", "worse")
    color = PALETTE[0] if is_told_apart else PALETTE[3]
    axes.plot(pairs, [row] * len(pairs), "|", color=color, alpha=0.45, markersize=7)
    if effect.low is not None and effect.high is not None:
        axes.plot([effect.low, effect.high], [row, row], color=color, linewidth=2.2)
    axes.plot([effect.mean], [row], "o", color=color, markersize=6)


def _pairs(results: StudyResults, name: str) -> list[float]:
    losses = {(one.arm, one.seed): one.loss for one in results.outcomes}
    both = [(losses[name, seed], losses[results.base, seed]) for seed in results.seeds]
    return [one - other for one, other in both if one is not None and other is not None]
