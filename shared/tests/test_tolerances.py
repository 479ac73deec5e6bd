import math

import pytest
import torch

from lm_shared.testing.tolerances import assert_error_within_twice


def test_the_bound_is_twice_the_low_precision_error() -> None:
    exact = torch.zeros(3)
    low_precision = torch.tensor([0.0, 0.01, 0.0])
    assert_error_within_twice(torch.tensor([0.019, 0.0, 0.0]), low_precision, exact)
    with pytest.raises(AssertionError, match=r"error 2\.100e-02 exceeds 2\.001e-02"):
        assert_error_within_twice(torch.tensor([0.021, 0.0, 0.0]), low_precision, exact)


def test_real_bfloat16_arithmetic_passes_and_a_wrong_scale_fails() -> None:
    x = torch.randn(64, 64)
    exact = x.double() @ x.double()
    low_precision = x.bfloat16() @ x.bfloat16()
    assert_error_within_twice(low_precision, low_precision, exact)
    with pytest.raises(AssertionError, match="exceeds"):
        assert_error_within_twice(low_precision * 1.1, low_precision, exact)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_values_that_are_not_finite_fail(value: float) -> None:
    exact = torch.zeros(2)
    with pytest.raises(AssertionError, match="exceeds"):
        assert_error_within_twice(torch.tensor([value, 0.0]), exact, exact)
