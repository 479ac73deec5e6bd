"""What a study shows: its table, also as Markdown, its figures, and the HTML page of both."""

from collections.abc import Callable, Mapping
from itertools import cycle, islice

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from lm_basics.ablation.results import ArmResult, Comparison, StudyResults
from lm_shared.figures import PALETTE, figure_svg, house_style
from lm_shared.report import Cell, Report

COLUMNS = (
    "variant",
    "steps",
    "nats per token",
    "bits per byte",
    "effect in nats",
    "95% interval",
    "p (Holm)",
    "verdict",
    "seeds needed",
)


def table_columns(results: StudyResults) -> list[str]:
    """Return the headings."""
    interval = f"{1 - results.alpha:.0%} interval"
    return [interval if name == "95% interval" else name for name in COLUMNS]


def table_rows(results: StudyResults) -> list[list[Cell]]:
    """Return one row for each arm, the base first."""
    comparisons = {one.name: one for one in results.comparisons}
    return [_row(arm, comparisons) for arm in results.arms]


def markdown_table(results: StudyResults) -> str:
    """Return the table as Markdown, and below it what one needs to read it."""
    lines = [table_columns(results), ["---"] * len(COLUMNS), *table_rows(results)]
    table = "\n".join("| " + " | ".join(_markdown(cell) for cell in line) + " |" for line in lines)
    return f"{table}\n\n{describe(results)}\n"


def describe(results: StudyResults) -> str:
    """Return what was compared and how, in a few sentences."""
    residual = max(abs(one.budget_error) for one in results.arms)
    kind = "FLOPs" if results.budget == "flops" else "tokens"
    seeds = f"{len(results.seeds)} paired seed{'s' * (len(results.seeds) != 1)}"
    if results.num_pilot is not None:
        seeds += f", of which {results.num_pilot} decided the number"
    return (
        f"{results.question} Variants have the base's {kind} within {residual:.2%}; {seeds}. "
        f"Effects are variant minus base on the same seed, negative is better; intervals are of "
        f"each variant alone, p-values are corrected for {len(results.comparisons)} "
        f"variant{'s' * (len(results.comparisons) != 1)}. Seeds needed find "
        f"{results.effect:g} nats with a power of {results.power:.0%} at the measured spread."
    )


def _row(arm: ArmResult, comparisons: Mapping[str, Comparison]) -> list[Cell]:
    start: list[Cell] = [
        arm.name,
        arm.steps,
        None if arm.loss is None else f"{arm.loss:.4f}",
        None if arm.bits_per_byte is None else f"{arm.bits_per_byte:.4f}",
    ]
    one = comparisons.get(arm.name)
    if one is None:
        diverged = f"{arm.num_diverged} of {arm.num_runs} diverged"
        return [*start, None, None, None, diverged if arm.num_diverged else "base", None]
    effect = one.effect
    has_interval = effect is not None and effect.low is not None and effect.high is not None
    verdict: str = one.verdict
    if verdict == "diverged" and arm.num_diverged:
        verdict = f"{arm.num_diverged} of {arm.num_runs} diverged"
    elif verdict == "diverged":
        verdict = "the base diverged"
    return [
        *start,
        None if effect is None else f"{effect.mean:+.4f}",
        f"{effect.low:+.4f} to {effect.high:+.4f}" if effect and has_interval else None,
        None if one.p_adjusted is None else _format_p(one.p_adjusted),
        verdict,
        one.seeds_needed,
    ]


def _format_p(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def _markdown(cell: Cell) -> str:
    if cell is None:
        return ""
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


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


def study_page(results: StudyResults) -> Report:
    """Lay a study out on a self-contained page; its ``write`` saves it."""
    page = Report(f"Ablation: {results.study}", describe(results))
    page.section("Result").table(table_columns(results), table_rows(results))
    if any(one.effect is not None for one in results.comparisons):
        page.figure(
            figure_svg(effect_figure(results)),
            "Mean effect with its confidence interval; each tick is a pair of runs of one seed. "
            "In pink: not told apart from the base after correction for the number of variants.",
        )
    if any(arm.curve for arm in results.arms):
        page.section("Learning curves").figure(
            figure_svg(curve_figure(results)),
            "Mean of the finished runs, and between the lowest and the highest of them the band.",
        )
    _add_method(page, results)
    _add_budgets(page, results)
    _add_runs(page, results)
    return page


def _add_method(page: Report, results: StudyResults) -> None:
    page.section("How to read it").paragraph(
        "A seed decides the order of the data and the initial values; a variant and the base of "
        "one seed share both wherever shapes allow. The test is a two-sided paired t-test over "
        "seeds. It takes the differences to be independent and normal, and speaks of these "
        "held-out tokens, this corpus and this size. FLOPs are those of the matrix products, "
        "forward and backward; an optimizer's own are not among them."
    )
    if results.num_pilot is not None:
        page.paragraph(
            f"The first {results.num_pilot} seeds estimated the spread and asked for "
            f"{results.wanted_seeds} (Stein, 1945). The test uses that spread, which keeps false "
            f"alarms at {results.alpha:.0%} over all variants and finds {results.effect:g} nats "
            f"with a probability of at least {results.power:.0%}, whatever the true spread is."
        )
        if results.wanted_seeds is not None and results.wanted_seeds > len(results.seeds):
            page.paragraph(
                f"Only {len(results.seeds)} of them ran, so that smaller effects than planned may "
                "have been missed."
            )


def _add_budgets(page: Report, results: StudyResults) -> None:
    page.section("Budgets").table(
        ["variant", "parameters", "steps", "tokens", "FLOPs", "off the base", "seconds a run"],
        [
            [
                arm.name,
                arm.num_parameters,
                arm.steps,
                arm.tokens,
                f"{arm.flops:.4g}",
                f"{arm.budget_error:+.3%}",
                round(arm.elapsed_s, 1),
            ]
            for arm in results.arms
        ],
    )


def _add_runs(page: Report, results: StudyResults) -> None:
    page.section("Runs").table(
        ["variant", "seed", "nats per token", "bits per byte", "diverged"],
        [
            [
                one.arm,
                one.seed,
                None if one.loss is None else f"{one.loss:.4f}",
                None if one.bits_per_byte is None else f"{one.bits_per_byte:.4f}",
                one.failure or "no",
            ]
            for one in results.outcomes
        ],
    )
