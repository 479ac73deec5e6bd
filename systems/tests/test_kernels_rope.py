"""The complex form of the rotation against the reference."""

import pytest
import torch
from torch.testing import assert_close

from lm_basics.nn.ops import rope as reference
from lm_shared.testing.tolerances import assert_error_within_twice
from lm_systems.kernels.ops import rope


@pytest.fixture
def angles():
    return torch.randn(3, 4)


@pytest.mark.parametrize(
    "x",
    [
        torch.randn(3, 8),
        torch.randn(2, 4, 3, 8),
        torch.randn(2, 3, 4, 8).transpose(1, 2),
        torch.randn(2, 3, 9)[..., 1:],
        torch.randn(3, 16)[:, ::2],
    ],
    ids=["plain", "heads", "permuted", "odd offset", "strided"],
)
def test_value_and_gradient_equal_the_reference(x, angles) -> None:
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    upstream = torch.randn(x.shape)
    ours, expected = (f(x, angles.cos(), angles.sin()) for f in (rope, reference))
    assert_close(ours, expected)
    assert_close(torch.autograd.grad(ours, x, upstream), torch.autograd.grad(expected, x, upstream))


@pytest.mark.parametrize(
    "x",
    [
        torch.randn(2, 3, 9)[..., :8],
        torch.randn(49)[1:].view(2, 3, 8),
        torch.randn(3, 16)[:, ::2],
    ],
    ids=["odd rows", "odd storage offset", "pairs apart"],
)
def test_views_that_cannot_be_complex_are_copied(x, angles) -> None:
    assert_close(rope(x, angles.cos(), angles.sin()), reference(x, angles.cos(), angles.sin()))


def test_one_angle_per_row_of_a_batch() -> None:
    x, angles = torch.randn(2, 4, 3, 8), torch.randn(2, 1, 3, 4)
    assert_close(rope(x, angles.cos(), angles.sin()), reference(x, angles.cos(), angles.sin()))


def test_lengths_are_kept(angles) -> None:
    x = torch.randn(2, 3, 8)
    y = rope(x, angles.cos(), angles.sin())
    assert_close(y.norm(dim=-1), x.norm(dim=-1))


def test_bfloat16_errors_stay_within_twice_the_reference(angles) -> None:
    x = torch.randn(2, 3, 8).bfloat16()
    tables = angles.cos(), angles.sin()
    ours, low = rope(x, *tables), reference(x, *tables)
    assert ours.dtype == torch.bfloat16
    assert_error_within_twice(ours, low, reference(x.float(), *tables))
