"""All settings of this unit, and nothing that computes: no torch is needed to read them.

GRPO's defaults are GRPO. Dr. GRPO is ``normalizer="none"`` with ``ConstantSum``; RFT also has
``baseline="none"``; MaxRL is ``normalizer="mean"`` with ``ConstantSum``; GSPO is
``SequenceClipped``.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from lm_basics.optim.config import AdamWConfig, OptimizerConfig
from lm_basics.optim.schedules import ConstantSchedule, ScheduleConfig
from lm_basics.sampling_config import SamplingConfig

Baseline = Literal["mean", "none"]
Normalizer = Literal["std", "mean", "none"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SFTConfig:
    """Everything but model and data that decides the result."""

    steps: int
    """Optimizer steps, at most."""
    batch_size: int = 32
    """Examples a step."""
    optimizer: OptimizerConfig = field(
        default_factory=lambda: AdamWConfig(lr=1e-3, weight_decay=0.0)
    )
    """The update rule."""
    schedule: ScheduleConfig = field(default_factory=lambda: ConstantSchedule(warmup_fraction=0.1))
    """Learning rate over time."""
    target_loss: float | None = None
    """Training ends early with the first step whose loss is at most this; None means never.

    How fast a model learns depends on its pretraining; its loss says better than a number of steps
    how much it has learned. An answer of n tokens is then right with about exp(-n loss).
    """
    max_grad_norm: float = 1.0
    """Gradients are clipped to this global norm."""
    checkpoint_every: int | None = None
    """Steps between checkpoints; None means only after the last step."""
    keep_checkpoints: int = 1
    """How many of the last checkpoints stay."""
    seed: int = 0
    """Decides the order of the examples."""

    def __post_init__(self) -> None:
        _check_settings(
            self,
            positive=("steps", "batch_size", "max_grad_norm", "keep_checkpoints"),
            positive_or_none=("checkpoint_every",),
        )
        if self.target_loss is not None and math.isnan(self.target_loss):
            raise ValueError("target_loss must be a number or None, got nan")

    def is_target_reached(self, metrics: Mapping[str, float]) -> bool:
        """Say whether the step with these metrics ends the training."""
        return self.target_loss is not None and metrics["loss"] <= self.target_loss


@dataclass(frozen=True, kw_only=True, slots=True)
class DPOConfig:
    """Everything but model and pairs that decides the result of learning from preferences."""

    steps: int
    """Optimizer steps."""
    batch_size: int = 32
    """Pairs a step."""
    beta: float = 0.1
    """How dear it is to leave the reference: gains in log-probability are multiplied by it."""
    optimizer: OptimizerConfig = field(
        default_factory=lambda: AdamWConfig(lr=1e-4, weight_decay=0.0)
    )
    """The update rule."""
    schedule: ScheduleConfig = field(default_factory=lambda: ConstantSchedule(warmup_fraction=0.1))
    """Learning rate over time."""
    max_grad_norm: float = 1.0
    """Gradients are clipped to this global norm."""
    checkpoint_every: int | None = None
    """Steps between checkpoints; None means only after the last step."""
    keep_checkpoints: int = 1
    """How many of the last checkpoints stay."""
    seed: int = 0
    """Decides the order of the pairs."""

    def __post_init__(self) -> None:
        _check_settings(
            self,
            positive=("steps", "batch_size", "beta", "max_grad_norm", "keep_checkpoints"),
            positive_or_none=("checkpoint_every",),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class OnPolicy:
    """REINFORCE (Williams, 1992): right only for rollouts of the present policy."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportanceWeighted:
    """Off-policy correction per token, unclipped."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenClipped:
    """GRPO's clipped surrogate (Eq. 3 of Shao et al., 2024, without the KL term)."""

    clip_range: float = 0.2
    """How far a token's ratio may leave 1 before its gradient stops."""

    def __post_init__(self) -> None:
        _check_clip_range(self.clip_range)


@dataclass(frozen=True, kw_only=True, slots=True)
class SequenceClipped:
    """GSPO's sequence-level surrogate (Eq. 5 to 7 of Zheng et al., 2025)."""

    clip_range: float = 3e-4
    """How far a response's mean ratio may leave 1 before its gradient stops."""

    def __post_init__(self) -> None:
        _check_clip_range(self.clip_range)


Objective = OnPolicy | ImportanceWeighted | TokenClipped | SequenceClipped


