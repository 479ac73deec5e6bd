"""Optimizer updates as compiled loops that read and write every number once.

The module beside this one is compiled by numba; importing this package does not import numba.
"""

from lm_shared.machine_code import Library

_MODULE = "lm_basics.optim.kernels.adamw"
_UPDATE_ADAMW = f"{_MODULE}:update_adamw"

KERNELS = Library(
    {_UPDATE_ADAMW: ("float32*", "float32*", "float32*", "float32*", "int64", "float32*")},
    [_MODULE],
)
"""The compiled functions, by ``module:function``."""


def update_adamw_slice(
    theta: int, gradient: int, m: int, v: int, num_elements: int, coefficients: int
) -> None:
    """Update the numbers behind four addresses; see ``kernels.adamw``."""
    KERNELS[_UPDATE_ADAMW](theta, gradient, m, v, num_elements, coefficients)
