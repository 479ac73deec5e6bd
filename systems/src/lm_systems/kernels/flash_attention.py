"""FlashAttention-2 (Dao, 2023) as two functions of autograd: in PyTorch tiles and in Triton.

Both take ``(q, k, v, is_causal, window, documents)``, the last three optional, and save for the
backward pass only the inputs, the output and one number for each query, the log-sum-exp of its
scores. No tensor of queries times keys ever exists, forward or backward.

``q`` is "batch queries d_head" with keys and values of the same batch, or "batch heads queries
d_head" with as many or fewer key-value heads, each shared by a group of query heads (Ainslie et
al., 2023). Sequences may have any lengths, and any strides.

A query that sees no key, far beyond the last one with a window, gets zeros and gives no gradients;
the plain formula would give NaN.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lm_systems.kernels.attention_tiled import (
    Visibility,
    attend_in_tiles,
    differentiate_in_tiles,
)

_LARGEST_STRIDE = 2**23
_Gradients = tuple[Tensor | None, ...]


class TiledAttention(torch.autograd.Function):
    """Attention in tiles of plain PyTorch, on any device; see ``attention_tiled``."""

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        is_causal: bool = False,
        window: int | None = None,
        documents: Tensor | None = None,
    ) -> Tensor:
        """Return ``softmax(q k^T / sqrt(d_head)) v`` in the type of ``q``, or of autocast.

        Raises:
            ValueError: Shapes, types or masks do not fit together.
        """
        return _attend(attend_in_tiles, ctx, (q, k, v), Visibility(is_causal, window, documents))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_o: Tensor) -> _Gradients:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the gradients of ``q``, ``k`` and ``v``."""
        return _differentiate(differentiate_in_tiles, ctx, d_o)


class FlashAttention(torch.autograd.Function):
    """The same in Triton: see ``attention_forward`` and ``attention_backward``."""

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        is_causal: bool = False,
        window: int | None = None,
        documents: Tensor | None = None,
    ) -> Tensor:
        """Return what ``TiledAttention`` returns, from tensors on a GPU.

        Raises:
            ValueError: As there; or the kernels have no form for the type or the width of a head.
        """
        from lm_systems.kernels.attention_forward import attend  # noqa: PLC0415 - Triton

        return _attend(attend, ctx, (q, k, v), Visibility(is_causal, window, documents))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_o: Tensor) -> _Gradients:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the gradients of ``q``, ``k`` and ``v``."""
        from lm_systems.kernels.attention_backward import differentiate  # noqa: PLC0415 - Triton

        return _differentiate(differentiate, ctx, d_o)


def _attend(
    compute: Callable[..., None],
    ctx: Any,
    inputs: tuple[Tensor, Tensor, Tensor],
    visibility: Visibility,
) -> Tensor:
    """Run a forward pass and save what the backward pass needs."""
    q, k, v = map(_readable, map(_autocast, inputs))
    _check(q, k, v, visibility)
    device, wide = q.device.type, torch.promote_types(q.dtype, torch.float32)
    o = torch.empty_like(q)
    lse = torch.empty(q.shape[:-1], dtype=wide, device=q.device)
    with torch.autocast(device, enabled=False):
        compute(*map(_with_heads, (q, k, v)), visibility, _with_heads(o), _with_heads(lse, 2))
    documents = () if visibility.documents is None else (visibility.documents,)
    ctx.save_for_backward(q, k, v, o, lse, *documents)
    ctx.visibility = visibility._replace(documents=None)
    return o


def _differentiate(
    compute: Callable[..., tuple[Tensor, Tensor, Tensor]], ctx: Any, d_o: Tensor
) -> _Gradients:
    """Run the backward pass; autograd casts gradients to the types of the inputs."""
    q, k, v, o, lse, *documents = ctx.saved_tensors
    visibility = ctx.visibility._replace(documents=documents[0] if documents else None)
    with torch.autocast(q.device.type, enabled=False):
        gradients = compute(
            *map(_with_heads, (q, k, v)),
            visibility,
            _with_heads(o),
            _with_heads(lse, 2),
            _with_heads(_readable(d_o)),
        )
    d_q, d_k, d_v = (d_x.view(x.shape) for d_x, x in zip(gradients, (q, k, v), strict=True))
    return d_q, d_k, d_v, None, None, None


def _autocast(x: Tensor) -> Tensor:
    """Cast as autocast does for products of matrices, where it is on: it leaves float64 alone."""
    device = x.device.type
    if not torch.is_autocast_enabled(device) or x.dtype == torch.float64:
        return x
    return x.to(torch.get_autocast_dtype(device))


def _readable(x: Tensor) -> Tensor:
    """Return what kernels read by rows; inside of a tile they count offsets in 32 bits."""
    is_readable = x.stride(-1) == 1 and x.stride(-2) < _LARGEST_STRIDE
    return x if is_readable else x.clone(memory_format=torch.contiguous_format)


def _with_heads(x: Tensor, ndim: int = 3) -> Tensor:
    """Return a view with an axis for the heads, of which there is one where there was none."""
    return x[:, None] if x.ndim == ndim else x


def _check(q: Tensor, k: Tensor, v: Tensor, visibility: Visibility) -> None:
    shapes = f"{tuple(q.shape)}, {tuple(k.shape)} and {tuple(v.shape)}"
    has_heads = q.ndim == 4
    if (
        q.ndim not in (3, 4)
        or k.ndim != q.ndim
        or k.shape != v.shape
        or q.shape[0] != k.shape[0]
        or q.shape[-1] != k.shape[-1]
        or (has_heads and (k.shape[1] == 0 or q.shape[1] % k.shape[1] != 0))
    ):
        raise ValueError(
            "expected q of shape (batch, queries, d) or (batch, heads, queries, d), and k and v of "
            f"the same batch and d, their heads dividing those of q; got {shapes}"
        )
    if not (q.dtype == k.dtype == v.dtype and q.is_floating_point()):
        raise ValueError(f"expected one floating-point type, got {q.dtype}, {k.dtype}, {v.dtype}")
    window, documents = visibility.window, visibility.documents
    if window is not None and (window < 1 or not visibility.is_causal):
        raise ValueError(
            f"expected a window of at least 1 with is_causal=True, got {window} "
            f"with is_causal={visibility.is_causal}"
        )
    places = (q.shape[0], k.shape[-2])
    if documents is not None and (documents.shape != places or q.shape[-2] != k.shape[-2]):
        raise ValueError(
            f"expected as many queries as keys, and documents of shape {places}, "
            f"got {q.shape[-2]} queries and documents of shape {tuple(documents.shape)}"
        )
