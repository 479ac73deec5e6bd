"""Multi-head causal self-attention with grouped key-value heads and an optional cache."""

from typing import Protocol, runtime_checkable

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from lm_basics.model_config import (
    Attention,
    FullAttention,
    NoPosition,
    RopeConfig,
    SlidingWindowAttention,
)
from lm_basics.nn.layers import Linear, RMSNorm
from lm_basics.nn.ops import REFERENCE_OPS, Ops
from lm_basics.nn.rope import RotaryPositionalEmbedding, fitting


@runtime_checkable
class LayerCache(Protocol):
    """Keys and values of one layer; the slot index of a key is its absolute position."""

    def update(
        self,
        k: Float[Tensor, "batch kv_heads seq d_head"],
        v: Float[Tensor, "batch kv_heads seq d_head"],
        positions: Int[Tensor, "batch seq"],
    ) -> tuple[
        Float[Tensor, "batch kv_heads keys d_head"], Float[Tensor, "batch kv_heads keys d_head"]
    ]:
        """Store ``k`` and ``v`` at ``positions`` and return all slots up to the last one used."""
        ...


class MultiHeadSelfAttention(nn.Module):
    """Project to queries, keys and values, attend per head, project back.

    The rows of each projection are ordered by head. With ``theta`` queries and keys are rotated.
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        max_seq_len: int | None = None,
        theta: float | None = None,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
        *,
        num_kv_heads: int | None = None,
        d_head: int | None = None,
        qk_norm: bool = False,
        window: int | None = None,
        norm_eps: float = 1e-5,
        ops: Ops = REFERENCE_OPS,
    ) -> None:
        """Make the projections.

        Args:
            d_model: Width of the residual stream.
            num_heads: Query heads.
            max_seq_len: Most positions; needed with ``theta`` alone.
            theta: Base of the rotation; None means that positions do not enter.
            device: Where the parameters are.
            dtype: Their type.
            num_kv_heads: Key-value heads, each shared by a group of query heads.
            d_head: Width of a head; None means ``d_model / num_heads``.
            qk_norm: Whether queries and keys are normalized per head before the rotation.
            window: Keys that a query sees, its own included; None means all before it.
            norm_eps: Of these norms.
            ops: The operations it calls.

        Raises:
            ValueError: The heads do not divide the width or each other, or the rotation does not
                know how many positions there are.
        """
        super().__init__()
        config = FullAttention(
            num_heads=num_heads,
            num_kv_heads=num_kv_heads,
            d_head=d_head,
            position=NoPosition() if theta is None else RopeConfig(theta=theta),
        )
        if theta is not None and max_seq_len is None:
            raise ValueError(f"a rotation with theta={theta} needs max_seq_len")
        self.d_head = config.head_width(d_model)
        self.window = window
        self.ops = ops
        width, kv_width = num_heads * self.d_head, config.count_kv_heads() * self.d_head
        self.q_proj = Linear(d_model, width, device, dtype)
        self.k_proj = Linear(d_model, kv_width, device, dtype)
        self.v_proj = Linear(d_model, kv_width, device, dtype)
        self.output_proj = Linear(width, d_model, device, dtype)
        self.q_norm: nn.Module = nn.Identity()
        self.k_norm: nn.Module = nn.Identity()
        if qk_norm:
            self.q_norm = RMSNorm(self.d_head, norm_eps, device, dtype, ops=ops)
            self.k_norm = RMSNorm(self.d_head, norm_eps, device, dtype, ops=ops)
        self.rope = (
            None
            if theta is None or max_seq_len is None
            else RotaryPositionalEmbedding(theta, self.d_head, max_seq_len, device, ops=ops)
        )

    @classmethod
    def from_config(
        cls,
        d_model: int,
        config: Attention,
        *,
        context_length: int | None,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
        norm_eps: float = 1e-5,
        ops: Ops = REFERENCE_OPS,
    ) -> "MultiHeadSelfAttention":
        """Make the attention that a model's configuration describes."""
        return cls(
            d_model,
            config.num_heads,
            context_length,
            config.position.theta if isinstance(config.position, RopeConfig) else None,
            device,
            dtype,
            num_kv_heads=config.num_kv_heads,
            d_head=config.d_head,
            qk_norm=config.qk_norm,
            window=config.window if isinstance(config, SlidingWindowAttention) else None,
            norm_eps=norm_eps,
            ops=ops,
        )

    def forward(
        self,
        x: Float[Tensor, "*batch seq d_model"],
        token_positions: Int[Tensor, "*rows seq"] | None = None,
        cache: LayerCache | None = None,
        documents: Int[Tensor, "*rows seq"] | None = None,
    ) -> Float[Tensor, "*batch seq d_model"]:
        """Mix along the sequence.

        Args:
            x: Residual stream, normalized; any leading axes.
            token_positions: Absolute position of each token, from which queries and keys are
                rotated; leading axes broadcast to those of ``x``. None means 0, 1, 2, … in a row.
            cache: Where earlier keys and values are; needs ``token_positions``.
            documents: Number of each token's document, which it does not look beyond.

        Raises:
            ValueError: A cache without positions, or with documents; or positions or documents
                whose shape does not fit.
        """
        if cache is not None and (token_positions is None or documents is not None):
            raise ValueError("attention with a cache needs the positions of one document's tokens")
        positions = _in_rows("token_positions", token_positions, x)
        documents = _in_rows("documents", documents, x)
        rows = x.flatten(0, -3) if x.ndim > 2 else x[None]
        q, k, v = (
            rearrange(y, "batch seq (heads d) -> batch heads seq d", d=self.d_head)
            for y in (self.q_proj(rows), self.k_proj(rows), self.v_proj(rows))
        )
        q, k = self.q_norm(q), self.k_norm(k)
        if self.rope is not None:
            # One axis for the heads, so that every head is rotated alike.
            head_positions = None if positions is None else positions[:, None]
            cos, sin = self.rope.angles(q, head_positions)
            q, k = self.ops.rope(q, cos, sin), self.ops.rope(k, cos, sin)
        if cache is not None and positions is not None:
            k, v = cache.update(k, v, positions)
        # Without a cache, key j is the j-th token of the row, whatever its position is.
        seen_from = positions if cache is not None else None
        mixed = self.ops.attention(q, k, v, seen_from, window=self.window, documents=documents)
        mixed = rearrange(mixed, "batch heads seq d -> batch seq (heads d)")
        return self.output_proj(mixed).view(x.shape)


def _in_rows(
    name: str, values: Int[Tensor, "*any"] | None, x: Float[Tensor, "*batch seq d_model"]
) -> Int[Tensor, "rows seq"] | None:
    """Return one value for each vector of ``x``, all leading axes in one."""
    if values is None:
        return None
    values = fitting(name, values, x.shape[:-1]).expand(x.shape[:-1])
    return values.flatten(0, -2) if values.ndim > 1 else values[None]
