"""Linear maps, embeddings and root-mean-square normalization (Zhang & Sennrich, 2019)."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lm_basics.nn.ops import REFERENCE_OPS, Ops


class Linear(nn.Module):
    """Multiply by a learned matrix, ``y = W x``, without a bias."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(
            torch.empty(out_features, in_features, device=device, dtype=dtype)
        )
        std = (2.0 / (in_features + out_features)) ** 0.5
        nn.init.trunc_normal_(self.weight, std=std, a=-3 * std, b=3 * std)

    def forward(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        """Return ``x W^T``."""
        return x @ self.weight.T


class Embedding(nn.Module):
    """Look up one learned vector per token id."""

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
        *,
        std: float = 1.0,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(
            torch.empty(num_embeddings, embedding_dim, device=device, dtype=dtype)
        )
        nn.init.trunc_normal_(self.weight, std=std, a=-3 * std, b=3 * std)

    def forward(self, token_ids: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch d_model"]:
        """Return the rows of the table that ``token_ids`` name.

        Raises:
            IndexError: An id is negative or too large (on a GPU, a failed assertion of the device).
        """
        # Indexing with brackets would count negative ids from the table's end.
        rows = self.weight.index_select(0, token_ids.flatten())
        return rows.view(*token_ids.shape, self.weight.shape[1])


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
