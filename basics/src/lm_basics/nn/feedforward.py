"""Position-wise feed-forward layers."""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lm_basics.model_config import Activation
from lm_basics.nn.functional import gelu, relu_squared, silu
from lm_basics.nn.linear import Linear
from lm_basics.nn.ops import REFERENCE_OPS, Ops

ACTIVATIONS: Mapping[Activation, Callable[[Tensor], Tensor]] = {
    "silu": silu,
    "gelu": gelu,
    "relu_squared": relu_squared,
}


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


class MLP(nn.Module):
    """Return ``W2 activation(W1 x)``."""

    def __init__(
        self,
        d_model: int,
        d_ff: int,
        activation: Activation = "silu",
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        self.w1 = Linear(d_model, d_ff, device, dtype)
        self.w2 = Linear(d_ff, d_model, device, dtype)

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """Apply the layer to every position alike."""
        return self.w2(self.activation(self.w1(x)))
