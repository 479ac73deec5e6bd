"""Advantages: how much better a rollout is than the others of its prompt.

For rewards ``r`` of the ``group_size`` rollouts of one prompt, ``A = (r - baseline) / normalizer``:

============  ========  ==========
method        baseline  normalizer
============  ========  ==========
GRPO          mean      std
Dr. GRPO      mean      none
MaxRL         mean      mean
RFT           none      none
============  ========  ==========
"""

from typing import Literal

from einops import rearrange
from jaxtyping import Float
from torch import Tensor

Baseline = Literal["mean", "none"]
Normalizer = Literal["std", "mean", "none"]


def normalize_groups(
    rewards: Float[Tensor, " rollouts"],
    group_size: int,
    *,
    baseline: Baseline = "mean",
    normalizer: Normalizer = "std",
    eps: float = 1e-6,
) -> Float[Tensor, " rollouts"]:
    """Return the advantage of each rollout (Shao et al., 2024; Liu et al., 2025).

    Args:
        rewards: Rollouts of the same prompt stand next to each other.
        group_size: Rollouts per prompt.
        baseline: What is subtracted.
        normalizer: What is divided by; the standard deviation is the unbiased one.
        eps: Added to the normalizer: a group of equal rewards has standard deviation 0.

    Raises:
        ValueError: the rollouts do not divide into groups, or a group of one has no deviation.
    """
    if group_size <= 0 or len(rewards) % group_size:
        raise ValueError(f"{len(rewards)} rollouts do not divide into groups of {group_size}")
    if normalizer == "std" and group_size == 1:
        raise ValueError("the standard deviation needs group_size of at least 2, got 1")
    groups = rearrange(rewards, "(prompts group) -> prompts group", group=group_size)
    mean = groups.mean(-1, keepdim=True)
    advantages = groups - mean if baseline == "mean" else groups
    if normalizer == "std":
        advantages = advantages / (groups.std(-1, keepdim=True, correction=1) + eps)
    elif normalizer == "mean":
        advantages = advantages / (mean + eps)
    return rearrange(advantages, "prompts group -> (prompts group)")
