"""Functions without parameters: softmax, SiLU, attention, cross-entropy."""

import torch
from einops import einsum
from jaxtyping import Bool, Float, Int
from torch import Tensor


def softmax(x: Float[Tensor, "*shape"], dim: int) -> Float[Tensor, "*shape"]:
    """Normalize ``exp(x)`` to sum to one along ``dim``; the maximum is subtracted first."""
    exponentials = torch.exp(x - x.amax(dim, keepdim=True))
    total = exponentials.sum(dim, keepdim=True, dtype=_sum_dtype(exponentials))
    return (exponentials / total).to(exponentials.dtype)


def log_softmax(x: Float[Tensor, "*shape"], dim: int) -> Float[Tensor, "*shape"]:
    """Return the logarithm of ``softmax`` without ever forming it."""
    shifted = x - x.amax(dim, keepdim=True)
    exponentials = shifted.exp()
    total = exponentials.sum(dim, keepdim=True, dtype=_sum_dtype(exponentials))
    return (shifted - total.log()).to(exponentials.dtype)


def _sum_dtype(x: Tensor) -> torch.dtype | None:
    """Return a type that holds sums over a vocabulary: float16 ends at 65,504; None: as it is."""
    return torch.float32 if x.dtype == torch.float16 else None


def silu(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return ``x * sigmoid(x)`` (Elfwing et al., 2017)."""
    return x * torch.sigmoid(x)


def gelu(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return ``x`` times the normal distribution function at ``x`` (Hendrycks & Gimpel, 2016)."""
    return x * 0.5 * (1 + torch.erf(x / 2**0.5))


def relu_squared(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return ``max(x, 0)**2`` (So et al., 2021)."""
    return x.clamp(min=0).square()


def scaled_dot_product_attention(
    q: Float[Tensor, "*batch queries d_k"],
    k: Float[Tensor, "*batch keys d_k"],
    v: Float[Tensor, "*batch keys d_v"],
    mask: Bool[Tensor, "*#batch queries keys"] | None = None,
) -> Float[Tensor, "*batch queries d_v"]:
    """Return ``softmax(q k^T / sqrt(d_k)) v`` (Eq. 1 of Vaswani et al., 2017).

    Args:
        q: Queries.
        k: Keys.
        v: Values.
        mask: True where a query may attend to a key; every query needs at least one.
    """
    scores = einsum(q, k, "... queries d, ... keys d -> ... queries keys") * q.shape[-1] ** -0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    weights = softmax(scores, dim=-1)
    return einsum(weights, v, "... queries keys, ... keys d -> ... queries d")


def cross_entropy(
    logits: Float[Tensor, "*batch vocab"], targets: Int[Tensor, "*batch"]
) -> Float[Tensor, ""]:
    """Return the mean of ``-log softmax(logits)[target]`` over all positions, in nats.

    Logits of 16 bits are widened: the loss is computed and returned in float32, in float64 for
    logits of 64 bits. It is the same in the operations that form no logits.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    shifted = logits - logits.amax(-1, keepdim=True)
    log_normalizer = shifted.exp().sum(-1).log()
    chosen = shifted.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    return (log_normalizer - chosen).mean()
