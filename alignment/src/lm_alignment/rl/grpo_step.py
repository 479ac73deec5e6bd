"""What one batch of rollouts teaches: advantages, then one or more updates on their gradient.

A rollout with advantage 0 adds nothing to the gradient and is left out of the passes through the
model. The denominators stay those of the whole batch, so the gradient is the same with and
without it, and the same for every micro-batch size.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from lm_alignment.config import Aggregation, GRPOConfig, Objective
from lm_alignment.masking import ResponseBatch, join_responses, response_log_probs
from lm_alignment.rl.advantages import normalize_groups
from lm_alignment.rl.losses import (
    TokenLosses,
    add_up,
    estimate_kl,
    informative_fraction,
    summarize_rollouts,
    token_losses,
)
from lm_alignment.rl.rollouts import Rollout
from lm_basics.training.updates import GradientSteps
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
    entropy: float | None = None
    """Mean entropy in nats of the same response tokens as ``kl``; None where nobody asked."""


def grpo_microbatch_step(
    objective: Objective,
    aggregation: Aggregation,
    log_probs: Float[Tensor, "batch seq"],
    advantages: Float[Tensor, " batch"] | Float[Tensor, "batch 1"],
    response_mask: Shaped[Tensor, "batch seq"],
    *,
    old_log_probs: Float[Tensor, "batch seq"] | None = None,
    num_rollouts: int | None = None,
    max_new_tokens: int | None = None,
    backward: Callable[[Tensor], None] = Tensor.backward,
) -> tuple[Float[Tensor, ""], TokenLosses]:
    """Go back through these rows' part of the loss and return it, detached, with its tokens.

    Args:
        objective: The loss of a token.
        aggregation: How token losses add up.
        log_probs: Of the labels, with their graph.
        advantages: One number a row.
        response_mask: Which labels are the response's.
        old_log_probs: Under the policy that drew the rows, for objectives that ask.
        num_rollouts: Rows of all micro-batches together; None means that these are all.
        max_new_tokens: Longest possible response, see ``add_up``.
        backward: Leaves the gradients of a loss in the parameters.
    """
    result = token_losses(
        objective,
        log_probs,
        advantages,
        old_log_probs=old_log_probs,
        response_mask=response_mask,
    )
    loss = add_up(
        aggregation,
        result.losses,
        response_mask,
        num_rollouts=num_rollouts,
        max_new_tokens=max_new_tokens,
    )
    backward(loss)
    return loss.detach(), result


def accumulate_policy_gradient(
    model: nn.Module,
    batch: PolicyBatch,
    objective: Objective,
    aggregation: Aggregation,
    *,
    max_new_tokens: int,
    micro_batch_size: int | None = None,
    with_entropy: bool = False,
    backward: Callable[[Tensor], None] = Tensor.backward,
) -> PolicyGradient:
    """Add the gradient of the batch's loss to the parameters' gradients.

    Args:
        model: The policy.
        batch: All rollouts of this step.
        objective: The loss of a token.
        aggregation: How token losses add up.
        max_new_tokens: Longest possible response, for the constant denominator.
        micro_batch_size: Rollouts a pass; None means all at once.
        with_entropy: Whether to measure the entropy, too.
        backward: Leaves the gradients of a loss in the parameters.
    """
    num_rollouts = len(batch.advantages)
    # Rows are left out, but num_rollouts below still counts them.
    kept = batch.advantages.nonzero().flatten()
    # In float64, so that many micro-batches add up to what one batch gives.
    totals = torch.zeros(5, dtype=torch.float64)
    num_tokens = 0
    for rows in kept.split(micro_batch_size or num_rollouts) if len(kept) else ():
        part = batch.select(rows)
        mask = part.responses.response_mask
        scores = response_log_probs(model, part.responses, with_entropy=with_entropy)
        # The present policy is its own past: all ratios are exactly 1.
        present = scores.log_probs.detach()
        old = present if part.old_log_probs is None else part.old_log_probs
        loss, result = grpo_microbatch_step(
            objective,
            aggregation,
            scores.log_probs,
            part.advantages,
            mask,
            old_log_probs=old,
            num_rollouts=num_rollouts,
            max_new_tokens=max_new_tokens,
            backward=backward,
        )
        kl = estimate_kl(present, old, mask) * mask.sum()
        clipped = (result.is_clipped & mask).sum()
        entropy = loss.new_zeros(()) if scores.entropy is None else scores.entropy.sum()
        totals += torch.stack([loss, clipped, mask.sum(), kl, entropy]).double().cpu()
        num_tokens += mask.numel()
    loss, clipped, scored, kl, entropy = totals.tolist()
    return PolicyGradient(
        loss=loss,
        clip_fraction=clipped / int(batch.responses.response_mask.sum()),
        kl=kl / max(1.0, scored),
        num_tokens=num_tokens,
        entropy=entropy / max(1.0, scored) if with_entropy else None,
    )


def learn_from_rollouts(
    model: TransformerLM,
    updates: GradientSteps,
    rollouts: Sequence[Rollout],
    config: GRPOConfig,
    *,
    step: int,
    pad_token_id: int,
) -> dict[str, Any]:
    """Update ``model`` on the rollouts of one step and return the step's metrics.

    Args:
        model: The policy that drew the rollouts.
        updates: Of the model's parameters.
        rollouts: Groups of ``config.group_size``, in order.
        config: The run's settings.
        step: Number of the rollout batch, counted from 1.
        pad_token_id: Fills the rows behind shorter rollouts.

    Returns:
        What the rollouts were like, means over the updates (``kl`` weighted by the tokens of each),
        and three counts: ``tokens`` of all rollouts with their prompts, ``trained_tokens`` that
        went forward and backward, ``forward_tokens`` that went forward only, to draw the rollouts
        and to score them under the old policy.

    Raises:
        FloatingPointError: log-probabilities, the loss or its gradient are not finite.
    """
    summary = summarize_rollouts(rollouts)
    # A broken policy whose answers all earn 0 has no loss that could tell.
    if not math.isfinite(summary["entropy"]):
        raise FloatingPointError(
            f"the entropy of the rollouts is {summary['entropy']} at step {step}: lower the "
            "learning rate"
        )
    batch = _to_batch(model, rollouts, config, pad_token_id)
    taken = [
        _update(model, updates, batch.select(rows), config, step)
        for rows in torch.arange(len(rollouts)).chunk(config.updates_per_step)
    ]
    means = {
        name: float(np.mean([one[name] for one in taken]))
        for name in ("loss", "grad_norm", "clip_fraction")
    }
    weights = [one["trained_tokens"] for one in taken]
    trained_tokens = int(sum(weights))
    # An update without any advantage has no divergence to average.
    kl = np.average([one["kl"] for one in taken], weights=weights) if trained_tokens else 0.0
    counts = {
        "tokens": sum(len(rollout.prompt_ids) + len(rollout.token_ids) for rollout in rollouts),
        "trained_tokens": trained_tokens,
        "forward_tokens": _count_forward_tokens(rollouts, batch),
    }
    others = {
        "informative": informative_fraction(batch.advantages, config.group_size).item(),
        "kl": float(kl),
        "lr_scale": taken[-1]["lr_scale"],
    }
    return summary | others | counts | means


def _count_forward_tokens(rollouts: Sequence[Rollout], batch: PolicyBatch) -> int:
    """Count the tokens of the passes without gradient: generation, and the old policy's."""
    # Equal prompts share one prefill, and the last token of an answer is drawn, never read.
    prompts = {tuple(rollout.prompt_ids) for rollout in rollouts}
    generated = sum(map(len, prompts)) + sum(len(rollout.token_ids) - 1 for rollout in rollouts)
    scored = 0 if batch.old_log_probs is None else batch.responses.input_ids.numel()
    return generated + scored


