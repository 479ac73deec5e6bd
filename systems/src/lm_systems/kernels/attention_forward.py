"""FlashAttention-2's forward pass in Triton: one program for each tile of queries (Dao, 2023).

The loop is that of ``attention_tiled``, with the scores on chip. Exponentials are powers of two,
which GPUs have an instruction for: the maximum ``m`` is that of ``S log2(e)``. Tiles of keys that
the causal line or the window hides from all queries of a program are not visited, and only those on
which an edge lies compare positions.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor
from triton import knobs

from lm_systems.kernels.attention_tiled import LOWEST, Visibility

LOG2_E = tl.constexpr(math.log2(math.e))
_LOWEST = tl.constexpr(LOWEST)
# The interpreter multiplies bfloat16 by its bits.
_IS_INTERPRETED = tl.constexpr(knobs.runtime.interpret)


class Tiles(NamedTuple):
    """Sizes of the tiles of one kernel, and how the compiler spreads its work."""

    queries: int
    keys: int
    num_warps: int
    num_stages: int


# By bytes of a number and the widest head. Chosen by what the compiler says of registers and shared
# memory of a Hopper GPU, not by time. Products of float32 do without tensor cores, which would
# round: their tiles are small.
FORWARD_TILES = {
    (2, 64): Tiles(128, 64, num_warps=8, num_stages=3),
    (2, 128): Tiles(128, 64, num_warps=8, num_stages=3),
    (2, 256): Tiles(128, 32, num_warps=8, num_stages=2),
    (4, 64): Tiles(64, 32, num_warps=8, num_stages=2),
    (4, 128): Tiles(16, 16, num_warps=4, num_stages=2),
    (4, 256): Tiles(32, 16, num_warps=8, num_stages=1),
}
# What nothing is compiled anew for; strides and widths tell how much a thread may read at once.
LENGTHS = ("num_heads", "group_size", "num_queries", "num_keys", "window")


def choose_tiles(table: Mapping[tuple[int, int], Tiles], x: Tensor) -> Tiles:
    """Return the tiles for numbers of ``x``'s type and heads of its width.

    Raises:
        ValueError: There are none.
    """
    if x.dtype not in (torch.float16, torch.bfloat16, torch.float32):
        raise ValueError(
            f"the Triton kernels take float16, bfloat16 and float32, got {x.dtype}: "
            "TiledAttention takes float64"
        )
    for (itemsize, widest), tiles in table.items():
        if x.dtype.itemsize == itemsize and x.shape[-1] <= widest:
            return tiles
    widest = max(widest for _, widest in table)
    raise ValueError(
        f"the Triton kernels take heads of width {widest} at most, got {x.shape[-1]}: "
        "TiledAttention takes any"
    )


def launch_arguments(
    q: Float[Tensor, "batch heads queries d_head"],
    k: Float[Tensor, "batch kv_heads keys d_head"],
    visibility: Visibility,
    tiles: Tiles,
) -> dict[str, Any]:
    """Return the arguments that all kernels of attention share.

    Raises:
        ValueError: The tensors are not where Triton runs.
    """
    if not (q.is_cuda or _IS_INTERPRETED):
        raise ValueError(f"the Triton kernels need a GPU, got tensors on {q.device}")
    d_head = q.shape[-1]
    # One that hides nothing is none.
    window = min(visibility.window or q.shape[2], q.shape[2])
    block_d = max(16, triton.next_power_of_2(d_head))
    return {
        "num_heads": q.shape[1],
        "group_size": q.shape[1] // k.shape[1],
        "num_queries": q.shape[2],
        "num_keys": k.shape[2],
        "d_head": d_head,
        "window": window,
        "scale": d_head**-0.5,
        "IS_CAUSAL": visibility.is_causal,
        "HAS_WINDOW": window < q.shape[2],
        "HAS_DOCUMENTS": visibility.documents is not None,
        "IS_PADDED": d_head != block_d,
        "BLOCK_D": block_d,
        "BLOCK_Q": tiles.queries,
        "BLOCK_K": tiles.keys,
        "num_warps": tiles.num_warps,
        "num_stages": tiles.num_stages,
    }


def attend(
    q: Float[Tensor, "batch heads queries d_head"],
    k: Float[Tensor, "batch kv_heads keys d_head"],
    v: Float[Tensor, "batch kv_heads keys d_head"],
    visibility: Visibility,
    o: Float[Tensor, "batch heads queries d_head"],
    lse: Float[Tensor, "batch heads queries"],
) -> None:
    """Write attention to ``o`` and the natural logarithms of its normalizers to ``lse``.

    Args:
        q: Queries; of all tensors the columns of a row are adjacent.
        k: Keys.
        v: Values.
        visibility: Which keys a query sees.
        o: Takes the result; zeros for a query that sees no key.
        lse: Contiguous; minus infinity for such a query.

    Raises:
        ValueError: There is no kernel for these types, widths or devices.
    """
    tiles = choose_tiles(FORWARD_TILES, q)
    arguments = launch_arguments(q, k, visibility, tiles)
    num_programs = triton.cdiv(q.shape[2], tiles.queries) * q.shape[0] * q.shape[1]
    documents = as_rows(visibility.documents, like=lse)
    strides = strides_of(q, k, v, o)
    with torch.cuda.device_of(q):
        _attend[(num_programs,)](q, k, v, documents, o, lse, *strides, **arguments)


def strides_of(*tensors: Tensor) -> list[int]:
    """Return the three strides of each that a kernel takes; that of the columns is one."""
    return [stride for x in tensors for stride in x.stride()[:3]]


def as_rows(documents: Tensor | None, *, like: Tensor) -> Tensor:
    """Return the documents one row after the other; any tensor stands for none."""
    return like if documents is None else documents.contiguous()


@triton.jit(do_not_specialize=LENGTHS)
@no_type_check
def _attend(
    q_ptr, k_ptr, v_ptr, documents_ptr, o_ptr, lse_ptr,
    stride_qb, stride_qh, stride_qs,
    stride_kb, stride_kh, stride_ks,
    stride_vb, stride_vh, stride_vs,
    stride_ob, stride_oh, stride_os,
    num_heads, group_size, num_queries, num_keys, d_head, window, scale,
    IS_CAUSAL: tl.constexpr, HAS_WINDOW: tl.constexpr, HAS_DOCUMENTS: tl.constexpr,
    IS_PADDED: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Do one tile of queries of one head; see ``attend``."""
    num_tiles = tl.cdiv(num_queries, BLOCK_Q)
    # The last tiles see the most keys: they begin first, so that none is waited for at the end.
    first_query = (num_tiles - 1 - tl.program_id(0) % num_tiles) * BLOCK_Q
    batch_head = (tl.program_id(0) // num_tiles).to(tl.int64)
    batch, head = batch_head // num_heads, batch_head % num_heads
    kv_head = head // group_size
    q_ptr += batch * stride_qb + head * stride_qh
    k_ptr += batch * stride_kb + kv_head * stride_kh
    v_ptr += batch * stride_vb + kv_head * stride_vh
    o_ptr += batch * stride_ob + head * stride_oh
    documents_ptr += batch * num_keys

    q = load_rows(q_ptr, first_query, stride_qs, num_queries, d_head, IS_PADDED, BLOCK_Q, BLOCK_D)
    queries = first_query + tl.arange(0, BLOCK_Q)
    m = tl.full([BLOCK_Q], _LOWEST, tl.float32)
    l = tl.zeros([BLOCK_Q], tl.float32)  # noqa: E741 - the paper's letter
    acc = tl.zeros([BLOCK_Q, BLOCK_D], tl.float32)
    edges = key_range(
        first_query, num_keys, window, IS_CAUSAL, HAS_WINDOW, HAS_DOCUMENTS, BLOCK_Q, BLOCK_K
    )
    for part in tl.static_range(3):
        for first_key in range(edges[part], edges[part + 1], BLOCK_K):
            k = load_rows(
                k_ptr, first_key, stride_ks, num_keys, d_head, IS_PADDED, BLOCK_K, BLOCK_D
            )
            s = dot(q, tl.trans(k))
            if part != 1:
                keys = first_key + tl.arange(0, BLOCK_K)
                visible = is_visible(
                    queries[:, None], keys[None, :], num_keys, window, documents_ptr,
                    IS_CAUSAL, HAS_WINDOW, HAS_DOCUMENTS,
                )  # fmt: skip
                s = tl.where(visible, s, float("-inf"))
            # The factor enters once a row here, and in one instruction with the difference below.
            m_new = tl.maximum(m, tl.max(s, 1) * (scale * LOG2_E))
            p = tl.exp2(s * (scale * LOG2_E) - m_new[:, None])
            rescale = tl.exp2(m - m_new)
            l = rescale * l + tl.sum(p, 1)  # noqa: E741
            v = load_rows(
                v_ptr, first_key, stride_vs, num_keys, d_head, IS_PADDED, BLOCK_K, BLOCK_D
            )
            acc = dot(p.to(v.dtype), v, acc * rescale[:, None])
            m = m_new
    sees_none = l == 0
    l = tl.where(sees_none, 1.0, l)  # noqa: E741
    o = acc / l[:, None]
    store_rows(o_ptr, o, first_query, stride_os, num_queries, d_head, IS_PADDED, BLOCK_Q, BLOCK_D)
    lse = tl.where(sees_none, float("-inf"), (m + tl.log2(l)) / LOG2_E)
    tl.store(lse_ptr + batch_head * num_queries + queries, lse, mask=queries < num_queries)


@triton.jit
@no_type_check
def key_range(
    first_query, num_keys, window,
    IS_CAUSAL: tl.constexpr, HAS_WINDOW: tl.constexpr, HAS_DOCUMENTS: tl.constexpr,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Return four edges of the keys that a tile of queries sees.

    The tiles between the second and the third are visible to every query, those before and after in
    part.
    """
    begin, full_begin = 0, 0
    end, full_end = num_keys, num_keys
    if IS_CAUSAL:
        end = tl.minimum(num_keys, first_query + BLOCK_Q)
        full_end = tl.minimum(num_keys, first_query + 1)
    full_end = full_end // BLOCK_K * BLOCK_K
    if HAS_WINDOW:
        begin = tl.maximum(first_query - window + 1, 0) // BLOCK_K * BLOCK_K
        full_begin = tl.cdiv(tl.maximum(first_query + BLOCK_Q - window, 0), BLOCK_K) * BLOCK_K
        full_begin = tl.minimum(full_begin, end)
        full_end = tl.maximum(full_end, full_begin)
    if HAS_DOCUMENTS:
        full_begin, full_end = end, end
    return begin, full_begin, full_end, end


@triton.jit
@no_type_check
def is_visible(
    queries, keys, num_keys, window, documents_ptr,
    IS_CAUSAL: tl.constexpr, HAS_WINDOW: tl.constexpr, HAS_DOCUMENTS: tl.constexpr,
):  # fmt: skip
    """Return which keys each query sees; one of the two is a row of positions, one a column."""
    visible = (keys < num_keys) & (queries >= 0)
    if IS_CAUSAL:
        visible &= queries >= keys
    if HAS_WINDOW:
        visible &= queries - keys < window
    if HAS_DOCUMENTS:
        visible &= tl.load(documents_ptr + queries, mask=queries < num_keys, other=0) == tl.load(
            documents_ptr + keys, mask=keys < num_keys, other=0
        )
    return visible


@triton.jit
@no_type_check
def load_rows(
    ptr, first_row, stride, num_rows, d_head,
    IS_PADDED: tl.constexpr, BLOCK_ROWS: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Return rows of one head, zeros beyond the last row and the last column."""
    rows, columns = tl.arange(0, BLOCK_ROWS)[:, None], tl.arange(0, BLOCK_D)[None, :]
    is_inside = first_row + rows < num_rows
    if IS_PADDED:
        is_inside &= columns < d_head
    # Long sequences need 64 bits, the offsets inside of a tile do not.
    ptr += tl.cast(first_row, tl.int64) * stride
    return tl.load(ptr + rows * stride + columns, mask=is_inside, other=0.0)


@triton.jit
@no_type_check
def store_rows(
    ptr, values, first_row, stride, num_rows, d_head,
    IS_PADDED: tl.constexpr, BLOCK_ROWS: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Write rows of one head in the type of their place."""
    rows, columns = tl.arange(0, BLOCK_ROWS)[:, None], tl.arange(0, BLOCK_D)[None, :]
    is_inside = first_row + rows < num_rows
    if IS_PADDED:
        is_inside &= columns < d_head
    ptr += tl.cast(first_row, tl.int64) * stride
    tl.store(ptr + rows * stride + columns, values.to(ptr.dtype.element_ty), mask=is_inside)


@triton.jit
@no_type_check
def dot(a, b, acc=None):
    """Return ``a @ b``, added to ``acc``, in float32; products of float32 are exact."""
    if _IS_INTERPRETED:
        a, b = a.to(tl.float32), b.to(tl.float32)
    return tl.dot(a, b, acc, input_precision="ieee")
