"""Root-mean-square normalization with a hand-written backward pass.

Forward, with ``r = (mean(x^2) + eps)^(-1/2)``::

    y = r x * gain

Backward, for an upstream gradient ``g`` (Appendix A of Zhang & Sennrich, 2019, gives the idea)::

    dgain = sum over rows of r (g * x)
    dx    = r (g * gain) - x r^3 / d <g * gain, x>

Both sums over ``g * x`` are matrix-vector products, so the whole backward takes four passes over
memory where autograd's takes about ten.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

# The axis of the heads in "batch heads seq d_head".
_HEADS, _SEQ = 1, 2


def rms_norm(
    x: Float[Tensor, "*batch d_model"], gain: Float[Tensor, " d_model"], eps: float
) -> Float[Tensor, "*batch d_model"]:
    """Normalize in float32 and return ``x``'s dtype."""
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
