"""Experiments of a scaling study: configuration, identity, result, and those of an IsoFLOP sweep.

N counts the parameters that multiply an activation: every matrix and gain with the output head,
without the input table, which is only looked up. Counted so, laws of small models agree with those
of large ones (Porian et al., "Resolving Discrepancies in Compute-Optimal Scaling of Language
Models", 2024).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lm_basics.accounting import count_parameters, training_flops_per_token
from lm_basics.model_config import TransformerConfig
from lm_basics.training.config import TrainingConfig
from lm_scaling.laws.points import ScalingPoint
from lm_shared.config import hash_config

TrainingRule = Callable[[TransformerConfig, int], TrainingConfig]
"""The training of a model for about that many tokens: batch, rate and steps."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExperimentConfig:
    """Everything that decides an experiment's result, but for the data."""

    model: TransformerConfig
    """Shape of the model."""
    training: TrainingConfig
    """Steps, batch, optimizer, schedule and seed; the schedule ends with the run."""

    def identity(self) -> str:
        """Return 16 hex digits that two experiments share exactly when they are equal."""
        return hash_config(self)

    def train_tokens(self) -> int:
        """Return the tokens D that the run trains on."""
        return self.training.steps * self.training.batch_size * self.model.context_length

    def parameters(self) -> int:
        """Return the parameters N that multiply an activation."""
        return effective_parameters(self.model)

    def flops(self) -> float:
        """Return the training FLOPs C, attention and head included."""
        return flops_per_token(self.model) * self.train_tokens()


@dataclass(frozen=True, kw_only=True, slots=True)
class ExperimentResult:
    """What an experiment gave."""

    losses: tuple[float, ...]
    """Validation losses in the order they were taken, nats per token; the last is final."""
    elapsed_s: float
    """Seconds of training and validation."""
    flops: float
    """Training FLOPs."""
    tokens: int
    """Tokens trained on."""
    parameters: int
    """Parameters, as ``ExperimentConfig.parameters`` counts them."""

    def __post_init__(self) -> None:
        if not self.losses:
            raise ValueError("an experiment's result needs at least its final loss, got no losses")

    def point(self) -> ScalingPoint:
        """Return the run as the fits see it."""
        return ScalingPoint(
            parameters=self.parameters, tokens=self.tokens, loss=self.losses[-1], flops=self.flops
        )


def effective_parameters(model: TransformerConfig) -> int:
    """Return the parameters of ``model`` without an untied input table."""
    table = 0 if model.tie_embeddings else model.vocab_size * model.d_model
    return count_parameters(model) - table


def flops_per_token(model: TransformerConfig) -> float:
    """Return the training FLOPs of one token in a full context."""
    return training_flops_per_token(model, model.context_length)


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
