"""Executors: where the work on shards runs. Results come in the order of the items, always."""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from types import TracebackType
from typing import Protocol, TypeVar, runtime_checkable

Item = TypeVar("Item")
Result = TypeVar("Result")


@runtime_checkable
class Executor(Protocol):
    """Applies a function to items, one shard's work each."""

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """Return ``[function(item) for item in items]``."""
        ...


class SerialExecutor:
    """Runs everything in the calling process."""

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """Return ``[function(item) for item in items]``."""
        return [function(item) for item in items]


class ProcessExecutor:
    """Runs items in processes of this machine; a context manager that ends them.

    The processes are spawned, not forked: a fork would copy the locks of the caller's threads.
    """

    def __init__(self, workers: int) -> None:
        if workers < 1:
            raise ValueError(f"workers={workers} is not positive")
        self._pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"))

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """Return ``[function(item) for item in items]``; the first error is raised."""
        # Pool.map keeps the order of the items however the processes finish.
        return list(self._pool.map(function, items))

    def __enter__(self) -> "ProcessExecutor":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._pool.shutdown(cancel_futures=error is not None)
