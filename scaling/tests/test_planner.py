import math
from dataclasses import replace

import pytest

from lm_scaling.laws.parametric import ParametricLaw, effective_tokens
from lm_scaling.planner import Candidate, Plan, plan
from lm_shared.config import from_dict, to_dict
from scaling.tests.conftest import grid_points

SIZES, TOKENS = (3.5e5, 7.5e5, 1.5e6), (2e5, 4e5, 8e5)


@pytest.fixture
def points(tiny_law: ParametricLaw):
    return grid_points(tiny_law, SIZES, TOKENS)


@pytest.fixture
def candidates() -> list[Candidate]:
    return [
        Candidate(
            name=f"{size:.0e}",
            parameters=size,
            flops_per_token=6 * size,
            seconds_per_token=6 * size / 1e11,
        )
        for size in (3e5, 1e6, 3e6, 1e7, 3e7)
    ]


def test_the_chosen_model_is_the_best_under_the_true_law(points, candidates, tiny_law) -> None:
    planned = plan(points, candidates, budget_flops=1e14)
    by_truth = min(
        candidates,
        key=lambda one: tiny_law.predict(one.parameters, 1e14 / one.flops_per_token),
    )
    assert planned.chosen == by_truth.name
    truth = tiny_law.predict(by_truth.parameters, planned.tokens)
    assert planned.predicted_loss == pytest.approx(truth, rel=0.01)
    assert truth in planned.interval


def test_more_compute_never_chooses_a_smaller_model(points, candidates) -> None:
    chosen = [
        float(plan(points, candidates, budget_flops=flops).chosen)
        for flops in (1e12, 1e13, 1e14, 1e15, 1e16)
    ]
    assert chosen == sorted(chosen)
    assert chosen[0] < chosen[-1]


def test_seconds_and_flops_agree_at_a_known_speed(points, candidates) -> None:
    by_time = plan(points, candidates, budget_s=1000.0)
    by_flops = plan(points, candidates, budget_flops=1e14)
    assert by_time.chosen == by_flops.chosen
    assert by_time.tokens == pytest.approx(by_flops.tokens, abs=1)


def test_a_slow_model_loses_to_a_fast_one(points, candidates) -> None:
    best = plan(points, candidates, budget_s=1000.0).chosen
    slowed = [
        replace(one, seconds_per_token=50 * (one.seconds_per_token or 0))
        if one.name == best
        else one
        for one in candidates
    ]
    assert plan(points, slowed, budget_s=1000.0).chosen != best


def test_overhead_is_paid_before_any_token(points) -> None:
    candidate = Candidate(
        name="one", parameters=1e6, flops_per_token=6e6, seconds_per_token=1e-4, overhead_s=20.0
    )
    planned = plan(points, [candidate], budget_s=120.0, tokens_multiple=4096)
    assert planned.tokens == 1_000_000 // 4096 * 4096
    assert planned.alternatives[0].seconds == pytest.approx(120.0, abs=0.5)
    with pytest.raises(ValueError, match=r"the budget of 15.0 s buys no candidate 4096 tokens"):
        plan(points, [candidate], budget_s=15.0, tokens_multiple=4096)


def test_repeated_tokens_count_for_less(points, candidates) -> None:
    fresh = plan(points, candidates, budget_flops=1e15)
    repeated = plan(points, candidates, budget_flops=1e15, unique_tokens=1e6)
    assert repeated.predicted_loss > fresh.predicted_loss
    # Where data is short, a larger model is the better use of the compute.
    assert float(repeated.chosen) >= float(fresh.chosen)
    best = repeated.alternatives[0]
    assert best.epochs == pytest.approx(best.tokens / 1e6)
    assert best.effective_tokens == effective_tokens(best.tokens, 1e6)


def test_repeats_within_the_sweep_do_not_mislead_the_plan(candidates, tiny_law) -> None:
    # Runs of up to sixteen epochs whose losses follow from what their tokens are worth.
    unique_tokens = 5e4
    repeated = [
        replace(
            point,
            loss=tiny_law.predict(point.parameters, effective_tokens(point.tokens, unique_tokens)),
        )
        for point in grid_points(tiny_law, SIZES, TOKENS)
    ]
    planned = plan(repeated, candidates, budget_flops=1e13, unique_tokens=unique_tokens)
    best = planned.alternatives[0]
    truth = tiny_law.predict(best.parameters, best.effective_tokens)
    assert planned.predicted_loss == pytest.approx(truth, rel=2e-3)


