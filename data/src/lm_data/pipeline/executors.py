"""Executors: where the work on shards runs. Results come in the order of the items, always."""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Protocol, TypeVar, runtime_checkable

from lm_shared.processes import ProcessPool

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
    """Runs items in processes of this machine; a context manager that ends them."""

    def __init__(self, workers: int) -> None:
        self._pool = ProcessPool(workers)

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """Return ``[function(item) for item in items]``; the first error is raised."""
        return list(self._pool.map(function, items))

    def __enter__(self) -> "ProcessExecutor":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._pool.__exit__(kind, error, traceback)
