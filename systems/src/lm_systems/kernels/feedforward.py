"""The gate of SwiGLU, with a backward pass that recomputes the activation."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional


def swiglu(
    gate: Float[Tensor, "*batch d_ff"], up: Float[Tensor, "*batch d_ff"]
) -> Float[Tensor, "*batch d_ff"]:
    """Return ``silu(gate) * up`` and keep only its two arguments for the backward pass."""
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
