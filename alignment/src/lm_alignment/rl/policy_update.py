"""The gradient of one batch of rollouts, without passes for those that teach nothing.

A rollout with advantage 0 adds nothing to the gradient and is left out of the passes through the
model. The denominators stay those of the whole batch, so the gradient is the same with and
without it, and the same for every micro-batch size.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lm_alignment.log_probs import response_log_probs
from lm_alignment.masking import ResponseBatch
from lm_alignment.rl.gauges import estimate_kl
from lm_alignment.rl.losses import Aggregation, Objective
from lm_basics.transformer import TransformerLM


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyBatch:
    """Rollouts as tensors."""

    responses: ResponseBatch
    """Prompts and answers."""
    advantages: Float[Tensor, " batch"]
    """One number a rollout."""
    old_log_probs: Float[Tensor, "batch seq"] | None = None
    """Under the policy that drew the rollouts; None where that is the present one."""

    def select(self, rows: Tensor) -> "PolicyBatch":
        """Return only ``rows``, in that order."""
        old = None if self.old_log_probs is None else self.old_log_probs[rows]
        return PolicyBatch(
            responses=self.responses.select(rows),
            advantages=self.advantages[rows],
            old_log_probs=old,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyGradient:
    """What ``accumulate_policy_gradient`` found besides the gradients."""

    loss: float
    """The aggregated loss of the whole batch."""
    clip_fraction: float
    """Share of the batch's response tokens whose gradient the clipping stopped."""
    kl: float
    """Estimated KL divergence per token from the policy that drew the rollouts, in nats.

    The mean over the response tokens that went through the model, those of rollouts with an
    advantage: what the others would add is not known. 0 where there are none.
    """
    num_tokens: int
    """Tokens that went through the model, forward and backward."""


def accumulate_policy_gradient(
    model: TransformerLM,
    batch: PolicyBatch,
    objective: Objective,
    aggregation: Aggregation,
    *,
    max_new_tokens: int,
    micro_batch_size: int | None = None,
) -> PolicyGradient:
    """Add the gradient of the batch's loss to the parameters' gradients.

    Args:
        model: The policy.
        batch: All rollouts of this step.
        objective: The loss of a token.
        aggregation: How token losses add up.
        max_new_tokens: Longest possible response, for the constant denominator.
        micro_batch_size: Rollouts a pass; None means all at once.
    """
    num_rollouts = len(batch.advantages)
    # Rows are left out, but num_rollouts below still counts them.
    kept = batch.advantages.nonzero().flatten()
    # In float64, so that many micro-batches add up to what one batch gives.
    totals = torch.zeros(4, dtype=torch.float64)
    num_tokens = 0
    for rows in kept.split(micro_batch_size or num_rollouts) if len(kept) else ():
        part = batch.select(rows)
        mask = part.responses.response_mask
        log_probs = response_log_probs(model, part.responses).log_probs
        # The present policy is its own past: all ratios are exactly 1.
        old = log_probs.detach() if part.old_log_probs is None else part.old_log_probs
        result = objective.token_losses(log_probs, old, part.advantages, mask)
        loss = aggregation.add_up(
            result.losses, mask, num_rollouts=num_rollouts, max_new_tokens=max_new_tokens
        )
        loss.backward()
        kl = estimate_kl(log_probs.detach(), old, mask) * mask.sum()
        clipped = (result.is_clipped & mask).sum()
        totals += torch.stack([loss.detach(), clipped, kl, mask.sum()]).double().cpu()
        num_tokens += mask.numel()
    num_response_tokens = int(batch.responses.response_mask.sum())
    return PolicyGradient(
        loss=totals[0].item(),
        clip_fraction=totals[1].item() / num_response_tokens,
        kl=totals[2].item() / max(1.0, totals[3].item()),
        num_tokens=num_tokens,
    )
