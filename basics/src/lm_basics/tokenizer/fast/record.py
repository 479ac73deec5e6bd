"""Records that hand arrays to the kernels."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lm_shared.machine_code import address_of


class Record:
    """An array of 64-bit numbers, some of them addresses of arrays that it keeps alive.

    Args:
        num_fields: numbers of the record; ``kernels.records`` says what each one is.
    """

    def __init__(self, num_fields: int) -> None:
        self._numbers = np.zeros(num_fields, dtype=np.int64)
        self._arrays: dict[int, NDArray[Any]] = {}
        self.address = address_of(self._numbers)

    def __getitem__(self, field: int) -> int:
        return int(self._numbers[field])

    def __setitem__(self, field: int, value: int) -> None:
        self._numbers[field] = value

    def attach(self, field: int, array: NDArray[Any]) -> None:
        """Let a field hold the address of ``array``, which replaces an earlier one."""
        if not array.flags.c_contiguous:
            raise ValueError("kernels read contiguous arrays only")
        self._arrays[field] = array
        self._numbers[field] = address_of(array)

    def array(self, field: int) -> NDArray[Any]:
        """Return the array that a field holds the address of."""
        return self._arrays[field]

    def release(self, *fields: int) -> None:
        """Forget arrays that no kernel needs any more."""
        for field in fields:
            del self._arrays[field]
            self._numbers[field] = 0
