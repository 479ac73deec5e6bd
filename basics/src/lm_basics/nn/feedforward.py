"""Position-wise feed-forward layers."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lm_basics.nn.linear import Linear
from lm_basics.nn.ops import REFERENCE_OPS, Ops


class SwiGLU(nn.Module):
    """Return ``W2 (silu(W1 x) * W3 x)`` (Shazeer, 2020)."""

    def __init__(
        self,
        d_model: int,
        d_ff: int,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
        *,
        ops: Ops = REFERENCE_OPS,
    ) -> None:
        super().__init__()
        self.ops = ops
        self.w1 = Linear(d_model, d_ff, device, dtype)
        self.w2 = Linear(d_ff, d_model, device, dtype)
        self.w3 = Linear(d_model, d_ff, device, dtype)

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """Apply the layer to every position alike."""
        return self.w2(self.ops.swiglu(self.w1(x), self.w3(x)))
