"""What one batch of rollouts teaches: advantages, then one or more optimizer steps."""

import math
from collections.abc import Sequence

import numpy as np
import torch

from lm_alignment.log_probs import response_log_probs
from lm_alignment.masking import join_responses
from lm_alignment.optimizer_step import update_parameters
from lm_alignment.rl.advantages import normalize_groups
from lm_alignment.rl.gauges import informative_fraction, summarize_rollouts
from lm_alignment.rl.grpo_config import GRPOConfig
from lm_alignment.rl.policy_update import PolicyBatch, accumulate_policy_gradient
from lm_alignment.rl.rollouts import Rollout
from lm_basics.transformer import TransformerLM


def learn_from_rollouts(
    model: TransformerLM,
    optimizer: torch.optim.Optimizer,
    rollouts: Sequence[Rollout],
    config: GRPOConfig,
    *,
    pad_token_id: int,
) -> dict[str, float]:
    """Update ``model`` on the rollouts of one step and return the step's metrics.

    Args:
        model: The policy that drew the rollouts.
        optimizer: Over the model's parameters.
        rollouts: Groups of ``config.group_size``, in order.
        config: The run's settings.
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
            f"the entropy of the rollouts is {summary['entropy']}: lower the learning rate"
        )
    batch = _to_batch(model, rollouts, config, pad_token_id)
    updates = [
        _update(model, optimizer, batch.select(rows), config)
        for rows in torch.arange(len(rollouts)).chunk(config.updates_per_step)
    ]
    means = {
        name: float(np.mean([update[name] for update in updates]))
        for name in ("loss", "grad_norm", "clip_fraction")
    }
    weights = [update["trained_tokens"] for update in updates]
    trained_tokens = int(sum(weights))
    # An update without any advantage has no divergence to average.
    kl = np.average([one["kl"] for one in updates], weights=weights) if trained_tokens else 0.0
    counts = {
        "tokens": sum(len(rollout.prompt_ids) + len(rollout.token_ids) for rollout in rollouts),
        "trained_tokens": trained_tokens,
        "forward_tokens": _count_forward_tokens(rollouts, batch),
    }
    informative = informative_fraction(batch.advantages, config.group_size).item()
    return summary | {"informative": informative, "kl": float(kl)} | counts | means


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
    model: TransformerLM, optimizer: torch.optim.Optimizer, batch: PolicyBatch, config: GRPOConfig
) -> dict[str, float]:
    """Take one optimizer step and return its numbers."""
    gradient = accumulate_policy_gradient(
        model,
        batch,
        config.objective,
        config.aggregation,
        max_new_tokens=config.max_new_tokens,
        micro_batch_size=config.micro_batch_size,
    )
    grad_norm = update_parameters(
        model, optimizer, loss=gradient.loss, max_grad_norm=config.max_grad_norm
    )
    return {
        "loss": gradient.loss,
        "grad_norm": grad_norm,
        "clip_fraction": gradient.clip_fraction,
        "kl": gradient.kl,
        "trained_tokens": gradient.num_tokens,
    }
