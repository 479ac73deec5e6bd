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

from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from lm_alignment.config import Baseline, Normalizer


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

    With the baseline ``mean``, equal rewards have the advantage 0, whatever ``eps``.

    Raises:
        ValueError: the rollouts do not divide into groups, a group of one has no deviation, or the
            normalizer ``mean`` meets a negative reward, with which a mean near 0 is no scale.
    """
    if group_size <= 0 or len(rewards) % group_size:
        raise ValueError(f"{len(rewards)} rollouts do not divide into groups of {group_size}")
    if normalizer == "std" and group_size == 1:
        raise ValueError("the standard deviation needs group_size of at least 2, got 1")
    if normalizer == "mean" and (rewards < 0).any():
        raise ValueError(
            f"the normalizer 'mean' needs rewards of at least 0, got {rewards.min().item()}"
        )
    groups = rearrange(rewards, "(prompts group) -> prompts group", group=group_size)
    # From the lowest reward of the group: rounding is then relative to the differences, and not to
    # rewards that may be large and nearly equal.
    above = groups - groups.amin(-1, keepdim=True)
    advantages = above - above.mean(-1, keepdim=True) if baseline == "mean" else groups
    if normalizer == "std":
        advantages = advantages / (above.std(-1, keepdim=True, correction=1) + eps)
    elif normalizer == "mean":
        advantages = advantages / (groups.mean(-1, keepdim=True) + eps)
    if baseline == "mean":
        # Without eps, equal rewards would be 0 / 0.
        advantages = advantages.masked_fill(above.amax(-1, keepdim=True) == 0, 0.0)
    return rearrange(advantages, "prompts group -> (prompts group)")
