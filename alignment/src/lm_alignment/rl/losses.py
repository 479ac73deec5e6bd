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
from jaxtyping import Bool, Float
from torch import Tensor

from lm_alignment.config import (
    Aggregation,
    ImportanceWeighted,
    Objective,
    OnPolicy,
    SequenceClipped,
    SequenceMean,
    TokenClipped,
)
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
    old_log_probs: Float[Tensor, "batch seq"],
    advantages: Float[Tensor, " batch"],
    response_mask: Bool[Tensor, "batch seq"],
) -> TokenLosses:
    """Return the loss of every token under ``objective``."""
    weights = rearrange(advantages, "batch -> batch 1")
    unclipped = torch.zeros_like(response_mask)
    match objective:
        case OnPolicy():
            return TokenLosses(losses=-weights * log_probs, is_clipped=unclipped)
        case ImportanceWeighted():
            ratio = torch.exp(log_probs - old_log_probs)
            return TokenLosses(losses=-weights * ratio, is_clipped=unclipped)
        case TokenClipped():
            ratio = torch.exp(log_probs - old_log_probs)
        case SequenceClipped():
            # Only response tokens count: a mean over the row would depend on its padding.
            difference = (log_probs - old_log_probs) * response_mask
            lengths = response_mask.sum(-1, keepdim=True)
            ratio = torch.exp(difference.sum(-1, keepdim=True) / lengths).expand_as(log_probs)
    # The minimum is the pessimistic one: a ratio that moved the wrong way is never clipped.
    free = weights * ratio
    clipped = weights * ratio.clamp(1 - objective.clip_range, 1 + objective.clip_range)
    return TokenLosses(losses=-torch.minimum(free, clipped), is_clipped=clipped < free)


def add_up(
    aggregation: Aggregation,
    losses: Float[Tensor, "batch seq"],
    response_mask: Bool[Tensor, "batch seq"],
    *,
    num_rollouts: int,
    max_new_tokens: int,
) -> Float[Tensor, ""]:
    """Return the part that these rows have in the loss of ``num_rollouts`` responses.

    ``ConstantSum`` divides by the rollouts times the longest length that they could have.
    """
    if isinstance(aggregation, SequenceMean):
        return aggregate_by_sequence(losses, response_mask, num_sequences=num_rollouts)
    return aggregate_by_constant(losses, response_mask, num_rollouts * max_new_tokens)


def aggregate_by_sequence(
    losses: Float[Tensor, "batch seq"],
    response_mask: Bool[Tensor, "batch seq"],
    *,
    num_sequences: int | None = None,
) -> Float[Tensor, ""]:
    """Return the mean over sequences of each one's mean over response tokens.

    ``num_sequences`` is the denominator where the rows are a part of a larger batch.
    """
    # A response without tokens gives NaN rather than a silent zero.
    per_sequence = (losses * response_mask).sum(-1) / response_mask.sum(-1)
    return per_sequence.sum() / (len(losses) if num_sequences is None else num_sequences)


def aggregate_by_constant(
    losses: Float[Tensor, "batch seq"], response_mask: Bool[Tensor, "batch seq"], constant: float
) -> Float[Tensor, ""]:
    """Return the sum over all response tokens divided by ``constant``."""
    return (losses * response_mask).sum() / constant


def masked_mean(
    values: Float[Tensor, "batch seq"], mask: Bool[Tensor, "batch seq"]
) -> Float[Tensor, ""]:
    """Return the mean where ``mask`` is true; NaN where it is true nowhere."""
    # torch.where and not a product: NaN times 0 is NaN.
    return torch.where(mask, values, 0.0).sum() / mask.sum()


def estimate_kl(
    log_probs: Float[Tensor, "batch seq"],
    old_log_probs: Float[Tensor, "batch seq"],
    response_mask: Bool[Tensor, "batch seq"],
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
