"""Positions as rotations (Su et al., 2021) and as added waves (Vaswani et al., 2017)."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lm_basics.nn.ops import REFERENCE_OPS, Ops


class RotaryPositionalEmbedding(nn.Module):
    """Rotate the pair ``(x[2i], x[2i+1])`` by ``position / theta**(2i / d_k)``.

    The product of a rotated query and a rotated key depends on their distance only.
    """

    cos: Tensor
    sin: Tensor

    def __init__(
        self,
        theta: float,
        d_k: int,
        max_seq_len: int,
        device: torch.device | None = None,
        *,
        ops: Ops = REFERENCE_OPS,
    ) -> None:
        super().__init__()
        if d_k % 2:
            raise ValueError(f"RoPE rotates pairs: d_k={d_k} must be even")
        self.ops = ops
        angles = _angles(theta, d_k, max_seq_len, device)
        self.register_buffer("cos", angles.cos().float(), persistent=False)
        self.register_buffer("sin", angles.sin().float(), persistent=False)

    def _apply(
        self, fn: Callable[[Tensor], Tensor], recurse: bool = True
    ) -> "RotaryPositionalEmbedding":
        # ``model.to(bfloat16)`` would round the angles: the tables change their device alone.
        cos, sin = self.cos, self.sin
        super()._apply(fn, recurse)
        if not cos.is_meta:
            self.cos, self.sin = cos.to(self.cos.device), sin.to(self.sin.device)
        return self

    def forward(
        self,
        x: Float[Tensor, "*batch seq d_k"],
        token_positions: Int[Tensor, "*#batch seq"] | None = None,
    ) -> Float[Tensor, "*batch seq d_k"]:
        """Rotate ``x``.

        Args:
            x: Queries or keys.
            token_positions: Position of each vector, from 0; None means 0, 1, 2, …
        """
        if token_positions is None:
            seq = x.shape[-2]
            return self.ops.rope(x, self.cos[:seq], self.sin[:seq])
        return self.ops.rope(x, self.cos[token_positions], self.sin[token_positions])


class SinusoidalPositionalEmbedding(nn.Module):
    """Add ``sin(position / theta**(2i / d_model))`` and its cosine to components 2i and 2i + 1."""

    table: Tensor

    def __init__(self, theta: float, d_model: int, max_seq_len: int) -> None:
        super().__init__()
        angles = _angles(theta, d_model, max_seq_len, None)
        table = torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2).float()
        self.register_buffer("table", table, persistent=False)

    def forward(
        self,
        x: Float[Tensor, "batch seq d_model"],
        positions: Int[Tensor, "batch seq"] | None = None,
    ) -> Float[Tensor, "batch seq d_model"]:
        """Return ``x`` with the waves of its positions added; None means 0, 1, 2 and so on."""
        waves = self.table[: x.shape[1]] if positions is None else self.table[positions]
        return x + waves.to(x.dtype)


def _angles(
    theta: float, width: int, num_positions: int, device: torch.device | None
) -> Float[Tensor, "positions half"]:
    # In float64: at position 100,000 float32 loses the fast components' last digits.
    wavelengths = theta ** (torch.arange(0, width, 2, dtype=torch.float64, device=device) / width)
    positions = torch.arange(num_positions, dtype=torch.float64, device=device)
    return positions[:, None] / wavelengths
