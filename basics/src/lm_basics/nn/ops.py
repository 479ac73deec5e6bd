"""Functions without parameters, and which of them a faster library may replace.

A model holds an ``Ops`` record and calls through it. ``lm_systems`` builds records with the same
signatures from compiled code or Triton kernels, so no layer ever asks which one it runs on.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from einops import einsum, repeat
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lm_shared.tensors import compile_for_one_shape

IGNORED_TARGET = -100
"""Targets with this value take no part in the loss."""

TensorFunction = Callable[..., Tensor]


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


@runtime_checkable
class AttentionOp(Protocol):
    """Causal attention; key slot ``j`` holds absolute position ``j``."""

    def __call__(
        self,
        q: Float[Tensor, "batch heads queries d_head"],
        k: Float[Tensor, "batch kv_heads keys d_head"],
        v: Float[Tensor, "batch kv_heads keys d_head"],
        query_positions: Int[Tensor, "batch queries"] | None = None,
        *,
        window: int | None = None,
        documents: Int[Tensor, "batch keys"] | None = None,
    ) -> Float[Tensor, "batch heads queries d_head"]:
        """Let each query attend to the keys at its own position and before it.

        Args:
            q: Queries.
            k: Keys.
            v: Values.
            query_positions: Position of each query; None means that query ``i`` stands at ``i``.
            window: Keys that a query sees, its own included; None means all.
            documents: Number of the document of each key, and of the query at the same place; a
                query sees its own document alone. None means that there is one. Not with a cache.
        """
        ...


@runtime_checkable
class LinearCrossEntropyOp(Protocol):
    """The output head and the loss in one, so that a fast version need not keep the logits."""

    def __call__(
        self,
        hidden: Float[Tensor, "tokens d_model"],
        weight: Float[Tensor, "vocab d_model"],
        targets: Int[Tensor, " tokens"],
    ) -> Float[Tensor, ""]:
        """Return the mean cross-entropy in nats over the targets that are not ignored.

        In the type of ``cross_entropy``: float32 at the least.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Ops:
    """One implementation of every replaceable operation."""

    name: str
    """What a saved config calls this record."""
    rms_norm: Callable[[Tensor, Tensor, float], Tensor]
    """(x, gain, eps) -> normalized x, computed in float32."""
    rope: Callable[[Tensor, Tensor, Tensor], Tensor]
    """(x, cos, sin) -> x with interleaved pairs rotated."""
    swiglu: Callable[[Tensor, Tensor], Tensor]
    """(gate, up) -> silu(gate) * up."""
    attention: AttentionOp
    """Grouped-query causal attention."""
    linear_cross_entropy: LinearCrossEntropyOp
    """Output head and loss."""
    compile_step: Callable[[TensorFunction], TensorFunction]
    """Wraps a whole forward function, or returns it as it is."""


def rms_norm(
    x: Float[Tensor, "*batch d_model"], gain: Float[Tensor, " d_model"], eps: float
) -> Float[Tensor, "*batch d_model"]:
    """Normalize in float32, where squares keep their precision, and return ``x``'s dtype."""
    y = x.float()
    y = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + eps)
    return (y * gain).to(x.dtype)


def rope(
    x: Float[Tensor, "*batch seq d_k"],
    cos: Float[Tensor, "*#batch seq half"],
    sin: Float[Tensor, "*#batch seq half"],
) -> Float[Tensor, "*batch seq d_k"]:
    """Rotate the interleaved pairs of ``x`` and return its dtype."""
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    rotated = torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1)
    return rotated.flatten(-2).to(x.dtype)


def swiglu(
    gate: Float[Tensor, "*batch d_ff"], up: Float[Tensor, "*batch d_ff"]
) -> Float[Tensor, "*batch d_ff"]:
    """Return ``silu(gate) * up``."""
    return silu(gate) * up


def attention(
    q: Float[Tensor, "batch heads queries d_head"],
    k: Float[Tensor, "batch kv_heads keys d_head"],
    v: Float[Tensor, "batch kv_heads keys d_head"],
    query_positions: Int[Tensor, "batch queries"] | None = None,
    *,
    window: int | None = None,
    documents: Int[Tensor, "batch keys"] | None = None,
) -> Float[Tensor, "batch heads queries d_head"]:
    """Attend causally; groups of query heads share a key-value head (Ainslie et al., 2023)."""
    group = q.shape[1] // k.shape[1]
    k = repeat(k, "batch kv_heads keys d -> batch (kv_heads group) keys d", group=group)
    v = repeat(v, "batch kv_heads keys d -> batch (kv_heads group) keys d", group=group)
    if query_positions is None:
        query_positions = torch.arange(q.shape[2], device=q.device).expand(q.shape[0], -1)
    mask = causal_mask(query_positions, k.shape[2], window=window, documents=documents)
    return scaled_dot_product_attention(q, k, v, mask)


def causal_mask(
    query_positions: Int[Tensor, "batch queries"],
    num_keys: int,
    *,
    window: int | None = None,
    documents: Int[Tensor, "batch keys"] | None = None,
) -> Bool[Tensor, "batch 1 queries keys"]:
    """Return which keys each query may see; see ``AttentionOp``."""
    distance = query_positions[:, :, None] - torch.arange(num_keys, device=query_positions.device)
    mask = distance >= 0
    if window is not None:
        mask = mask & (distance < window)
    if documents is not None:
        mask = mask & (documents[:, :, None] == documents[:, None, :])
    return mask[:, None]


def linear_cross_entropy(
    hidden: Float[Tensor, "tokens d_model"],
    weight: Float[Tensor, "vocab d_model"],
    targets: Int[Tensor, " tokens"],
) -> Float[Tensor, ""]:
    """Form all logits, then average ``-log softmax`` over the targets that are not ignored."""
    logits = hidden @ weight.T
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    counted = targets != IGNORED_TARGET
    chosen = logits.gather(-1, targets.where(counted, 0)[:, None]).squeeze(-1)
    losses = torch.logsumexp(logits, dim=-1) - chosen
    return torch.where(counted, losses, 0.0).sum() / counted.sum()


def _unchanged(function: TensorFunction) -> TensorFunction:
    return function


REFERENCE_OPS = Ops(
    name="reference",
    rms_norm=rms_norm,
    rope=rope,
    swiglu=swiglu,
    attention=attention,
    linear_cross_entropy=linear_cross_entropy,
    compile_step=_unchanged,
)

COMPILED_OPS = replace(REFERENCE_OPS, name="compiled", compile_step=compile_for_one_shape)
"""The same, and the training step as ``torch.compile`` traces it; see ``Ops.compile_step``."""
