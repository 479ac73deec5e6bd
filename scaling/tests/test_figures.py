import pytest
from matplotlib.figure import Figure

from lm_scaling.figures import isoflop_figure, power_law_figure
from lm_scaling.laws.isoflop import fit_isoflop
from lm_scaling.laws.parametric import ParametricLaw
from lm_scaling.laws.points import ScalingPoint
from lm_scaling.planner import Candidate, plan
from lm_shared.figures import figure_svg


@pytest.fixture
def points(tiny_law: ParametricLaw) -> list[ScalingPoint]:
    """Two budgets of four sizes around their optima."""
    return [
        ScalingPoint.from_budget(
            parameters=size, flops=flops, loss=tiny_law.predict(size, flops / (6 * size))
        )
        for flops in (1e12, 1e13)
        for size in (factor * tiny_law.optimum(flops).parameters for factor in (0.3, 0.8, 1.5, 4.0))
    ]


@pytest.fixture
def planned(points: list[ScalingPoint]):
    candidates = [Candidate(name="one", parameters=2e6, flops_per_token=1.2e7)]
    return plan(points, candidates, budget_flops=1e14)


def markers(figure: Figure, panel: int, marker: str) -> list[tuple[float, float]]:
    return [
        (float(x), float(y))
        for line in figure.axes[panel].lines
        if line.get_marker() == marker
        for x, y in line.get_xydata()  # pyright: ignore[reportGeneralTypeIssues]
    ]


def legend(figure: Figure, panel: int) -> list[str]:
    _, labels = figure.axes[panel].get_legend_handles_labels()
    return sorted(labels, key=["sweep", "law", "predicted", "obtained"].index)


def test_every_run_and_every_optimum_is_drawn(points: list[ScalingPoint]) -> None:
    figure = isoflop_figure(points)
    drawn = sorted(markers(figure, 0, "o"))
    assert drawn == sorted((point.parameters, point.loss) for point in points)
    stars = sorted(markers(figure, 0, "*"))
    expected = sorted((o.parameters, o.loss) for o in fit_isoflop(points).optima)
    assert [value for star in stars for value in star] == pytest.approx(
        [value for optimum in expected for value in optimum]
    )


def test_budgets_without_a_valley_are_drawn_without_an_optimum(tiny_law) -> None:
    pair = [
        ScalingPoint.from_budget(parameters=size, flops=1e12, loss=loss)
        for size, loss in ((1e5, 4.0), (2e5, 3.9))
    ]
    figure = isoflop_figure(pair)
    assert len(markers(figure, 0, "o")) == 2
    assert markers(figure, 0, "*") == []


def test_the_prediction_and_the_loss_obtained_stand_at_the_planned_compute(points, planned) -> None:
    figure = isoflop_figure(points, planned=planned, obtained_loss=3.3)
    best = planned.alternatives[0]
    assert markers(figure, 1, "*") == [(best.flops, 3.3)]
    assert markers(figure, 1, "s") == [(best.flops, planned.predicted_loss)]
    assert legend(figure, 1) == ["sweep", "law", "predicted", "obtained"]
    assert legend(isoflop_figure(points, planned=planned), 1) == ["sweep", "law", "predicted"]


def test_power_laws_reach_the_asked_budget(points: list[ScalingPoint]) -> None:
    fit = fit_isoflop(points)
    figure = power_law_figure(fit, flops=1e16)
    assert markers(figure, 0, "s") == [(1e16, pytest.approx(fit.parameters_law(1e16)))]
    assert markers(figure, 1, "s") == [(1e16, pytest.approx(fit.tokens_law(1e16)))]
    assert len(markers(figure, 0, "o")) == 2


def test_figures_have_the_same_bytes_again(points: list[ScalingPoint], planned) -> None:
    first, second = (
        figure_svg(isoflop_figure(points, planned=planned, obtained_loss=3.3)) for _ in range(2)
    )
    assert first == second
    assert first.startswith("<svg")


def test_empty_figures_are_refused(points: list[ScalingPoint]) -> None:
    with pytest.raises(ValueError, match="at least one run"):
        isoflop_figure([])
    with pytest.raises(ValueError, match="needs the plan"):
        isoflop_figure(points, obtained_loss=3.3)
    with pytest.raises(ValueError, match="flops must be positive"):
        power_law_figure(fit_isoflop(points), flops=0.0)


def test_a_vertex_beyond_all_numbers_is_not_drawn() -> None:
    points = [
        ScalingPoint.from_budget(parameters=size, flops=1e15, loss=loss)
        for size, loss in ((1e6, 3.0), (2e6, 2.9), (4e6, 2.8 + 1e-6))
    ]
    assert markers(isoflop_figure(points), 0, "*") == []
