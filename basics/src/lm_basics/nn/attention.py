"""Multi-head causal self-attention with grouped key-value heads and an optional cache."""

from typing import Protocol, runtime_checkable

from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from lm_basics.model_config import Attention, RopeConfig, SlidingWindowAttention
from lm_basics.nn.linear import Linear
from lm_basics.nn.norm import RMSNorm
from lm_basics.nn.ops import REFERENCE_OPS, Ops
from lm_basics.nn.rope import RotaryPositionalEmbedding


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
    """Project to queries, keys and values, attend per head, project back."""

    def __init__(
        self,
        d_model: int,
        config: Attention,
        *,
        context_length: int,
        norm_eps: float = 1e-5,
        ops: Ops = REFERENCE_OPS,
    ) -> None:
        super().__init__()
        self.d_head = config.head_width(d_model)
        self.window = config.window if isinstance(config, SlidingWindowAttention) else None
        self.ops = ops
        width = config.num_heads * self.d_head
        kv_width = config.count_kv_heads() * self.d_head
        self.q_proj = Linear(d_model, width)
        self.k_proj = Linear(d_model, kv_width)
        self.v_proj = Linear(d_model, kv_width)
        self.output_proj = Linear(width, d_model)
        if config.qk_norm:
            self.q_norm: nn.Module = RMSNorm(self.d_head, norm_eps, ops=ops)
            self.k_norm: nn.Module = RMSNorm(self.d_head, norm_eps, ops=ops)
        else:
            self.q_norm = nn.Identity()
            self.k_norm = nn.Identity()
        self.rope = (
            RotaryPositionalEmbedding(config.position.theta, self.d_head, context_length, ops=ops)
            if isinstance(config.position, RopeConfig)
            else None
        )

    def forward(
        self,
        x: Float[Tensor, "batch seq d_model"],
        positions: Int[Tensor, "batch seq"] | None = None,
        cache: LayerCache | None = None,
        documents: Int[Tensor, "batch seq"] | None = None,
    ) -> Float[Tensor, "batch seq d_model"]:
        """Mix along the sequence.

        Args:
            x: Residual stream, normalized.
            positions: Absolute position of each token; None means 0, 1, 2, … in every row.
            cache: Where earlier keys and values are; needs ``positions``.
            documents: Number of each token's document, which it does not look beyond.

        Raises:
            ValueError: A cache without positions, or with documents.
        """
        if cache is not None and (positions is None or documents is not None):
            raise ValueError("attention with a cache needs the positions of one document's tokens")
        q, k, v = (
            rearrange(y, "batch seq (heads d) -> batch heads seq d", d=self.d_head)
            for y in (self.q_proj(x), self.k_proj(x), self.v_proj(x))
        )
        q, k = self.q_norm(q), self.k_norm(k)
        if self.rope is not None:
            # One axis for the heads, so that every head is rotated alike.
            head_positions = None if positions is None else positions[:, None]
            q, k = self.rope(q, head_positions), self.rope(k, head_positions)
        if cache is not None and positions is not None:
            k, v = cache.update(k, v, positions)
        # Without a cache, key j is the j-th token of the row, whatever its position is.
        seen_from = positions if cache is not None else None
        mixed = self.ops.attention(q, k, v, seen_from, window=self.window, documents=documents)
        return self.output_proj(rearrange(mixed, "batch heads seq d -> batch seq (heads d)"))
