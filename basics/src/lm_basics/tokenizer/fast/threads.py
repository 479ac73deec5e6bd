"""Threads that count or encode while the caller reads on."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_WAITING_PER_THREAD = 2


def num_available_cores() -> int:
    """Return the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def map_in_order(
    function: Callable[[Item], Result], items: Iterable[Item], num_threads: int
) -> Iterator[Result]:
    """Yield ``function(item)`` in the order of the items, of which few wait at any time."""
    if num_threads == 1:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(num_threads) as pool:
        yield from run_in_order(pool, function, items, _WAITING_PER_THREAD * num_threads)


def run_in_order(
    pool: Executor,
    function: Callable[[Item], Result],
    items: Iterable[Item],
    num_waiting: int,
) -> Iterator[Result]:
    """Yield ``function(item)`` in the order of the items, with the work done by a pool."""
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > num_waiting:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        # After an error or Ctrl-C, nobody wants what has not begun.
        for future in waiting:
            future.cancel()
