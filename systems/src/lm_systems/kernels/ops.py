"""Faster operations, and the records of ``lm_basics.nn.ops.Ops`` that hand them out.

=============  ==================================================================================
``reference``  Plain PyTorch, as the equations read.
``fused``      Hand-written backward passes and torch's fused attention; nothing to compile, so it
               suits runs of seconds, generation and evaluation.
``compiled``   The training step traced by ``torch.compile``: a little faster than ``fused``, after
               half a minute of compilation on a CPU core.
``triton``     ``fused`` with our FlashAttention kernels, on a GPU: no masks in memory where there
               are windows or documents.
``tiled``      ``reference`` with attention in tiles: no scores in memory, so faster too where
               sequences are long.
=============  ==================================================================================
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache, wraps
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from lm_basics.nn.ops import REFERENCE_OPS, AttentionOp, Ops, TensorFunction, causal_mask
from lm_shared.tensors import compile_for_one_shape
from lm_systems.kernels import OpsName
from lm_systems.kernels.flash_attention import FlashAttention, TiledAttention
from lm_systems.kernels.linear_cross_entropy import linear_cross_entropy

# The axis of the heads in "batch heads seq d_head".
_HEADS, _SEQ = 1, 2


def rms_norm(
    x: Float[Tensor, "*batch d_model"], gain: Float[Tensor, " d_model"], eps: float
) -> Float[Tensor, "*batch d_model"]:
    """Normalize in float32 and return ``x``'s dtype, with a hand-written backward pass.

    Forward, with ``r = (mean(x^2) + eps)^(-1/2)``::

        y = r x * gain

    Backward, for an upstream gradient ``g`` (Appendix A of Zhang & Sennrich, 2019, has the idea)::

        dgain = sum over rows of r (g * x)
        dx    = r (g * gain) - x r^3 / d <g * gain, x>

    Both sums over ``g * x`` are matrix-vector products, so the whole backward takes four passes
    over memory where autograd's takes about ten.
    """
    if not torch.is_grad_enabled() and x.dtype == gain.dtype:
        # Half the calls of the function below: what counts for the small tensors of decoding.
        return functional.rms_norm(x, gain.shape, gain, eps)
    if x.dim() == 4 and not x.is_contiguous():
        # Heads split from a projection lie in memory as "batch seq heads d_head": work in that
        # order, where rows are views and nothing is copied.
        y: Tensor = _RMSNorm.apply(x.transpose(_HEADS, _SEQ), gain, eps)
        return y.transpose(_HEADS, _SEQ)
    return _RMSNorm.apply(x, gain, eps)


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, eps: float) -> Tensor:
        wide = x.float()
        # vector_norm squares and sums in one pass, without a square the size of x.
        norm = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
        r = norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, gain, r)
        return torch.mul(wide, r).mul_(gain).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, gain, r = ctx.saved_tensors
        d = x.shape[-1]
        g, x_wide, gain_wide = g.float(), x.float(), gain.float()
        products = (g * x_wide).reshape(-1, d)
        d_gain = r.reshape(-1) @ products
        along_x = (products @ gain_wide).view(r.shape) * r.pow(3).div_(-d)
        d_x = (g * gain_wide).mul_(r).addcmul_(x_wide, along_x)
        return d_x.to(x.dtype), d_gain.to(gain.dtype), None


def swiglu(
    gate: Float[Tensor, "*batch d_ff"], up: Float[Tensor, "*batch d_ff"]
) -> Float[Tensor, "*batch d_ff"]:
    """Return ``silu(gate) * up``; the backward pass recomputes the activation."""
    if not torch.is_grad_enabled():
        return functional.silu(gate).mul_(up)
    return _SwiGLU.apply(gate, up)


class _SwiGLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return functional.silu(gate).mul_(up)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        gate, up = ctx.saved_tensors
        d_up = functional.silu(gate).mul_(g)
        d_gate = torch.ops.aten.silu_backward(g * up, gate)
        return d_gate, d_up


def rope(
    x: Float[Tensor, "*batch seq d_k"],
    cos: Float[Tensor, "*#batch seq half"],
    sin: Float[Tensor, "*#batch seq half"],
) -> Float[Tensor, "*batch seq d_k"]:
    """Rotate the interleaved pairs of ``x`` in float32 and return its dtype.

    The pair ``(x[2i], x[2i+1])`` is in memory exactly the complex number ``x[2i] + j x[2i+1]``, and
    rotating it by an angle is a product with ``cos + j sin`` (Su et al., 2021, Section 3.2.1). The
    view costs nothing, so each direction is one pass over memory.
    """
    pairs = x.float().unflatten(-1, (-1, 2))
    if not _can_be_complex(pairs):
        # Not contiguous(), which leaves what only begins at an odd place where it is.
        pairs = pairs.clone(memory_format=torch.contiguous_format)
    rotated = torch.view_as_complex(pairs) * torch.complex(cos, sin)
    return torch.view_as_real(rotated).flatten(-2).to(x.dtype)


def _can_be_complex(pairs: Tensor) -> bool:
    """Return whether every pair is adjacent and starts at an even place in its storage."""
    *outer, inner = pairs.stride()
    return inner == 1 and not any(place % 2 for place in (pairs.storage_offset(), *outer))


def attention(
    q: Float[Tensor, "batch heads queries d_head"],
    k: Float[Tensor, "batch kv_heads keys d_head"],
    v: Float[Tensor, "batch kv_heads keys d_head"],
    query_positions: Int[Tensor, "batch queries"] | None = None,
    *,
    window: int | None = None,
    documents: Int[Tensor, "batch keys"] | None = None,
) -> Float[Tensor, "batch heads queries d_head"]:
    """Attend causally by torch's fused kernels, which never write the scores to memory.

    Arguments are those of ``lm_basics.nn.ops.AttentionOp``.
    """
    is_grouped = q.shape[1] != k.shape[1]
    if query_positions is None and window is None and documents is None:
        return functional.scaled_dot_product_attention(
            q, k, v, is_causal=True, enable_gqa=is_grouped
        )
    if query_positions is None:
        query_positions = torch.arange(q.shape[2], device=q.device).expand(q.shape[0], -1)
    mask = causal_mask(query_positions, k.shape[2], window=window, documents=documents)
    return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=is_grouped)


def make_causal(function: type[torch.autograd.Function]) -> AttentionOp:
    """Return the operation that ``TiledAttention`` or ``FlashAttention`` is for whole sequences.

    Queries at given positions, as beside a cache, are few and need no gradients: they are left to
    ``attention``.
    """

    def attend(
        q: Float[Tensor, "batch heads queries d_head"],
        k: Float[Tensor, "batch kv_heads keys d_head"],
        v: Float[Tensor, "batch kv_heads keys d_head"],
        query_positions: Int[Tensor, "batch queries"] | None = None,
        *,
        window: int | None = None,
        documents: Int[Tensor, "batch keys"] | None = None,
    ) -> Float[Tensor, "batch heads queries d_head"]:
        if query_positions is not None:
            return attention(q, k, v, query_positions, window=window, documents=documents)
        return function.apply(q, k, v, True, window, documents)

    return attend


def get_ops(name: OpsName) -> Ops:
    """Return the record of operations called ``name``.

    Raises:
        ValueError: There is no such record.
    """
    if name not in _OPS:
        raise ValueError(f"ops must be one of {sorted(_OPS)}, got {name!r}")
    return _OPS[name]()


def compile_step(function: TensorFunction) -> TensorFunction:
    """Compile ``function`` for training; calls without gradients run it as it is.

    An evaluation would otherwise compile a second graph, for another gradient mode and often
    another batch shape, to save a fraction of a forward pass.
    """
    compiled = compile_for_one_shape(function)

    @wraps(function)
    def step(*args: Any, **kwargs: Any) -> Tensor:
        chosen = compiled if torch.is_grad_enabled() else function
        return chosen(*args, **kwargs)

    return step


_FUSED_OPS = replace(
    REFERENCE_OPS,
    name="fused",
    rms_norm=rms_norm,
    rope=rope,
    swiglu=swiglu,
    attention=attention,
    linear_cross_entropy=linear_cross_entropy,
)

_TRITON_OPS = replace(_FUSED_OPS, name="triton", attention=make_causal(FlashAttention))
_TILED_OPS = replace(REFERENCE_OPS, name="tiled", attention=make_causal(TiledAttention))


@cache
def _compiled_ops() -> Ops:
    # Built at the first call: marking a function for the compiler imports the compiler.
    return replace(
        REFERENCE_OPS,
        name="compiled",
        # The compiler fuses the reference norm, rotation and gate better than it can fuse around
        # ours. The chunked loss stays outside of the graph: inside, its loop is unrolled, which
        # made a step 1% faster with 8 chunks, but would take minutes to compile with hundreds.
        attention=attention,
        linear_cross_entropy=torch.compiler.disable(linear_cross_entropy),
        compile_step=compile_step,
    )


_OPS: dict[str, Callable[[], Ops]] = {
    "reference": lambda: REFERENCE_OPS,
    "fused": lambda: _FUSED_OPS,
    "compiled": _compiled_ops,
    "triton": lambda: _TRITON_OPS,
    "tiled": lambda: _TILED_OPS,
}
