"""How close is close enough: the rule for code in low precision."""

import torch
from jaxtyping import Float
from torch import Tensor


def assert_error_within_twice(
    candidate: Float[Tensor, "*shape"],
    low_precision: Float[Tensor, "*shape"],
    exact: Float[Tensor, "*shape"],
    *,
    factor: float = 2.0,
    floor: float = 1e-5,
) -> None:
    """Check that a fast result is at most ``factor`` times as wrong as plain code of its precision.

    ``exact`` is the float32 or float64 result, ``low_precision`` the plain implementation in the
    candidate's dtype; errors are the largest absolute differences, as in FlashAttention's tests.
    ``floor`` allows for rounding where the plain code happens to be exact.

    Raises:
        AssertionError: the candidate's error is larger, or it is not finite.
    """
    exact = exact.double()
    candidate_error = _largest_difference(candidate, exact)
    allowed = factor * _largest_difference(low_precision, exact) + floor
    # Written so that NaN fails: it compares as false.
    if not candidate_error <= allowed:
        raise AssertionError(f"error {candidate_error:.3e} exceeds {allowed:.3e}")


def _largest_difference(x: Tensor, exact: Tensor) -> float:
    return torch.max(torch.abs(x.double() - exact)).item()
