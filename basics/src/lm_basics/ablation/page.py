"""The HTML page of a study."""

from lm_basics.ablation.figures import curve_figure, effect_figure
from lm_basics.ablation.results import StudyResults
from lm_basics.ablation.table import describe, table_columns, table_rows
from lm_shared.figures import figure_svg
from lm_shared.report import Report


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
