"""What a study says of its runs: verdicts, table, figures and page."""

from dataclasses import replace

import numpy as np
import pytest

from basics.tests.ablation_studies import SLOW, WILD, outcome, study_of
from lm_basics.ablation import StudyResults, analyze_study
from lm_basics.ablation.page import curve_figure, effect_figure, markdown_table, study_page
from lm_shared.config import from_dict, to_dict

pytestmark = pytest.mark.usefixtures("momentary")


def test_p_values_are_corrected_for_every_variant_also_a_diverged_one() -> None:
    losses = [(3.0, 2.9), (3.1, 3.02), (3.2, 3.08)]
    outcomes = [outcome("base", seed, pair[0]) for seed, pair in enumerate(losses)]
    outcomes += [outcome("slow", seed, pair[1]) for seed, pair in enumerate(losses)]
    alone = analyze_study(study_of(SLOW), outcomes, 3).comparisons[0]
    outcomes += [outcome("wild", seed, [2.0, None, 2.0][seed]) for seed in range(3)]
    both = analyze_study(study_of(SLOW, WILD), outcomes, 3)
    assert alone.p_adjusted is not None
    assert both.comparisons[0].p_adjusted == pytest.approx(2 * alone.p_adjusted)
    # The two seeds that it survived do not count as an effect.
    assert both.comparisons[1].effect is None
    assert alone.effect is not None
    assert alone.effect.mean == pytest.approx(-0.1)


def test_a_missing_run_is_an_error() -> None:
    with pytest.raises(ValueError, match="expected the same seeds for all"):
        analyze_study(study_of(SLOW), [outcome("base", 0, 3.0)], 1)


def test_a_single_seed_is_not_tested() -> None:
    outcomes = [outcome("base", 0, 3.0), outcome("slow", 0, 3.5)]
    results = analyze_study(study_of(SLOW), outcomes, 1)
    assert results.comparisons[0].verdict == "not tested"
    table = markdown_table(results)
    assert "| slow | 12 | 3.5000 | 3.5000 | +0.5000 |  |  | not tested |  |" in table
    assert "; 1 paired seed. " in table
    assert "for 1 variant." in table
    base, slow = results.arms
    off = replace(results, arms=(base, replace(slow, budget_error=-0.02)))
    assert "flops within 2.00%;" in markdown_table(off).lower()


@pytest.mark.usefixtures("drawn")
def test_a_page_shows_the_effects_there_are_beside_a_diverged_variant() -> None:
    outcomes = [
        outcome(name, seed, None if loss is None else loss + seed / 100)
        for name, loss in (("base", 3.0), ("slow", 3.5), ("wild", None))
        for seed in range(3)
    ]
    results = analyze_study(study_of(SLOW, WILD), outcomes, 3)
    assert [one.effect is None for one in results.comparisons] == [False, True]
    html = study_page(results).to_html()
    assert "Mean effect with its confidence interval" in html
    assert "Learning curves" in html


@pytest.mark.usefixtures("drawn")
def test_the_page_holds_table_curves_and_effects() -> None:
    rng = np.random.default_rng(0)
    outcomes = [
        outcome(name, seed, float(loss))
        for name, mean in (("base", 3.0), ("slow", 3.5), ("wild", 3.0))
        for seed, loss in enumerate(rng.normal(mean, 0.01, 4))
    ]
    results = analyze_study(study_of(SLOW, WILD), outcomes, 4)
    assert [one.verdict for one in results.comparisons] == ["worse", "not told apart"]
    assert "| < 0.001 | worse |" in markdown_table(results)
    html = study_page(results).to_html()
    assert html.count("<svg") == 2
    assert "http" not in html.replace("http://www.w3.org", "")
    assert from_dict(StudyResults, to_dict(results)) == results


def test_figures_show_every_arm_at_what_it_has_cost() -> None:
    losses = {"base": 3.0, "slow": 3.5, "wild": 2.5}
    outcomes = [outcome(name, seed, losses[name]) for name in losses for seed in range(2)]
    results = analyze_study(study_of(SLOW, WILD), outcomes, 2)
    for axes, quantity in zip(curve_figure(results).axes, ("tokens", "flops"), strict=True):
        ends = [line.get_xydata().tolist() for line in axes.lines]  # pyright: ignore
        assert ends == [[[getattr(arm, quantity), losses[arm.name]]] for arm in results.arms]
    (axes,) = effect_figure(results).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["slow", "wild"]
    bottom, top = axes.get_ylim()
    assert top < 0 < 1 < bottom
    pairs = [line.get_xydata().tolist() for line in axes.lines if line.get_marker() == "|"]  # pyright: ignore
    assert pairs == [[[0.5, 0], [0.5, 0]], [[-0.5, 1], [-0.5, 1]]]
