"""The processes that train one model together, as far as a command and a loop have to know.

How they share the work is a strategy, which another package brings: it registers, in the group
``lm_basics.strategies`` of its entry points, a function that joins this process to the others.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from lm_basics.training.strategy import StrategyFactory

StrategyName = Literal["serial", "ddp", "sharded", "fsdp"]
"""One process; replicas; replicas with a sharded optimizer state; everything sharded."""

GROUP = "lm_basics.strategies"


@runtime_checkable
class Team(Protocol):
    """This process among those of a run; process 0 alone writes."""

    @property
    def rank(self) -> int:
        """Number of this process."""
        ...

    @property
    def size(self) -> int:
        """How many there are."""
        ...

    def agree(self, step: int, *, wish: bool) -> bool:
        """Tell whether any process wishes something after ``step``; all of them have to ask."""
        ...

    def wait(self) -> None:
        """Return when all processes have come here."""
        ...


@dataclass(frozen=True, slots=True)
class Alone:
    """The team of a process that trains by itself."""

    rank: int = 0
    size: int = 1

    def agree(self, step: int, *, wish: bool) -> bool:
        """Return the wish."""
        return wish

    def wait(self) -> None:
        """Return at once."""


ALONE = Alone()

Joined = tuple[Team, "StrategyFactory"]
Join = Callable[[Mapping[str, str]], AbstractContextManager[Joined]]
"""Takes the environment that torchrun has set; leaves the team when the block ends."""


def is_first(environment: Mapping[str, str]) -> bool:
    """Tell, before anything is joined, whether this is process 0, which alone writes."""
    return int(environment.get("RANK", "0")) == 0


@contextmanager
def join_team(
    name: StrategyName, environment: Mapping[str, str], *, command: Sequence[str]
) -> Iterator[Joined]:
    """Join the processes that torchrun has started.

    Args:
        name: How they share the work.
        environment: The process's environment variables.
        command: Arguments of ``python -m lm_basics``, for a message.

    Raises:
        ValueError: The strategy needs several processes, or another package, or there are several
            and it takes one.
        WorkerDiedError: Another process ended or failed first; the message says which.
    """
    size = int(environment.get("WORLD_SIZE", "1"))
    if name == "serial":
        if size > 1:
            raise ValueError(
                f"torchrun has started {size} processes, and each would train the same model: add "
                "--strategy ddp, or leave torchrun out"
            )
        from lm_basics.training.strategy import SerialStrategy  # noqa: PLC0415 - loads torch

        yield ALONE, SerialStrategy.from_config
        return
    if "RANK" not in environment:
        words = " ".join(command)
        raise ValueError(
            f"--strategy {name} trains in several processes: start it by "
            f"torchrun --nproc-per-node 2 -m lm_basics {words}"
        )
    with find_strategy(name)(environment) as joined:
        yield joined


def find_strategy(name: StrategyName) -> Join:
    """Return what joins a process to the others.

    Raises:
        ValueError: No installed package brings it.
    """
    found = entry_points(group=GROUP, name=name)
    if not found:
        raise ValueError(f"--strategy {name} comes with the package lm-systems: install lm-systems")
    return next(iter(found)).load()
