"""FlashAttention-2's backward pass in Triton: two passes, so that no two programs share a sum.

With ``D = rowsum(O * dO)`` and the probabilities computed again, ``P = exp(S - L)``::

    dV = P^T dO        dS = P * (dO V^T - D) / sqrt(d)        dQ = dS K        dK = dS^T Q

(Dao, 2023, Algorithm 2). The first pass has a program for each tile of queries, which adds up its
``dQ`` and leaves ``D``; the second has one for each tile of keys, which adds up its ``dK`` and
``dV`` over all query heads of the group. ``P`` is computed twice, but nothing is added up in memory
and the same inputs give the same bits.
"""

from typing import no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from lm_systems.kernels.attention_forward import (
    LENGTHS,
    LOG2_E,
    Tiles,
    as_rows,
    choose_tiles,
    dot,
    is_visible,
    key_range,
    launch_arguments,
    load_rows,
    store_rows,
    strides_of,
)
from lm_systems.kernels.attention_tiled import Visibility

QUERY_TILES = {
    (2, 64): Tiles(64, 64, num_warps=4, num_stages=3),
    (2, 128): Tiles(128, 64, num_warps=8, num_stages=2),
    (2, 256): Tiles(64, 32, num_warps=8, num_stages=2),
    (4, 64): Tiles(32, 32, num_warps=4, num_stages=2),
    (4, 128): Tiles(16, 16, num_warps=8, num_stages=1),
    (4, 256): Tiles(16, 16, num_warps=8, num_stages=1),
}
"""Of the pass over tiles of queries, see ``FORWARD_TILES``."""
KEY_TILES = {
    (2, 64): Tiles(64, 128, num_warps=8, num_stages=3),
    (2, 128): Tiles(32, 128, num_warps=8, num_stages=3),
    (2, 256): Tiles(32, 64, num_warps=8, num_stages=2),
    (4, 64): Tiles(32, 32, num_warps=8, num_stages=2),
    (4, 128): Tiles(32, 32, num_warps=8, num_stages=1),
    (4, 256): Tiles(16, 16, num_warps=8, num_stages=1),
}
"""Of the pass over tiles of keys."""


def differentiate(
    q: Float[Tensor, "batch heads queries d_head"],
    k: Float[Tensor, "batch kv_heads keys d_head"],
    v: Float[Tensor, "batch kv_heads keys d_head"],
    visibility: Visibility,
    o: Float[Tensor, "batch heads queries d_head"],
    lse: Float[Tensor, "batch heads queries"],
    d_o: Float[Tensor, "batch heads queries d_head"],
) -> tuple[
    Float[Tensor, "batch heads queries d_head"],
    Float[Tensor, "batch kv_heads keys d_head"],
    Float[Tensor, "batch kv_heads keys d_head"],
]:
    """Return the gradients of ``q``, ``k`` and ``v``; the arguments are those of ``attend``."""
    d_q, d_k, d_v = (torch.empty_like(x) for x in (q, k, v))
    row_sums = torch.empty_like(lse)
    documents = as_rows(visibility.documents, like=lse)
    inputs = (q, k, v, documents, d_o, lse, row_sums)
    with torch.cuda.device_of(q):
        tiles = choose_tiles(QUERY_TILES, q)
        arguments = launch_arguments(q, k, visibility, tiles)
        num_programs = triton.cdiv(q.shape[2], tiles.queries) * q.shape[0] * q.shape[1]
        strides = strides_of(q, k, v, d_o, o, d_q)
        _differentiate_queries[(num_programs,)](*inputs, o, d_q, *strides, **arguments)
        tiles = choose_tiles(KEY_TILES, q)
        arguments = launch_arguments(q, k, visibility, tiles)
        num_programs = triton.cdiv(k.shape[2], tiles.keys) * k.shape[0] * k.shape[1]
        strides = strides_of(q, k, v, d_o, d_k, d_v)
        _differentiate_keys[(num_programs,)](*inputs, d_k, d_v, *strides, **arguments)
    return d_q, d_k, d_v


