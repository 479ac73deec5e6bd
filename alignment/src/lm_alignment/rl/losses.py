"""Policy-gradient losses per token, two ways to add them up, and numbers to watch meanwhile.

With the advantage ``A`` of a rollout and ``w = exp(log pi - log pi_old)`` of a token, the four
objectives give every token the loss

* ``OnPolicy``: ``-A log pi``, right only for rollouts of the present policy;
* ``ImportanceWeighted``: ``-A w``;
* ``TokenClipped``: ``-min(A w, A clip(w, 1 - eps, 1 + eps))`` (GRPO, as in PPO);
* ``SequenceClipped``: the same with ``s``, the geometric mean of ``w`` over the response (GSPO).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from lm_alignment.config import (
    Aggregation,
    ImportanceWeighted,
    Objective,
    OnPolicy,
    SequenceClipped,
    SequenceMean,
)
from lm_alignment.masking import masked_mean, masked_normalize
from lm_alignment.rl.rollouts import Rollout


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenLosses:
    """What an objective says about a batch."""

    losses: Float[Tensor, "batch seq"]
    """One loss a token; values outside of the responses have no meaning."""
    is_clipped: Bool[Tensor, "batch seq"]
    """Where the clipped ratio decides the loss, so that no gradient flows."""


def token_losses(
    objective: Objective,
    log_probs: Float[Tensor, "batch seq"],
    advantages: Float[Tensor, " batch"] | Float[Tensor, "batch 1"],
    *,
    old_log_probs: Float[Tensor, "batch seq"] | None = None,
    response_mask: Shaped[Tensor, "batch seq"] | None = None,
) -> TokenLosses:
    """Return the loss of every token under ``objective``.

    Args:
        objective: Which loss.
        log_probs: Of the labels under the present policy.
        advantages: One number a row; raw rewards serve as well.
        old_log_probs: Under the policy that drew the rows; ``OnPolicy`` needs none.
        response_mask: Where the labels are the response's; only ``SequenceClipped`` needs it.

    Raises:
        ValueError: what the objective needs is missing.
    """
    weights = advantages.reshape(-1, 1)
    unclipped = torch.zeros_like(log_probs, dtype=torch.bool)
    if isinstance(objective, OnPolicy):
        return TokenLosses(losses=-weights * log_probs, is_clipped=unclipped)
    if old_log_probs is None:
        raise ValueError(f"{objective} compares with the policy before: give old_log_probs")
    # In bfloat16 most ratios near 1 would be 1.
    difference = log_probs.float() - old_log_probs.float()
    if isinstance(objective, SequenceClipped):
        if response_mask is None:
            raise ValueError(f"{objective} is a mean over the response: give response_mask")
        # Only response tokens count: a mean over the row would depend on its padding.
        mean = masked_mean(difference, response_mask, -1)
        difference = rearrange(mean, "batch -> batch 1").expand_as(log_probs)
    ratio = difference.exp()
    if isinstance(objective, ImportanceWeighted):
        return TokenLosses(losses=-weights * ratio, is_clipped=unclipped)
    # The minimum is the pessimistic one: a ratio that moved the wrong way is never clipped.
    free = weights * ratio
    clipped = weights * ratio.clamp(1 - objective.clip_range, 1 + objective.clip_range)
    return TokenLosses(losses=-torch.minimum(free, clipped), is_clipped=clipped < free)


def add_up(
    aggregation: Aggregation,
    losses: Float[Tensor, "batch seq"],
    response_mask: Shaped[Tensor, "batch seq"],
    *,
    num_rollouts: int | None = None,
    max_new_tokens: int | None = None,
) -> Float[Tensor, ""]:
    """Return the part that these rows have in the loss of a batch.

    Args:
        aggregation: How.
        losses: One a token.
        response_mask: Which tokens count.
        num_rollouts: Rows of the batch; None means that these are all.
        max_new_tokens: Longest possible response; None means as long as the rows. Only a
            ``ConstantSum`` without a constant asks for it.
    """
    batch_size, length = losses.shape
    num_rollouts = num_rollouts or batch_size
    if isinstance(aggregation, SequenceMean):
        return masked_mean(losses, response_mask, -1).sum() / num_rollouts
    constant = aggregation.constant
    if constant is None:
        constant = num_rollouts * (max_new_tokens or length)
    return masked_normalize(losses, response_mask, constant=constant)


def estimate_kl(
    log_probs: Float[Tensor, "batch seq"],
    old_log_probs: Float[Tensor, "batch seq"],
    response_mask: Shaped[Tensor, "batch seq"],
) -> Float[Tensor, ""]:
    """Estimate ``KL(pi_old || pi)`` per token from tokens that ``pi_old`` drew.

    ``(w - 1) - log w`` is unbiased and, unlike ``-log w``, never negative (Schulman, 2020).
    """
    difference = log_probs - old_log_probs
    return masked_mean(difference.exp() - 1 - difference, response_mask)


def informative_fraction(
    advantages: Float[Tensor, " rollouts"], group_size: int
) -> Float[Tensor, ""]:
    """Return the share of groups that teach anything: some advantage in them is not zero."""
    return (advantages.view(-1, group_size) != 0).any(-1).float().mean()


def summarize_rollouts(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Return the means of reward, format, length, truncation and entropy.

    The entropy, in nats per token, is estimated as the mean of ``-log p`` over the sampled tokens.
    That is unbiased at temperature 1, and pruned rollouts need no pass through the model for it.
    """
    # Per token and not per rollout: long answers would otherwise count too little.
    num_tokens = sum(len(rollout.token_ids) for rollout in rollouts)
    total_log_prob = sum(sum(rollout.log_probs) for rollout in rollouts)
    return {
        "reward": _mean([rollout.reward.value for rollout in rollouts]),
        "format": _mean([rollout.reward.parts.get("format", 1.0) for rollout in rollouts]),
        "response_length": num_tokens / len(rollouts),
        "truncated": _mean([float(rollout.is_truncated) for rollout in rollouts]),
        "entropy": -total_log_prob / num_tokens,
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
