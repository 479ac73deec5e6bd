"""The gate against the reference, forward and backward."""

import pytest
import torch
from torch.testing import assert_close

from lm_basics.nn.ops import swiglu as reference
from lm_shared.testing.tolerances import assert_error_within_twice
from lm_systems.kernels.ops import swiglu
from systems.tests.reference import value_and_gradients


def _run(function, *inputs):
    return value_and_gradients(function, inputs[:2], inputs[2])


@pytest.mark.parametrize("shape", [(7,), (2, 3, 8)], ids=str)
def test_value_and_gradients_equal_the_reference(shape) -> None:
    inputs = [torch.randn(shape) * 3 for _ in range(3)]
    assert_close(_run(swiglu, *inputs), _run(reference, *inputs))


def test_gradients_equal_finite_differences() -> None:
    inputs = [torch.randn(5, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(swiglu, inputs)


def test_bfloat16_errors_stay_within_twice_the_reference() -> None:
    inputs = [torch.randn(16, 32).bfloat16() for _ in range(3)]
    exact = _run(reference, *(one.float() for one in inputs))
    ours, low = _run(swiglu, *inputs), _run(reference, *inputs)
    for one, plain, truth in zip(ours, low, exact, strict=True):
        assert_error_within_twice(one, plain, truth)


def test_the_path_without_gradients_gives_the_same_and_keeps_its_arguments() -> None:
    gate, up = torch.randn(3, 4), torch.randn(3, 4)
    kept = gate.clone(), up.clone()
    with torch.no_grad():
        fast = swiglu(gate, up)
    assert_close(fast, reference(gate, up))
    assert_close((gate, up), kept)
