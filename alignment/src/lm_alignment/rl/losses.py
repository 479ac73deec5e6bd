"""Policy-gradient losses per token, and two ways to add them up.

With the advantage ``A`` of a rollout and ``w = exp(log pi - log pi_old)`` of a token, the four
objectives give every token the loss

* ``OnPolicy``: ``-A log pi``, right only for rollouts of the present policy;
* ``ImportanceWeighted``: ``-A w``;
* ``TokenClipped``: ``-min(A w, A clip(w, 1 - eps, 1 + eps))`` (GRPO, as in PPO);
* ``SequenceClipped``: the same with ``s``, the geometric mean of ``w`` over the response (GSPO).
"""

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenLosses:
    """What an objective says about a batch."""

    losses: Float[Tensor, "batch seq"]
    """One loss a token; values outside of the responses have no meaning."""
    is_clipped: Bool[Tensor, "batch seq"]
    """Where the clipped ratio decides the loss, so that no gradient flows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OnPolicy:
    """REINFORCE (Williams, 1992)."""

    def token_losses(
        self,
        log_probs: Float[Tensor, "batch seq"],
        old_log_probs: Float[Tensor, "batch seq"],
        advantages: Float[Tensor, " batch"],
        response_mask: Bool[Tensor, "batch seq"],
    ) -> TokenLosses:
        """Return ``-A log pi``; the old log-probabilities play no part."""
        losses = -rearrange(advantages, "batch -> batch 1") * log_probs
        return TokenLosses(losses=losses, is_clipped=torch.zeros_like(response_mask))


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportanceWeighted:
    """Off-policy correction per token, unclipped."""

    def token_losses(
        self,
        log_probs: Float[Tensor, "batch seq"],
        old_log_probs: Float[Tensor, "batch seq"],
        advantages: Float[Tensor, " batch"],
        response_mask: Bool[Tensor, "batch seq"],
    ) -> TokenLosses:
        """Return ``-A w``."""
        ratio = torch.exp(log_probs - old_log_probs)
        losses = -rearrange(advantages, "batch -> batch 1") * ratio
        return TokenLosses(losses=losses, is_clipped=torch.zeros_like(response_mask))


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenClipped:
    """GRPO's clipped surrogate (Eq. 3 of Shao et al., 2024, without the KL term)."""

    clip_range: float = 0.2
    """How far a token's ratio may leave 1 before its gradient stops."""

    def __post_init__(self) -> None:
        _check_clip_range(self.clip_range)

    def token_losses(
        self,
        log_probs: Float[Tensor, "batch seq"],
        old_log_probs: Float[Tensor, "batch seq"],
        advantages: Float[Tensor, " batch"],
        response_mask: Bool[Tensor, "batch seq"],
    ) -> TokenLosses:
        """Return ``-min(A w, A clip(w))``."""
        return _clipped_losses(torch.exp(log_probs - old_log_probs), advantages, self.clip_range)


@dataclass(frozen=True, kw_only=True, slots=True)
class SequenceClipped:
    """GSPO's sequence-level surrogate (Eq. 5 to 7 of Zheng et al., 2025)."""

    clip_range: float = 3e-4
    """How far a response's mean ratio may leave 1 before its gradient stops."""

    def __post_init__(self) -> None:
        _check_clip_range(self.clip_range)

    def token_losses(
        self,
        log_probs: Float[Tensor, "batch seq"],
        old_log_probs: Float[Tensor, "batch seq"],
        advantages: Float[Tensor, " batch"],
        response_mask: Bool[Tensor, "batch seq"],
    ) -> TokenLosses:
        """Return ``-min(A s, A clip(s))``, the same for all tokens of a response."""
        # Only response tokens count: a mean over the row would depend on its padding.
        difference = (log_probs - old_log_probs) * response_mask
        lengths = response_mask.sum(-1, keepdim=True)
        ratio = torch.exp(difference.sum(-1, keepdim=True) / lengths)
        return _clipped_losses(ratio.expand_as(log_probs), advantages, self.clip_range)


Objective = OnPolicy | ImportanceWeighted | TokenClipped | SequenceClipped


@dataclass(frozen=True, kw_only=True, slots=True)
class SequenceMean:
    """The mean over the tokens of each response, then over responses."""

    def add_up(
        self,
        losses: Float[Tensor, "batch seq"],
        response_mask: Bool[Tensor, "batch seq"],
        *,
        num_rollouts: int,
        max_new_tokens: int,
    ) -> Float[Tensor, ""]:
        """Return this batch's part of the loss over ``num_rollouts`` responses."""
        return aggregate_by_sequence(losses, response_mask, num_sequences=num_rollouts)


@dataclass(frozen=True, kw_only=True, slots=True)
class ConstantSum:
    """The sum over all tokens divided by how many there could be (Dr. GRPO)."""

    def add_up(
        self,
        losses: Float[Tensor, "batch seq"],
        response_mask: Bool[Tensor, "batch seq"],
        *,
        num_rollouts: int,
        max_new_tokens: int,
    ) -> Float[Tensor, ""]:
        """Return this batch's part of the loss, ``Z`` being rollouts times their longest length."""
        return aggregate_by_constant(losses, response_mask, num_rollouts * max_new_tokens)


Aggregation = SequenceMean | ConstantSum


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


def _clipped_losses(
    ratio: Float[Tensor, "batch seq"], advantages: Float[Tensor, " batch"], clip_range: float
) -> TokenLosses:
    advantages = rearrange(advantages, "batch -> batch 1")
    # The minimum is the pessimistic one: a ratio that moved the wrong way is never clipped.
    free = advantages * ratio
    clipped = advantages * ratio.clamp(1 - clip_range, 1 + clip_range)
    return TokenLosses(losses=-torch.minimum(free, clipped), is_clipped=clipped < free)


def _check_clip_range(clip_range: float) -> None:
    if not 0 < clip_range < 1:
        raise ValueError(f"clip_range must lie between 0 and 1, got {clip_range}")