@triton.jit(do_not_specialize=LENGTHS)
@no_type_check
def _differentiate_queries(
    q_ptr, k_ptr, v_ptr, documents_ptr, do_ptr, lse_ptr, sums_ptr, o_ptr, dq_ptr,
    stride_qb, stride_qh, stride_qs,
    stride_kb, stride_kh, stride_ks,
    stride_vb, stride_vh, stride_vs,
    stride_dob, stride_doh, stride_dos,
    stride_ob, stride_oh, stride_os,
    stride_dqb, stride_dqh, stride_dqs,
    num_heads, group_size, num_queries, num_keys, d_head, window, scale,
    IS_CAUSAL: tl.constexpr, HAS_WINDOW: tl.constexpr, HAS_DOCUMENTS: tl.constexpr,
    IS_PADDED: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Write ``dQ`` and ``D`` of one tile of queries of one head."""
    num_tiles = tl.cdiv(num_queries, BLOCK_Q)
    first_query = (num_tiles - 1 - tl.program_id(0) % num_tiles) * BLOCK_Q
    batch_head = (tl.program_id(0) // num_tiles).to(tl.int64)
    batch, head = batch_head // num_heads, batch_head % num_heads
    kv_head = head // group_size
    q_ptr += batch * stride_qb + head * stride_qh
    k_ptr += batch * stride_kb + kv_head * stride_kh
    v_ptr += batch * stride_vb + kv_head * stride_vh
    do_ptr += batch * stride_dob + head * stride_doh
    o_ptr += batch * stride_ob + head * stride_oh
    dq_ptr += batch * stride_dqb + head * stride_dqh
    documents_ptr += batch * num_keys

    q = load_rows(q_ptr, first_query, stride_qs, num_queries, d_head, IS_PADDED, BLOCK_Q, BLOCK_D)
    o = load_rows(o_ptr, first_query, stride_os, num_queries, d_head, IS_PADDED, BLOCK_Q, BLOCK_D)
    do = load_rows(
        do_ptr, first_query, stride_dos, num_queries, d_head, IS_PADDED, BLOCK_Q, BLOCK_D
    )
    sums = tl.sum(o.to(tl.float32) * do.to(tl.float32), 1)
    queries = first_query + tl.arange(0, BLOCK_Q)
    is_inside = queries < num_queries
    rows = batch_head * num_queries + queries
    tl.store(sums_ptr + rows, sums, mask=is_inside)
    lse = tl.load(lse_ptr + rows, mask=is_inside, other=0.0) * LOG2_E

    dq = tl.zeros([BLOCK_Q, BLOCK_D], tl.float32)
    edges = key_range(
        first_query, num_keys, window, IS_CAUSAL, HAS_WINDOW, HAS_DOCUMENTS, BLOCK_Q, BLOCK_K
    )
    for part in tl.static_range(3):
        for first_key in range(edges[part], edges[part + 1], BLOCK_K):
            k = load_rows(
                k_ptr, first_key, stride_ks, num_keys, d_head, IS_PADDED, BLOCK_K, BLOCK_D
            )
            v = load_rows(
                v_ptr, first_key, stride_vs, num_keys, d_head, IS_PADDED, BLOCK_K, BLOCK_D
            )
            s = dot(q, tl.trans(k)) * (scale * LOG2_E) - lse[:, None]
            if part != 1:
                keys = first_key + tl.arange(0, BLOCK_K)
                visible = is_visible(
                    queries[:, None], keys[None, :], num_keys, window, documents_ptr,
                    IS_CAUSAL, HAS_WINDOW, HAS_DOCUMENTS,
                )  # fmt: skip
                s = tl.where(visible, s, float("-inf"))
            p = tl.exp2(s)
            ds = p * (dot(do, tl.trans(v)) - sums[:, None])
            dq = dot(ds.to(k.dtype), k, dq)
    store_rows(
        dq_ptr, dq * scale, first_query, stride_dqs, num_queries, d_head,
        IS_PADDED, BLOCK_Q, BLOCK_D,
    )  # fmt: skip


@triton.jit(do_not_specialize=LENGTHS)
@no_type_check
def _differentiate_keys(
    q_ptr, k_ptr, v_ptr, documents_ptr, do_ptr, lse_ptr, sums_ptr, dk_ptr, dv_ptr,
    stride_qb, stride_qh, stride_qs,
    stride_kb, stride_kh, stride_ks,
    stride_vb, stride_vh, stride_vs,
    stride_dob, stride_doh, stride_dos,
    stride_dkb, stride_dkh, stride_dks,
    stride_dvb, stride_dvh, stride_dvs,
    num_heads, group_size, num_queries, num_keys, d_head, window, scale,
    IS_CAUSAL: tl.constexpr, HAS_WINDOW: tl.constexpr, HAS_DOCUMENTS: tl.constexpr,
    IS_PADDED: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Write ``dK`` and ``dV`` of one tile of keys of one key-value head."""
    num_tiles = tl.cdiv(num_keys, BLOCK_K)
    # The first tiles are seen by the most queries.
    first_key = tl.program_id(0) % num_tiles * BLOCK_K
    batch_head = (tl.program_id(0) // num_tiles).to(tl.int64)
    num_kv_heads = num_heads // group_size
    batch, kv_head = batch_head // num_kv_heads, batch_head % num_kv_heads
    k_ptr += batch * stride_kb + kv_head * stride_kh
    v_ptr += batch * stride_vb + kv_head * stride_vh
    dk_ptr += batch * stride_dkb + kv_head * stride_dkh
    dv_ptr += batch * stride_dvb + kv_head * stride_dvh
    documents_ptr += batch * num_keys

    k = load_rows(k_ptr, first_key, stride_ks, num_keys, d_head, IS_PADDED, BLOCK_K, BLOCK_D)
    v = load_rows(v_ptr, first_key, stride_vs, num_keys, d_head, IS_PADDED, BLOCK_K, BLOCK_D)
    dk = tl.zeros([BLOCK_K, BLOCK_D], tl.float32)
    dv = tl.zeros([BLOCK_K, BLOCK_D], tl.float32)
    edges = _query_range(
        first_key, num_queries, window, IS_CAUSAL, HAS_WINDOW, HAS_DOCUMENTS, BLOCK_Q, BLOCK_K
    )
    keys = first_key + tl.arange(0, BLOCK_K)
    for head in range(kv_head * group_size, (kv_head + 1) * group_size):
        head_q_ptr = q_ptr + batch * stride_qb + head * stride_qh
        head_do_ptr = do_ptr + batch * stride_dob + head * stride_doh
        first_row = (batch * num_heads + head) * num_queries
        for part in tl.static_range(3):
            for first_query in range(edges[part], edges[part + 1], BLOCK_Q):
                queries = first_query + tl.arange(0, BLOCK_Q)
                rows, is_inside = first_row + queries, queries < num_queries
                # Beyond the last row all is zero, dO and Q too: that adds nothing.
                lse = tl.load(lse_ptr + rows, mask=is_inside, other=0.0) * LOG2_E
                sums = tl.load(sums_ptr + rows, mask=is_inside, other=0.0)
                q = load_rows(
                    head_q_ptr, first_query, stride_qs, num_queries, d_head,
                    IS_PADDED, BLOCK_Q, BLOCK_D,
                )  # fmt: skip
                do = load_rows(
                    head_do_ptr, first_query, stride_dos, num_queries, d_head,
                    IS_PADDED, BLOCK_Q, BLOCK_D,
                )  # fmt: skip
                # Transposed, keys by queries, as the products with dO and Q need it.
                s = dot(k, tl.trans(q)) * (scale * LOG2_E) - lse[None, :]
                if part != 1:
                    visible = is_visible(
                        queries[None, :], keys[:, None], num_keys, window, documents_ptr,
                        IS_CAUSAL, HAS_WINDOW, HAS_DOCUMENTS,
                    )  # fmt: skip
                    s = tl.where(visible, s, float("-inf"))
                p = tl.exp2(s)
                dv = dot(p.to(do.dtype), do, dv)
                ds = p * (dot(v, tl.trans(do)) - sums[None, :])
                dk = dot(ds.to(q.dtype), q, dk)
    store_rows(
        dk_ptr, dk * scale, first_key, stride_dks, num_keys, d_head, IS_PADDED, BLOCK_K, BLOCK_D
    )
    store_rows(dv_ptr, dv, first_key, stride_dvs, num_keys, d_head, IS_PADDED, BLOCK_K, BLOCK_D)


@triton.jit
@no_type_check
def _query_range(
    first_key, num_queries, window,
    IS_CAUSAL: tl.constexpr, HAS_WINDOW: tl.constexpr, HAS_DOCUMENTS: tl.constexpr,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Return for a tile of keys the edges of the queries that see it, as ``key_range``."""
    begin, full_begin = 0, 0
    end, full_end = num_queries, num_queries
    if IS_CAUSAL:
        begin = first_key // BLOCK_Q * BLOCK_Q
        full_begin = tl.minimum(tl.cdiv(first_key + BLOCK_K - 1, BLOCK_Q) * BLOCK_Q, num_queries)
    if HAS_WINDOW:
        end = tl.minimum(num_queries, first_key + BLOCK_K - 1 + window)
        full_begin = tl.minimum(full_begin, end)
        full_end = tl.minimum(num_queries, first_key + window) // BLOCK_Q * BLOCK_Q
        full_end = tl.maximum(full_end, full_begin)
    if HAS_DOCUMENTS:
        full_begin, full_end = end, end
    return begin, full_begin, full_end, end
