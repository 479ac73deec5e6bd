"""Causal attention through torch's fused kernels, which never write the scores to memory."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from lm_basics.nn.ops import causal_mask


def attention(
    q: Float[Tensor, "batch heads queries d_head"],
    k: Float[Tensor, "batch kv_heads keys d_head"],
    v: Float[Tensor, "batch kv_heads keys d_head"],
    query_positions: Int[Tensor, "batch queries"] | None = None,
    *,
    window: int | None = None,
    documents: Int[Tensor, "batch keys"] | None = None,
) -> Float[Tensor, "batch heads queries d_head"]:
    """Let each query attend to the keys at its own position and before it.

    Groups of query heads share a key-value head (Ainslie et al., 2023). Without positions, query
    and key ``i`` both stand at position ``i``; see ``AttentionOp`` of ``lm_basics.nn.ops``.
    """
    is_grouped = q.shape[1] != k.shape[1]
    if query_positions is None and window is None and documents is None:
        return functional.scaled_dot_product_attention(
            q, k, v, is_causal=True, enable_gqa=is_grouped
        )
    if query_positions is None:
        query_positions = torch.arange(q.shape[2], device=q.device).expand(q.shape[0], -1)
    mask = causal_mask(query_positions, k.shape[2], window=window, documents=documents)
    return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=is_grouped)
