"""Root-mean-square normalization (Zhang & Sennrich, 2019)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lm_basics.nn.ops import REFERENCE_OPS, Ops


class RMSNorm(nn.Module):
    """Scale each vector to unit root mean square, then by a learned gain (Eq. 4)."""

    def __init__(
        self,
        d_model: int,
        eps: float = 1e-5,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
        *,
        ops: Ops = REFERENCE_OPS,
    ) -> None:
        super().__init__()
        self.eps = eps
        self.ops = ops
        self.weight = nn.Parameter(torch.ones(d_model, device=device, dtype=dtype))

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """Normalize the last axis and return ``x``'s dtype."""
        return self.ops.rms_norm(x, self.weight, self.eps)