def test_epochs_are_bounded(points, candidates) -> None:
    planned = plan(points, candidates, budget_flops=1e15, unique_tokens=1e6, max_epochs=3)
    assert {run.tokens for run in planned.alternatives} == {3_000_000}
    assert {run.epochs for run in planned.alternatives} == {3.0}
    assert planned.chosen == max(candidates, key=lambda one: one.parameters).name


def test_alternatives_are_sorted_and_complete(points, candidates) -> None:
    planned = plan(points, candidates, budget_flops=1e14)
    losses = [run.predicted_loss for run in planned.alternatives]
    assert losses == sorted(losses)
    assert {run.name for run in planned.alternatives} == {one.name for one in candidates}
    best = planned.alternatives[0]
    assert (best.name, best.tokens) == (planned.chosen, planned.tokens)
    assert planned.extrapolation == pytest.approx(best.flops / (6 * 1.5e6 * 8e5))


def test_a_plan_is_deterministic_and_survives_json(points, candidates) -> None:
    planned = plan(points, candidates, budget_s=1000.0, unique_tokens=1e6, tokens_multiple=512)
    again = plan(points, candidates[::-1], budget_s=1000.0, unique_tokens=1e6, tokens_multiple=512)
    assert planned == again
    assert from_dict(Plan, to_dict(planned)) == planned


def test_steps_are_whole(points, candidates) -> None:
    planned = plan(points, candidates, budget_flops=1e14, tokens_multiple=8192)
    assert all(run.tokens % 8192 == 0 for run in planned.alternatives)


def test_exactly_one_budget_is_needed(points, candidates) -> None:
    with pytest.raises(ValueError, match="either budget_s or budget_flops"):
        plan(points, candidates)
    with pytest.raises(ValueError, match="either budget_s or budget_flops"):
        plan(points, candidates, budget_s=1.0, budget_flops=1.0)


def test_bad_requests_are_refused(points, candidates) -> None:
    with pytest.raises(ValueError, match="different names"):
        plan(points, [candidates[0], candidates[0]], budget_flops=1e14)
    with pytest.raises(ValueError, match="different names"):
        plan(points, [], budget_flops=1e14)
    unmeasured = replace(candidates[0], seconds_per_token=None)
    with pytest.raises(ValueError, match=r"missing for \['3e\+05'\]"):
        plan(points, [unmeasured], budget_s=10.0)
    with pytest.raises(ValueError, match="tokens_multiple >= 1"):
        plan(points, candidates, budget_flops=1e14, tokens_multiple=0)


@pytest.mark.parametrize("value", [math.inf, math.nan, -1.0])
@pytest.mark.parametrize("name", ["budget_s", "budget_flops", "unique_tokens"])
def test_budgets_and_data_are_positive_and_finite(points, candidates, name, value) -> None:
    budget = {} if name.startswith("budget") else {"budget_flops": 1e14}
    with pytest.raises(ValueError, match=f"{name} must be positive and finite, got {value}"):
        plan(points, candidates, **budget, **{name: value})


def test_epochs_need_data_to_count_them_by(points, candidates) -> None:
    with pytest.raises(ValueError, match=r"max_epochs=3 needs unique_tokens"):
        plan(points, candidates, budget_flops=1e14, max_epochs=3)
    with pytest.raises(ValueError, match="max_epochs > 0"):
        plan(points, candidates, budget_flops=1e14, unique_tokens=1e6, max_epochs=math.nan)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("parameters", 0.0),
        ("parameters", math.inf),
        ("flops_per_token", -1.0),
        ("seconds_per_token", 0.0),
        ("seconds_per_token", math.nan),
    ],
)
def test_a_candidate_has_positive_costs(name: str, value: float) -> None:
    values = {"parameters": 1.0, "flops_per_token": 1.0, name: value}
    with pytest.raises(ValueError, match=f"one: {name} must be positive"):
        Candidate(name="one", **values)
    for overhead_s in (-math.pi, math.nan, math.inf):
        with pytest.raises(ValueError, match="overhead_s must not be negative"):
            Candidate(name="one", parameters=1.0, flops_per_token=1.0, overhead_s=overhead_s)
