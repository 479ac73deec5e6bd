"""One update on answers that are there as texts, with any optimizer and any causal model.

``rl.grpo`` draws its answers itself and keeps a run folder; this is the same arithmetic for whoever
has answers from elsewhere, and models and tokenizers of ``transformers``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lm_alignment.config import (
    Aggregation,
    Baseline,
    Normalizer,
    Objective,
    OnPolicy,
    SequenceMean,
)
from lm_alignment.masking import tokenize_prompt_and_output
from lm_alignment.rl.advantages import normalize_groups
from lm_alignment.rl.grpo_step import PolicyBatch, accumulate_policy_gradient
from lm_alignment.verifiers import Grader
from lm_basics.optim.optimizer import clip_gradients
from lm_systems.inference.protocol import TextCodec


def compute_rollout_rewards(
    grader: Grader, responses: Sequence[str], ground_truths: Sequence[str]
) -> tuple[Float[Tensor, " rollouts"], dict[str, float]]:
    """Grade each response; return the rewards, and the mean of everything that was graded.

    Raises:
        ValueError: there are no responses, or unequal numbers of both.
    """
    if not responses or len(responses) != len(ground_truths):
        raise ValueError(
            f"expected as many ground truths as responses and at least one, got {len(responses)} "
            f"responses and {len(ground_truths)} ground truths"
        )
    grades = [grader(*pair) for pair in zip(responses, ground_truths, strict=True)]
    means = {name: sum(one[name] for one in grades) / len(grades) for name in grades[0]}
    return torch.tensor([float(one["reward"]) for one in grades]), means


@dataclass(frozen=True, kw_only=True, slots=True)
class TextStepConfig:
    """How rewards become an update; the defaults are GRPO on its own policy."""

    group_size: int
    """Answers per question; answers to one question stand together."""
    objective: Objective = field(default_factory=OnPolicy)
    """The loss of a token."""
    aggregation: Aggregation = field(default_factory=SequenceMean)
    """How token losses add up."""
    baseline: Baseline = "mean"
    """What is subtracted from the rewards of a group."""
    normalizer: Normalizer = "std"
    """What they are divided by then."""
    advantage_eps: float = 1e-6
    """Added to the normalizer."""
    micro_batch_size: int | None = None
    """Answers a pass through the model; None means all at once."""
    max_grad_norm: float | None = 1.0
    """Gradients are clipped to this global norm; None means not at all."""


def grpo_text_step(
    model: nn.Module,
    tokenizer: TextCodec,
    optimizer: torch.optim.Optimizer,
    prompts: Sequence[str],
    responses: Sequence[str],
    rewards: Float[Tensor, " rollouts"],
    config: TextStepConfig,
    *,
    pad_token_id: int,
    old_log_probs: Float[Tensor, "rollouts seq"] | None = None,
) -> dict[str, float]:
    """Take one optimizer step; every gradient is None before and after it.

    Args:
        model: The policy, on its device.
        tokenizer: The model's.
        optimizer: Of the model's parameters.
        prompts: One for each response.
        responses: What the policy answered.
        rewards: One for each response, see ``compute_rollout_rewards``.
        config: How to learn from them.
        pad_token_id: Fills the rows behind shorter ones.
        old_log_probs: Of the labels of ``tokenize_prompt_and_output``, under the policy that drew
            the responses; None where that is the present one.

    Returns:
        ``loss`` of the batch, ``grad_norm`` before clipping, ``clip_fraction``, ``kl`` and
        ``entropy`` of the response tokens with an advantage, and the mean ``reward``.

    Raises:
        ValueError: the rewards do not divide into groups, or a prompt is empty.
    """
    advantages = normalize_groups(
        rewards,
        config.group_size,
        baseline=config.baseline,
        normalizer=config.normalizer,
        eps=config.advantage_eps,
    )
    batch = tokenize_prompt_and_output(prompts, responses, tokenizer, pad_token_id=pad_token_id)
    device = next(model.parameters()).device
    optimizer.zero_grad(set_to_none=True)
    gradient = accumulate_policy_gradient(
        model,
        PolicyBatch(
            responses=batch.to(device),
            advantages=advantages.to(device),
            old_log_probs=None if old_log_probs is None else old_log_probs.to(device),
        ),
        config.objective,
        config.aggregation,
        max_new_tokens=batch.response_mask.shape[1],
        micro_batch_size=config.micro_batch_size,
        with_entropy=True,
    )
    # An infinite limit clips nothing, and the norm is measured all the same.
    max_grad_norm = torch.inf if config.max_grad_norm is None else config.max_grad_norm
    grad_norm = clip_gradients(model.parameters(), max_grad_norm)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return {
        "loss": gradient.loss,
        "grad_norm": grad_norm.item(),
        "clip_fraction": gradient.clip_fraction,
        "kl": gradient.kl,
        "entropy": gradient.entropy or 0.0,
        "reward": rewards.mean().item(),
    }
