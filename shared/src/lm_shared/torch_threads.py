"""Python functions on the threads of torch's own parallel operations.

These threads keep spinning for milliseconds after an operation, so that the next one begins at
once. Other threads would share the cores with them: on two cores that doubles their time.
"""

import ctypes
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

# The entry of GNU OpenMP through which every program compiled by GCC starts its parallel loops.
_ENTRY = "GOMP_parallel"
_Body = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def run_on_torch_threads(function: Callable[[int], object], num_shares: int) -> None:
    """Call ``function`` with each number below ``num_shares``, on as many threads.

    It should spend its time in foreign code that releases the interpreter's lock. Where torch does
    not use GNU OpenMP (not on Linux), and where there is one share, this thread makes all calls.

    Raises:
        Exception: What a call raised first; the other calls were still made.
    """
    parallel = _find_entry()
    if num_shares <= 1 or parallel is None:
        for index in range(num_shares):
            function(index)
        return
    left = list(range(num_shares))
    errors: list[BaseException] = []

    def take_shares(_: int | None) -> None:
        # A loop: OpenMP may have fewer threads than it was asked for.
        while True:
            try:
                index = left.pop()
            except IndexError:
                return
            try:
                function(index)
            except BaseException as error:
                errors.append(error)

    parallel(_Body(take_shares), None, num_shares, 0)
    if errors:
        raise errors[0]


@cache
def _find_entry() -> Any:
    """Return the function that starts a parallel loop, or None."""
    if sys.platform != "linux":
        return None
    # Among all libraries that this process has loaded, torch's among them.
    return getattr(ctypes.CDLL(None), _ENTRY, None)
