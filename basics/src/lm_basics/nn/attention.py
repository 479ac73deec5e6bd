"""Multi-head causal self-attention with grouped key-value heads and an optional cache."""

from typing import Protocol, runtime_checkable

from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from lm_basics.model_config import FullAttention
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
        config: FullAttention,
        *,
        context_length: int,
        norm_eps: float = 1e-5,
        ops: Ops = REFERENCE_OPS,
    ) -> None:
        super().__init__()
        self.d_head = d_model // config.num_heads
        self.ops = ops
        kv_width = config.count_kv_heads() * self.d_head
        self.q_proj = Linear(d_model, d_model)
        self.k_proj = Linear(d_model, kv_width)
        self.v_proj = Linear(d_model, kv_width)
        self.output_proj = Linear(d_model, d_model)
        if config.qk_norm:
            self.q_norm: nn.Module = RMSNorm(self.d_head, norm_eps, ops=ops)
            self.k_norm: nn.Module = RMSNorm(self.d_head, norm_eps, ops=ops)
        else:
            self.q_norm = nn.Identity()
            self.k_norm = nn.Identity()
        self.rope = RotaryPositionalEmbedding(
            config.position.theta, self.d_head, context_length, ops=ops
        )

    def forward(
        self,
        x: Float[Tensor, "batch seq d_model"],
        positions: Int[Tensor, "batch seq"] | None = None,
        cache: LayerCache | None = None,
    ) -> Float[Tensor, "batch seq d_model"]:
        """Mix along the sequence.

        Args:
            x: Residual stream, normalized.
            positions: Absolute position of each token; None means 0, 1, 2, … in every row.
            cache: Where earlier keys and values are; needs ``positions``.

        Raises:
            ValueError: A cache without positions.
        """
        if cache is not None and positions is None:
            raise ValueError("attention with a cache needs the positions of its tokens, got None")
        q, k, v = (
            rearrange(y, "batch seq (heads d) -> batch heads seq d", d=self.d_head)
            for y in (self.q_proj(x), self.k_proj(x), self.v_proj(x))
        )
        # One axis for the heads, so that every head is rotated alike.
        head_positions = None if positions is None else positions[:, None]
        q = self.rope(self.q_norm(q), head_positions)
        k = self.rope(self.k_norm(k), head_positions)
        if cache is not None and positions is not None:
            k, v = cache.update(k, v, positions)
        mixed = self.ops.attention(q, k, v, positions)
        return self.output_proj(rearrange(mixed, "batch heads seq d -> batch seq (heads d)"))