@dataclass(frozen=True, kw_only=True, slots=True)
class SequenceMean:
    """The mean over the tokens of each response, then over responses."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ConstantSum:
    """The sum over all tokens divided by how many there could be (Dr. GRPO), or any constant."""

    constant: float | None = None
    """Divides the sum of a whole update; None means its rollouts times the longest answer."""

    def __post_init__(self) -> None:
        if self.constant is not None and not 0 < self.constant < math.inf:
            raise ValueError(f"constant must be positive and finite, got {self.constant}")


Aggregation = SequenceMean | ConstantSum


@dataclass(frozen=True, kw_only=True, slots=True)
class GRPOConfig:
    """Everything but model, questions and reward that decides the result."""

    steps: int
    """Rollout batches."""
    prompts_per_step: int = 16
    """Questions a rollout batch."""
    group_size: int = 8
    """Answers per question."""
    updates_per_step: int = 1
    """Optimizer steps a rollout batch, each on an equal part; all but the first are off-policy."""
    micro_batch_size: int | None = None
    """Rollouts a pass through the model; None means all at once."""
    objective: Objective = field(default_factory=TokenClipped)
    """The loss of a token."""
    aggregation: Aggregation = field(default_factory=SequenceMean)
    """How token losses add up."""
    baseline: Baseline = "mean"
    """What is subtracted from the rewards of a group."""
    normalizer: Normalizer = "std"
    """What they are divided by then."""
    advantage_eps: float = 1e-6
    """Added to the normalizer; positive, as a group's deviation or mean may be 0."""
    optimizer: OptimizerConfig = field(
        default_factory=lambda: AdamWConfig(lr=5e-4, weight_decay=0.0)
    )
    """The update rule."""
    schedule: ScheduleConfig = field(default_factory=ConstantSchedule)
    """Learning rate over time."""
    max_grad_norm: float = 1.0
    """Gradients are clipped to this global norm."""
    max_new_tokens: int = 8
    """Longest answer."""
    temperature: float = 1.0
    """Of the rollouts; only 1 is accepted: at another one they are not drawn from the policy, and
    the gradient would be biased."""
    validate_every: int | None = None
    """Steps between validations; None means only after the last step."""
    checkpoint_every: int | None = None
    """Steps between checkpoints; None means only after the last step."""
    keep_checkpoints: int = 1
    """How many of the last checkpoints stay."""
    seed: int = 0
    """Decides the order of the questions and the sampling."""

    def __post_init__(self) -> None:
        _check_settings(
            self,
            positive=(
                "steps", "prompts_per_step", "updates_per_step", "max_new_tokens", "max_grad_norm",
                "advantage_eps", "keep_checkpoints",
            ),
            positive_or_none=("micro_batch_size", "validate_every", "checkpoint_every"),
        )  # fmt: skip
        if not math.isfinite(self.advantage_eps):
            raise ValueError(f"advantage_eps must be finite, got {self.advantage_eps}")
        if self.group_size < 2:
            raise ValueError(f"group_size must be at least 2, got {self.group_size}")
        if self.temperature != 1:
            raise ValueError(
                "temperature must be 1, for the loss takes rollouts as drawn from the policy "
                f"itself, got {self.temperature}"
            )
        if self.rollouts_per_step % self.updates_per_step:
            raise ValueError(
                f"updates_per_step={self.updates_per_step} does not divide "
                f"{self.rollouts_per_step} rollouts"
            )

    @property
    def rollouts_per_step(self) -> int:
        """Answers in a rollout batch."""
        return self.prompts_per_step * self.group_size

    def rollout_sampling(self, step: int, *, end_token_id: int) -> SamplingConfig:
        """Return how to draw the rollouts of ``step``: seeded by seed and step alone."""
        # SeedSequence spreads neighboring seeds and steps over all 32 bits.
        seed = int(np.random.SeedSequence([self.seed, step]).generate_state(1)[0])
        return SamplingConfig(
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            stop_token_ids=(end_token_id,),
            seed=seed,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationConfig:
    """How answers are drawn."""

    num_examples: int = 256
    """Questions, the first ones of those given."""
    samples_per_example: int = 1
    """Answers to each."""
    temperature: float = 1.0
    """Of the sampling; 0 means the most likely token always."""
    max_new_tokens: int = 8
    """Longest answer."""
    seed: int = 0
    """Of the sampling."""

    def __post_init__(self) -> None:
        for name in ("num_examples", "samples_per_example", "max_new_tokens"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if not self.temperature >= 0 or math.isinf(self.temperature):
            raise ValueError(f"temperature must not be negative but finite, got {self.temperature}")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")


def _check_settings(
    config: Any, *, positive: tuple[str, ...], positive_or_none: tuple[str, ...]
) -> None:
    """Check named fields of ``config``, and that its ``seed`` can seed a generator.

    Raises:
        ValueError: A field is not positive (NaN is not), or the seed is negative; names it.
    """
    for name in positive:
        if not getattr(config, name) > 0:
            raise ValueError(f"{name} must be positive, got {getattr(config, name)}")
    for name in positive_or_none:
        value = getattr(config, name)
        if value is not None and not value > 0:
            raise ValueError(f"{name} must be positive or None, got {value}")
    if config.seed < 0:
        raise ValueError(f"seed must not be negative, got {config.seed}")


def _check_clip_range(clip_range: float) -> None:
    if not 0 < clip_range < math.inf:
        raise ValueError(f"clip_range must be positive and finite, got {clip_range}")
