"""The processes that torchrun starts, as the teams of ``lm_basics.training.team``."""

import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType

import torch
import torch.distributed as dist

from lm_basics.training.team import Joined
from lm_shared.processes import WorkerDiedError
from lm_systems.parallel.collectives import Collectives
from lm_systems.parallel.strategies import DDPStrategy, FSDPStrategy, ShardedOptimizerStrategy
from lm_systems.parallel.watch import Watch

_NEWS_S = 5.0
"""Seconds in which the reason of a failed communication becomes known."""
_TIMEOUT = timedelta(minutes=10)
"""After which a communication fails to which a living process does not come."""


class ProcessTeam:
    """This process among those of the default group."""

    def __init__(self, watch: Watch) -> None:
        self._collectives = Collectives()
        self._watch = watch
        self.rank, self.size = self._collectives.rank, self._collectives.size

    def agree(self, step: int, *, wish: bool) -> bool:
        """Tell whether any process wishes something after ``step``."""
        self._watch.tell_step(step)
        return bool(self._collectives.largest(torch.tensor([wish], dtype=torch.uint8)))

    def wait(self) -> None:
        """Return when all processes have come here."""
        self.agree(self._watch.step, wish=False)


@contextmanager
def join_ddp(environment: Mapping[str, str]) -> Iterator[Joined]:
    """Join for ``DDPStrategy``; see ``join``."""
    with join(environment) as team:
        yield team, DDPStrategy.from_config


@contextmanager
def join_sharded(environment: Mapping[str, str]) -> Iterator[Joined]:
    """Join for ``ShardedOptimizerStrategy``; see ``join``."""
    with join(environment) as team:
        yield team, ShardedOptimizerStrategy.from_config


@contextmanager
def join_fsdp(environment: Mapping[str, str]) -> Iterator[Joined]:
    """Join for ``FSDPStrategy``; see ``join``."""
    with join(environment) as team:
        yield team, FSDPStrategy.from_config


@contextmanager
def join(environment: Mapping[str, str]) -> Iterator[ProcessTeam]:
    """Meet the other processes; when one of them ends or fails, the block fails with its name.

    Args:
        environment: With ``RANK``, ``WORLD_SIZE``, ``LOCAL_RANK``, ``MASTER_ADDR`` and
            ``MASTER_PORT``, as torchrun sets them.

    Raises:
        WorkerDiedError: Another process ended or failed first.
    """
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(environment["LOCAL_RANK"]))
        backend = "cpu:gloo,cuda:nccl"
    rank, size = int(environment["RANK"]), int(environment["WORLD_SIZE"])
    dist.init_process_group(backend, timeout=_TIMEOUT)
    exchange = Collectives().gather_objects
    watch = Watch(rank, size, host=environment["MASTER_ADDR"], exchange=exchange)
    try:
        with _terminated_as_error():
            try:
                yield ProcessTeam(watch)
            except KeyboardInterrupt:
                # All have agreed to it.
                watch.leave()
                raise
            except BaseException as error:
                # Whoever waits for a process that is gone fails as well, but later.
                is_late = isinstance(error, RuntimeError)
                news = watch.wait_for_news(_NEWS_S if is_late else 0.0)
                if news is not None:
                    raise WorkerDiedError(news) from error
                watch.tell_error(error)
                raise
        watch.leave()
        dist.destroy_process_group()
    finally:
        watch.close()


class _TerminatedError(RuntimeError):
    """Somebody, mostly torchrun, ends this process."""


@contextmanager
def _terminated_as_error() -> Iterator[None]:
    """Let the block end by an error where a signal would end the process without a word."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def note(_number: int, _frame: FrameType | None) -> None:
        # Once: what is told afterwards must not be cut short.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise _TerminatedError("this process was asked to end")

    earlier = signal.signal(signal.SIGTERM, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, earlier)
