"""What one batch of rollouts teaches: advantages, then one or more optimizer steps."""

from collections.abc import Sequence

import numpy as np
import torch

from lm_alignment.log_probs import response_log_probs
from lm_alignment.masking import join_responses
from lm_alignment.rl.advantages import normalize_groups
from lm_alignment.rl.gauges import informative_fraction, summarize_rollouts
from lm_alignment.rl.grpo_config import GRPOConfig
from lm_alignment.rl.policy_update import PolicyBatch, accumulate_policy_gradient, update_policy
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
    """
    batch = _to_batch(model, rollouts, config, pad_token_id)
    updates = [
        _update(model, optimizer, batch.select(rows), config)
        for rows in torch.arange(len(rollouts)).chunk(config.updates_per_step)
    ]
    means = {name: float(np.mean([update[name] for update in updates])) for name in updates[0]}
    informative = informative_fraction(batch.advantages, config.group_size).item()
    tokens = sum(len(rollout.prompt_ids) + len(rollout.token_ids) for rollout in rollouts)
    return summarize_rollouts(rollouts) | {"informative": informative, "tokens": tokens} | means


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
        with torch.no_grad():
            old_log_probs = response_log_probs(model, responses).log_probs
    return PolicyBatch(
        responses=responses,
        advantages=advantages.to(responses.input_ids.device),
        old_log_probs=old_log_probs,
    )


def _update(
    model: TransformerLM, optimizer: torch.optim.Optimizer, batch: PolicyBatch, config: GRPOConfig
) -> dict[str, float]:
    """Take one optimizer step."""
    gradient = accumulate_policy_gradient(
        model,
        batch,
        config.objective,
        config.aggregation,
        max_new_tokens=config.max_new_tokens,
        micro_batch_size=config.micro_batch_size,
    )
    grad_norm = update_policy(model, optimizer, max_grad_norm=config.max_grad_norm)
    return {
        "loss": gradient.loss,
        "grad_norm": grad_norm,
        "clip_fraction": gradient.clip_fraction,
        "kl": gradient.kl,
    }
