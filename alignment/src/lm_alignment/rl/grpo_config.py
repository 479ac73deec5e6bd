"""The configuration of group-relative policy optimization and of its relatives.

GRPO is the default. Dr. GRPO is ``normalizer="none"`` with ``ConstantSum``; RFT also has
``baseline="none"``; MaxRL is ``normalizer="mean"`` with ``ConstantSum``; GSPO is
``SequenceClipped``.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from lm_alignment.rl.advantages import Baseline, Normalizer
from lm_alignment.rl.losses import Aggregation, Objective, SequenceMean, TokenClipped
from lm_alignment.settings import check_settings
from lm_basics.optim.config import AdamWConfig, OptimizerConfig
from lm_basics.optim.schedules import ConstantSchedule, ScheduleConfig
from lm_basics.sampling_config import SamplingConfig


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
    """Steps between validations; None means never."""
    checkpoint_every: int | None = None
    """Steps between checkpoints; None means only after the last step."""
    seed: int = 0
    """Decides the order of the questions and the sampling."""

    def __post_init__(self) -> None:
        check_settings(
            self,
            positive=(
                "steps", "prompts_per_step", "updates_per_step", "max_new_tokens", "max_grad_norm",
                "advantage_eps",
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

    def is_validation_due(self, step: int) -> bool:
        """Say whether the model is measured once ``step`` steps are done."""
        return self.validate_every is not None and step % self.validate_every == 0

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
