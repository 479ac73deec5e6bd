"""Fused attention against the reference: grouped heads, positions, low precision."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from lm_basics.nn.ops import attention as reference
from lm_shared.testing.tolerances import assert_error_within_twice
from lm_systems.kernels.ops import attention

KV_HEADS = [4, 2, 1]


def _inputs(kv_heads: int, *, queries: int = 6, keys: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    q = torch.randn(2, 4, queries, 8, requires_grad=True)
    k, v = (torch.randn(2, kv_heads, keys, 8, requires_grad=True) for _ in range(2))
    return q, k, v


def _assert_alike(inputs: tuple[Tensor, Tensor, Tensor], positions: Tensor | None = None) -> None:
    ours, expected = attention(*inputs, positions), reference(*inputs, positions)
    assert_close(ours, expected)
    upstream = torch.randn_like(expected)
    assert_close(
        torch.autograd.grad(ours, inputs, upstream), torch.autograd.grad(expected, inputs, upstream)
    )


@pytest.mark.parametrize("kv_heads", KV_HEADS)
def test_whole_sequences_equal_the_reference(kv_heads) -> None:
    _assert_alike(_inputs(kv_heads))


@pytest.mark.parametrize("kv_heads", KV_HEADS)
def test_queries_at_given_positions_equal_the_reference(kv_heads) -> None:
    positions = torch.tensor([[0, 3], [5, 8]])
    _assert_alike(_inputs(kv_heads, queries=2, keys=9), positions)


@pytest.mark.parametrize("window", [None, 1, 3, 9])
@pytest.mark.parametrize(
    "documents",
    [None, torch.tensor([[2, 2, 2, 0, 0, 0], [1, 1, 1, 1, 1, 4]])],
    ids=["whole", "packed"],
)
def test_windows_and_documents_hide_what_they_hide_in_the_reference(window, documents) -> None:
    inputs = _inputs(2)
    hidden = {"window": window, "documents": documents}
    assert_close(attention(*inputs, **hidden), reference(*inputs, **hidden))
    positions = torch.tensor([[0, 3], [5, 8]])
    cached = _inputs(2, queries=2, keys=9)
    assert_close(
        attention(*cached, positions, window=window), reference(*cached, positions, window=window)
    )


def test_keys_after_the_query_have_no_influence() -> None:
    q, k, v = _inputs(2, queries=1, keys=9)
    positions = torch.tensor([[3], [5]])
    d_k, d_v = torch.autograd.grad(attention(q, k, v, positions).sum(), (k, v))
    for gradient in (d_k, d_v):
        assert gradient[0, :, 4:].abs().max() == 0 == gradient[1, :, 6:].abs().max()
        assert gradient[0, :, :4].abs().min() > 0


@pytest.mark.parametrize("positions", [None, torch.arange(6).expand(2, -1)], ids=["none", "given"])
def test_bfloat16_errors_stay_within_twice_the_reference(positions) -> None:
    q, k, v = (x.detach().bfloat16() for x in _inputs(2))
    exact = reference(q.float(), k.float(), v.float(), positions)
    low = reference(q, k, v, positions)
    assert_error_within_twice(attention(q, k, v, positions), low, exact)


def test_autocast_computes_in_bfloat16() -> None:
    inputs = _inputs(2)
    exact = reference(*inputs)
    with torch.autocast("cpu", torch.bfloat16):
        ours, low = attention(*inputs), reference(*inputs)
    assert ours.dtype == torch.bfloat16
    assert_error_within_twice(ours, low, exact)
