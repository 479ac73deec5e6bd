"""Optimizer updates as compiled loops that read and write every number once.

The module beside this one is compiled by numba; importing this package does not import numba.
"""

from lm_shared.machine_code import Function, Library

_MODULE = "lm_basics.optim.kernels.adamw"
_UPDATE_ADAMW = f"{_MODULE}:update_adamw"

KERNELS = Library(
    {_UPDATE_ADAMW: ("float32*", "float32*", "float32*", "float32*", "int64", "float32*")},
    [_MODULE],
)
"""The compiled functions, by ``module:function``."""


def adamw_kernel() -> Function:
    """Return the function of ``kernels.adamw``, which takes addresses for arrays."""
    return KERNELS[_UPDATE_ADAMW]
