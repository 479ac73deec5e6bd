"""Normalization against the reference, forward and backward."""

from functools import partial

import pytest
import torch
from torch.testing import assert_close

from lm_basics.nn.ops import rms_norm as reference
from lm_shared.testing.tolerances import assert_error_within_twice
from lm_systems.kernels.ops import rms_norm
from systems.tests.reference import value_and_gradients

EPS = 1e-5
SHAPES = {"vector": (8,), "rows": (5, 8), "sequence": (2, 3, 8), "heads": (2, 4, 3, 8)}


def _run(function, *inputs):
    return value_and_gradients(partial(function, eps=EPS), inputs[:2], inputs[2])


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_value_and_gradients_equal_the_reference(shape) -> None:
    x, gain, upstream = torch.randn(shape), torch.rand(8) + 0.5, torch.randn(shape)
    ours = _run(rms_norm, x, gain, upstream)
    assert_close(ours, _run(reference, x, gain, upstream))


def test_split_heads_keep_their_memory_order() -> None:
    x = torch.randn(2, 3, 4, 8, requires_grad=True)
    gain, upstream = torch.rand(8, requires_grad=True), torch.randn(2, 4, 3, 8)
    y = rms_norm(x.transpose(1, 2), gain, EPS)
    assert y.transpose(1, 2).is_contiguous()
    assert_close(y, reference(x.transpose(1, 2), gain, EPS))
    found = torch.autograd.grad(y, (x, gain), upstream)
    expected = torch.autograd.grad(reference(x.transpose(1, 2), gain, EPS), (x, gain), upstream)
    assert_close(found, expected)


@pytest.mark.parametrize("gain_dtype", [torch.bfloat16, torch.float32], ids=str)
def test_bfloat16_errors_stay_within_twice_the_reference(gain_dtype) -> None:
    x, gain = torch.randn(16, 64).bfloat16(), (torch.rand(64) + 0.5).to(gain_dtype)
    upstream = torch.randn(16, 64).bfloat16()
    exact = _run(reference, x.float(), gain.float(), upstream.float())
    low, ours = (_run(function, x, gain, upstream) for function in (reference, rms_norm))
    for one, plain, truth in zip(ours, low, exact, strict=True):
        assert one.dtype == plain.dtype
        assert_error_within_twice(one, plain, truth)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_path_without_gradients_gives_the_same(dtype) -> None:
    x, gain = torch.randn(4, 8).to(dtype), torch.rand(8).to(dtype)
    with torch.no_grad():
        fast = rms_norm(x, gain, EPS)
    assert_close(fast, rms_norm(x, gain, EPS))


def test_a_zero_vector_stays_zero() -> None:
    x = torch.zeros(2, 8, requires_grad=True)
    y = rms_norm(x, torch.ones(8), EPS)
    y.sum().backward()
    assert_close(y, torch.zeros(2, 8))
    assert_close(x.grad, torch.full((2, 8), EPS**-0.5))
