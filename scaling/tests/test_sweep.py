from dataclasses import replace

import pytest

from lm_basics.model_config import TransformerConfig
from lm_basics.training.config import TrainingConfig
from lm_scaling.backends import SimulatorBackend, run_sweep
from lm_scaling.experiment import flops_per_token, isoflop_experiments
from lm_scaling.laws.isoflop import fit_isoflop
from lm_scaling.laws.parametric import ParametricLaw
from lm_scaling.laws.points import group_by_budget


def training_rule(model: TransformerConfig, tokens: int) -> TrainingConfig:
    return TrainingConfig(steps=max(1, round(tokens / (4 * model.context_length))), batch_size=4)


@pytest.fixture
def models(tiny_model: TransformerConfig) -> list[TransformerConfig]:
    return [replace(tiny_model, d_model=width) for width in (16, 32, 64, 128)]


def test_every_experiment_spends_its_budget(models: list[TransformerConfig]) -> None:
    budgets = [1e10, 1e9]
    experiments = isoflop_experiments(models, budgets, training_rule)
    assert [config.model for config in experiments] == [*models, *models]
    for config, budget in zip(experiments, [1e9] * 4 + [1e10] * 4, strict=True):
        # A step of the widest model is the coarsest share of the smallest budget.
        step = 4 * 16 * flops_per_token(config.model)
        assert abs(config.flops() - budget) <= step


def test_runs_too_short_to_measure_are_left_out(models: list[TransformerConfig]) -> None:
    everything = isoflop_experiments(models, [1e9], training_rule)
    shortest = min(config.training.steps for config in everything)
    kept = isoflop_experiments(models, [1e9], training_rule, min_steps=shortest + 1)
    assert len(kept) == len(everything) - 1


def test_a_sweep_finds_the_optimum_of_a_simulated_law(models: list[TransformerConfig]) -> None:
    truth = ParametricLaw(E=1.0, A=30.0, B=120.0, alpha=0.4, beta=0.4)
    experiments = isoflop_experiments(models, [3e9, 1e10, 3e10], training_rule)
    results = run_sweep(SimulatorBackend(law=truth, noise=0.0), experiments)
    fit = fit_isoflop([result.point() for result in results], tolerance=0.1)
    assert fit.parameters_law.exponent == pytest.approx(0.5, abs=0.12)


def test_results_come_in_order_and_are_shown_as_they_finish(models) -> None:
    law = ParametricLaw(E=1.0, A=30.0, B=120.0, alpha=0.4, beta=0.4)
    experiments = isoflop_experiments(models, [1e9, 1e10], training_rule)
    seen = []
    results = run_sweep(
        SimulatorBackend(law=law), experiments, on_result=lambda *pair: seen.append(pair)
    )
    assert seen == list(zip(experiments, results, strict=True))
    groups = group_by_budget([result.point() for result in results], tolerance=0.2)
    assert [len(group) for group in groups.values()] == [4, 4]


@pytest.mark.parametrize("budgets", [[], [1e9, 0.0], [1e9, float("nan")]])
def test_a_sweep_needs_models_and_budgets(models, budgets: list[float]) -> None:
    with pytest.raises(ValueError, match="expected models and positive budgets"):
        isoflop_experiments(models, budgets, training_rule)
    with pytest.raises(ValueError, match="got 0 and"):
        isoflop_experiments([], [1e9], training_rule)
