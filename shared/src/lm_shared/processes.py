"""Functions run in other processes: results in order, errors and Ctrl-C as if it were one process.

The processes are spawned, not forked: a fork would copy the locks of the caller's threads. Each is
held on a leash, a pipe that the parent keeps open: when the parent ends, however it does, or cuts
it, the process ends too. Ctrl-C reaches every process of a terminal; here only the parent acts on
it. A script that starts processes needs ``if __name__ == "__main__":``.
"""

import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache, partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_MOST_S_TO_WRITE_DOWN = 1.0
_WAITING_PER_WORKER = 2


class WorkerDiedError(RuntimeError):
    """A process ended before its work did: killed, out of memory, or crashed in machine code."""


class ProcessPool:
    """Processes that work for a ``with`` block; the first call of ``map`` starts them.

    Raises:
        ValueError: ``num_processes`` is not positive.
    """

    def __init__(self, num_processes: int) -> None:
        if num_processes < 1:
            raise ValueError(f"num_processes={num_processes} is not positive")
        self._num_processes = num_processes
        self._pool: ProcessPoolExecutor | None = None
        self._leash: Connection | None = None
        self._processes: list[BaseProcess] = []

    def __enter__(self) -> "ProcessPool":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Wait for what has begun; after Ctrl-C or another sudden end, do not."""
        if error is not None and not isinstance(error, Exception):
            self._cut_leash()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._cut_leash()

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield ``function(item)`` in the order of the items, of which few wait at any time.

        Args:
            function: can be pickled; a process unpickles it once, not for each item.
            items: can be pickled; they are drawn as the work goes on.

        Raises:
            WorkerDiedError: a process ended; the message says which and how.
        """
        pool = self._start()
        call = partial(_call, pickle.dumps(function))
        try:
            yield from run_in_order(pool, call, items, _WAITING_PER_WORKER * self._num_processes)
        except BrokenProcessPool as error:
            raise WorkerDiedError(self._describe_death()) from error

    def _start(self) -> ProcessPoolExecutor:
        """Start all processes, once.

        They inherit that Ctrl-C is ignored, for it is in their first second, full of imports, that
        they would print the most.
        """
        if self._pool is not None:
            return self._pool
        context = multiprocessing.get_context("spawn")
        held, self._leash = context.Pipe(duplex=False)
        self._pool = ProcessPoolExecutor(self._num_processes, context, _wear_leash, (held,))
        others = set(multiprocessing.active_children())
        is_main = threading.current_thread() is threading.main_thread()
        earlier = signal.signal(signal.SIGINT, signal.SIG_IGN) if is_main else None
        try:
            for _ in range(self._num_processes):
                self._pool.submit(os.getpid)
        finally:
            if is_main:
                signal.signal(signal.SIGINT, earlier)
        self._processes = [one for one in multiprocessing.active_children() if one not in others]
        return self._pool

    def _cut_leash(self) -> None:
        if self._leash is not None:
            self._leash.close()
            self._leash = None

    def _describe_death(self) -> str:
        """Name the process that ended first: the pool then terminates the others."""
        deadline_s = time.monotonic() + _MOST_S_TO_WRITE_DOWN
        for process in self._processes:
            process.join()
            # The pool's own thread may have waited for it as well, and be about to write it down.
            while process.exitcode is None and time.monotonic() < deadline_s:
                time.sleep(0.001)
        codes = {one.pid: one.exitcode for one in self._processes if one.exitcode}
        first = {pid: code for pid, code in codes.items() if code != -signal.SIGTERM} or codes
        deaths = [f"process {pid} {_describe_exit(code)}" for pid, code in first.items()]
        return f"a worker died before its work was done: {', '.join(deaths) or 'cause unknown'}"


def map_in_threads(
    function: Callable[[Item], Result], items: Iterable[Item], num_threads: int
) -> Iterator[Result]:
    """Yield ``function(item)`` in the order of the items, of which few wait at any time.

    Pays for functions that release Python's lock; one thread is the caller's own.
    """
    if num_threads == 1:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(num_threads) as pool:
        yield from run_in_order(pool, function, items, _WAITING_PER_WORKER * num_threads)


def run_in_order(
    pool: Executor, function: Callable[[Item], Result], items: Iterable[Item], num_waiting: int
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


def num_available_cores() -> int:
    """Return the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _wear_leash(leash: Connection) -> None:
    """Watch the parent, which may be killed without a chance to end its processes."""
    threading.Thread(target=_end_with_leash, args=(leash,), daemon=True).start()


def _end_with_leash(leash: Connection) -> None:
    # Nothing is ever sent: what makes it readable is the end of the parent's side.
    leash.poll(None)
    os._exit(1)


def _call(pickled: bytes, item: Any) -> Any:
    return _load(pickled)(item)


@lru_cache(maxsize=1)
def _load(pickled: bytes) -> Callable[[Any], Any]:
    # As an argument of the processes' start it would be more than a pipe holds, and they would
    # start one by one; so it comes with every item.
    return pickle.loads(pickled)


def _describe_exit(code: int | None) -> str:
    if code is None or code >= 0:
        return f"ended with code {code}"
    name = signal.Signals(-code).name
    hint = ", as happens when memory runs out" if code == -signal.SIGKILL else ""
    return f"was ended by {name}{hint}"
