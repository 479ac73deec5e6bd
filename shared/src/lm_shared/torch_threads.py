"""Python functions on the threads of torch's own parallel operations.

These threads keep spinning for milliseconds after an operation, so that the next one begins at
once. Other threads would share the cores with them: on two cores that doubles their time.
"""

import ctypes
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch  # noqa: F401 - brings the threads with it

# The entry of GNU OpenMP through which every program compiled by GCC starts its parallel loops.
_ENTRY = "GOMP_parallel"
_Body = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def run_on_torch_threads(function: Callable[[int], object], num_shares: int) -> None:
    """Call ``function`` with each number below ``num_shares``, on as many threads.

    It should spend its time in foreign code that releases the interpreter's lock. Where torch does
    not use GNU OpenMP (not on Linux), and where there is one share, this thread makes all calls.
    Ctrl-C takes effect when all are done. As torch's own operations, this must not be called in a
    forked process whose parent has used these threads already.

    Raises:
        BaseException: What a call raised first; the other calls were still made.
        RuntimeError: The handler of a signal raised before a call was made.
    """
    left = list(reversed(range(num_shares)))
    num_done = 0
    errors: list[BaseException] = []
    lock = threading.Lock()

    def take_shares(_: int | None = None) -> None:
        nonlocal num_done
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
            with lock:
                num_done += 1

    parallel = _find_entry()
    with _interrupts_later():
        if num_shares <= 1 or parallel is None:
            take_shares()
        else:
            parallel(_Body(take_shares), None, num_shares, 0)
    if errors:
        raise errors[0]
    # What is raised at the edge of a callback from C gets lost.
    if num_done < num_shares:
        raise RuntimeError(f"{num_done} of {num_shares} shares were done: a signal came in between")


@contextmanager
def _interrupts_later() -> Iterator[None]:
    """Let Ctrl-C wait: raised inside of a callback from C it would be lost."""
    is_main = threading.current_thread() is threading.main_thread()
    previous = signal.getsignal(signal.SIGINT)
    if not is_main or not callable(previous):
        yield
        return
    has_come = False

    def remember(*_: Any) -> None:
        nonlocal has_come
        has_come = True

    signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
    if has_come:
        signal.raise_signal(signal.SIGINT)


@cache
def _find_entry() -> Any:
    """Return the function that starts a parallel loop, or None."""
    if sys.platform != "linux":
        return None
    # Among all libraries that this process has loaded, torch's among them.
    return getattr(ctypes.CDLL(None), _ENTRY, None)
