"""Numbers to watch while a policy learns: none of them changes the training."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lm_alignment.rl.rollouts import Rollout


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
