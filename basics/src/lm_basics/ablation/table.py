"""The table of a study, for its page and for Markdown."""

from collections.abc import Mapping

from lm_basics.ablation.results import ArmResult, Comparison, StudyResults
from lm_shared.report import Cell

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
