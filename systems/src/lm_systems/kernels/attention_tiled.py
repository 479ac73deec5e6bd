"""FlashAttention-2 as its equations read, in tiles of plain PyTorch (Dao, 2023).

Scores exist for one tile of queries and one tile of keys at a time, so memory grows with the length
of a sequence and not with its square. The softmax of a row that comes in pieces carries its maximum
``m`` and the sum ``l`` of exponentials relative to it; when a piece raises the maximum, what was
added up so far is scaled down by ``exp(m - m_new)``. The backward pass keeps only the logarithm of
each normalizer, ``L = m + log(l)``, and computes the probabilities again: ``P = exp(S - L)``.

This is the form to read beside the kernels, and the one for float64 and for CPUs.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from einops import einsum, rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

TILE_SIZE = 128
"""Queries, and keys, of one tile."""
LOWEST = -1e30
"""Where a maximum starts: not at minus infinity, which could not be subtracted from itself."""


class Visibility(NamedTuple):
    """Which keys a query may see; query ``i`` and key ``j`` stand at positions ``i`` and ``j``."""

    is_causal: bool = False
    """Whether it is only those at its own position and before it."""
    window: int | None = None
    """How many of these, its own included; None means all."""
    documents: Int[Tensor, "batch keys"] | None = None
    """Number of the document of each position, if a query sees its own document alone."""

    def key_tiles(self, queries: slice, num_keys: int) -> Iterator[slice]:
        """Yield the tiles of keys of which the line and the window leave any to ``queries``."""
        begin = 0 if self.window is None else max(0, queries.start - self.window + 1)
        end = min(num_keys, queries.stop) if self.is_causal else num_keys
        for start in range(begin // TILE_SIZE * TILE_SIZE, end, TILE_SIZE):
            yield slice(start, min(start + TILE_SIZE, num_keys))

    def mask(
        self, queries: slice, keys: slice, device: torch.device
    ) -> Bool[Tensor, "#batch 1 1 tile_queries tile_keys"] | None:
        """Return which keys of a tile each query may see, None where it is all of them."""
        documents = self.documents
        is_below_line = not self.is_causal or keys.stop - 1 <= queries.start
        is_in_window = self.window is None or queries.stop - keys.start <= self.window
        if documents is None and is_below_line and is_in_window:
            return None
        i = torch.arange(queries.start, queries.stop, device=device)[:, None]
        j = torch.arange(keys.start, keys.stop, device=device)
        mask = (i >= j if self.is_causal else torch.ones_like(i >= j))[None]
        if self.window is not None:
            mask = mask & (i - j < self.window)
        if documents is not None:
            mask = mask & (documents[:, queries, None] == documents[:, None, keys])
        return mask[:, None, None]


def attend_in_tiles(
    q: Float[Tensor, "batch heads queries d_head"],
    k: Float[Tensor, "batch kv_heads keys d_head"],
    v: Float[Tensor, "batch kv_heads keys d_head"],
    visibility: Visibility,
    o: Float[Tensor, "batch heads queries d_head"],
    lse: Float[Tensor, "batch heads queries"],
) -> None:
    """Write attention to ``o`` and the logarithms of its normalizers to ``lse`` (Algorithm 1).

    The products are of the wide type, that of ``lse``. A query that sees no key gets zeros, and
    minus infinity, the logarithm of an empty sum.
    """
    q, o = (_group(x, k) for x in (q, o))
    lse = _group(lse[..., None], k)[..., 0]
    wide = lse.dtype
    for queries in _tiles(q.shape[-2]):
        q_i = q[..., queries, :].to(wide)
        m = torch.full_like(q_i[..., 0], LOWEST)
        l = torch.zeros_like(m)  # noqa: E741 - the paper's letter
        o_i = torch.zeros_like(q_i)
        for keys in visibility.key_tiles(queries, k.shape[-2]):
            s = _scores(q_i, k[..., keys, :].to(wide))
            mask = visibility.mask(queries, keys, q.device)
            if mask is not None:
                s = s.masked_fill(~mask, float("-inf"))
            m_new = torch.maximum(m, s.amax(-1))
            p = torch.exp(s - m_new[..., None])
            rescale = torch.exp(m - m_new)
            l = rescale * l + p.sum(-1)  # noqa: E741
            o_i = rescale[..., None] * o_i + _mix(p, v[..., keys, :].to(wide))
            m = m_new
        o[..., queries, :] = o_i / l.masked_fill(l == 0, 1)[..., None]
        lse[..., queries] = m + l.log()


def differentiate_in_tiles(
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
    """Return the gradients of ``q``, ``k`` and ``v`` (Algorithm 2).

    With ``D = rowsum(O * dO)``, tile by tile::

        P  = exp(S - L)        dV += P^T dO      dP  = dO V^T
        dS = P * (dP - D)      dQ += dS K        dK += dS^T Q     (both by 1 / sqrt(d))

    Products sum over the query heads of a group, which share their keys and values.
    """
    wide, scale = lse.dtype, q.shape[-1] ** -0.5
    d_q = torch.empty_like(q)
    d_k, d_v = (torch.zeros_like(x, dtype=wide) for x in (k, v))
    q, o, d_o, d_q_groups = (_group(x, k) for x in (q, o, d_o, d_q))
    lse = _group(lse[..., None], k)[..., 0]
    for queries in _tiles(q.shape[-2]):
        q_i, o_i, d_o_i = (x[..., queries, :].to(wide) for x in (q, o, d_o))
        row_sums = (o_i * d_o_i).sum(-1, keepdim=True)
        d_q_i = torch.zeros_like(q_i)
        for keys in visibility.key_tiles(queries, k.shape[-2]):
            k_j, v_j = (x[..., keys, :].to(wide) for x in (k, v))
            s = _scores(q_i, k_j) - lse[..., queries, None]
            mask = visibility.mask(queries, keys, q.device)
            if mask is not None:
                s = s.masked_fill(~mask, float("-inf"))
            p = torch.exp(s)
            d_v[..., keys, :] += _gather(p, d_o_i)
            d_p = einsum(d_o_i, v_j, "... group queries d, ... keys d -> ... group queries keys")
            d_s = p * (d_p - row_sums) * scale
            d_q_i += _mix(d_s, k_j)
            d_k[..., keys, :] += _gather(d_s, q_i)
        d_q_groups[..., queries, :] = d_q_i
    return d_q, d_k.to(k.dtype), d_v.to(v.dtype)


def _tiles(length: int) -> Iterator[slice]:
    for start in range(0, length, TILE_SIZE):
        yield slice(start, min(start + TILE_SIZE, length))


def _group(x: Tensor, k: Tensor) -> Tensor:
    """Return a view of ``x`` with one axis for the key-value heads and one for a group of each."""
    return rearrange(
        x, "batch (kv_heads group) seq d -> batch kv_heads group seq d", kv_heads=k.shape[1]
    )


def _scores(q: Tensor, k: Tensor) -> Tensor:
    s = einsum(q, k, "... group queries d, ... keys d -> ... group queries keys")
    return s * q.shape[-1] ** -0.5


def _mix(weights: Tensor, rows: Tensor) -> Tensor:
    """Return for each query the weighted sum of one row for each key."""
    return einsum(weights, rows, "... group queries keys, ... keys d -> ... group queries d")


def _gather(weights: Tensor, rows: Tensor) -> Tensor:
    """Return for each key the weighted sum of the rows of the queries of its group."""
    return einsum(weights, rows, "... group queries keys, ... group queries d -> ... keys d")