def _to_batch(
    model: TransformerLM, rollouts: Sequence[Rollout], config: GRPOConfig, pad_token_id: int
) -> PolicyBatch:
    advantages = normalize_groups(
        torch.tensor([rollout.reward.value for rollout in rollouts]),
        config.group_size,
        baseline=config.baseline,
        normalizer=config.normalizer,
        eps=config.advantage_eps,
    )
    responses = join_responses(
        [rollout.prompt_ids for rollout in rollouts],
        [rollout.token_ids for rollout in rollouts],
        pad_token_id=pad_token_id,
    ).to(model.output_weight.device)
    old_log_probs = None
    if config.updates_per_step > 1:
        # From the training model: an engine's numbers may differ by more than a clipping range.
        rows = torch.arange(len(rollouts), device=responses.input_ids.device)
        with torch.no_grad():
            parts = [
                response_log_probs(model, responses.select(part)).log_probs
                for part in rows.split(config.micro_batch_size or len(rollouts))
            ]
        old_log_probs = torch.cat(parts)
    return PolicyBatch(
        responses=responses,
        advantages=advantages.to(responses.input_ids.device),
        old_log_probs=old_log_probs,
    )


def _update(
    model: TransformerLM, updates: GradientSteps, batch: PolicyBatch, config: GRPOConfig, step: int
) -> dict[str, Any]:
    """Take one optimizer step and return its numbers."""
    gradient = accumulate_policy_gradient(
        model,
        batch,
        config.objective,
        config.aggregation,
        max_new_tokens=config.max_new_tokens,
        micro_batch_size=config.micro_batch_size,
        backward=updates.strategy.backward,
    )
    return {
        "loss": gradient.loss,
        **updates.take(step, gradient.loss),
        "clip_fraction": gradient.clip_fraction,
        "kl": gradient.kl,
        "trained_tokens": gradient.num_tokens,
    }
