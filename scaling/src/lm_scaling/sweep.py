"""An IsoFLOP sweep: which experiments to run at each budget, and their results as points."""

import math
from collections.abc import Callable, Sequence

from lm_basics.model_config import TransformerConfig
from lm_basics.training.config import TrainingConfig
from lm_scaling.backends import Backend
from lm_scaling.experiment import ExperimentConfig, ExperimentResult, flops_per_token

TrainingRule = Callable[[TransformerConfig, int], TrainingConfig]
"""The training of a model for about that many tokens: batch, rate and steps."""


def isoflop_experiments(
    models: Sequence[TransformerConfig],
    budgets: Sequence[float],
    training_rule: TrainingRule,
    *,
    min_steps: int = 1,
) -> list[ExperimentConfig]:
    """Return one experiment per budget and model, each spending about the budget's FLOPs.

    Combinations that leave a model fewer than ``min_steps`` steps are left out: so short a run
    measures its warm-up, not its data.

    Raises:
        ValueError: No models, no budgets, or one that is not positive and finite.
    """
    if not models or not budgets or not all(0 < budget < math.inf for budget in budgets):
        raise ValueError(f"expected models and positive budgets, got {len(models)} and {budgets}")
    experiments = []
    # Cheapest first: a mistake in the rule shows before the long runs start.
    for budget in sorted(budgets):
        for model in models:
            training = training_rule(model, round(budget / flops_per_token(model)))
            if training.steps >= min_steps:
                experiments.append(ExperimentConfig(model=model, training=training))
    return experiments


def run_sweep(
    backend: Backend,
    experiments: Sequence[ExperimentConfig],
    *,
    on_result: Callable[[ExperimentConfig, ExperimentResult], None] | None = None,
) -> list[ExperimentResult]:
    """Run ``experiments`` in order; ``on_result`` sees each one as it finishes."""
    results = []
    for config in experiments:
        result = backend.run(config)
        results.append(result)
        if on_result is not None:
            on_result(config, result)
    return results
