"""The sums that the course asks for, exactly."""

from fractions import Fraction

import pytest
import torch

from lm_systems.profiling.accumulation import add_up


@pytest.mark.parametrize(
    ("sum_dtype", "value_dtype", "expected"),
    [
        (torch.float32, torch.float32, 10.0001),
        (torch.float16, torch.float16, 9.9531),
        (torch.float32, torch.float16, 10.0021),
    ],
)
def test_a_thousand_hundredths(
    sum_dtype: torch.dtype, value_dtype: torch.dtype, expected: float
) -> None:
    total = add_up(0.01, 1000, sum_dtype=sum_dtype, value_dtype=value_dtype)
    assert total.dtype == sum_dtype
    assert round(total.item(), 4) == expected


def test_the_error_of_a_rounded_value_grows_with_the_count() -> None:
    rounded = Fraction(torch.tensor(0.01, dtype=torch.float16).item())
    total = add_up(0.01, 1000, sum_dtype=torch.float64, value_dtype=torch.float16)
    assert total.item() == float(1000 * rounded)
