"""What the processes of a group send each other, counted in bytes and written down in order.

A ring moves ``S`` bytes through ``N`` processes in pieces of ``S / N``, each to the next neighbour.
Gathering all pieces, or reducing each piece on its way to its owner, takes ``N - 1`` such steps; an
all-reduce is the second, then the first (Patarasu & Yuan, 2009). A process therefore sends::

    all-gather, reduce-scatter, broadcast    (N - 1) / N * S
    all-reduce                             2 (N - 1) / N * S

Of a broadcast this is the mean: the last process of the ring passes nothing on. The backend may
send more: gloo does a reduce-scatter by an all-reduce, and small tensors have headers.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor

from lm_systems.parallel.arithmetic import ring_bytes

# torch 2.13 renamed both, and warns of the earlier names.
all_gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
reduce_scatter = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor

EventKind = Literal["gather", "use", "free", "reduce", "broadcast"]
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Event:
    """Something that was begun or ended with a tensor."""

    kind: EventKind
    """``gather`` and ``reduce`` begin to communicate, ``use`` has waited for it."""
    name: str
    """Of the parameter, or of the bucket."""


class Pending:
    """A result that is on its way."""

    def __init__(self, work: Any, result: Tensor, *alive: Tensor) -> None:
        self._work, self._result = work, result
        # The backend reads from them until the work is done.
        self._alive = alive

    def wait(self) -> Tensor:
        """Return the result when it is there."""
        if self._work is not None:
            self._work.wait()
            self._work, self._alive = None, ()
        return self._result


class Collectives:
    """The communication of one process with the others of its group."""

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        """Look up this process.

        Args:
            group: None means all processes.

        Raises:
            RuntimeError: This process belongs to no group yet.
        """
        if not dist.is_initialized():
            raise RuntimeError(
                "the processes do not know each other: call torch.distributed.init_process_group "
                "before, or start with torchrun"
            )
        self._group = group
        self.rank = dist.get_rank(group)
        """Number of this process."""
        self.size = dist.get_world_size(group)
        """How many there are."""
        self.bytes_sent: Counter[str] = Counter()
        """By kind of call, as the ring sends them, rounded down."""
        self.events: list[Event] | None = None
        """What happened in order, where a list is put here to be written to."""

    def note(self, kind: EventKind, name: str) -> None:
        """Write an event down, if anybody wants to know."""
        if self.events is not None:
            self.events.append(Event(kind, name))

    def broadcast(self, tensor: Tensor, source: int) -> Pending:
        """Begin to give ``tensor``, in place, the values that it has in process ``source``."""
        self._count("broadcast", tensor, rounds=1)
        root = source if self._group is None else dist.get_global_rank(self._group, source)
        return Pending(
            dist.broadcast(tensor.detach(), root, group=self._group, async_op=True), tensor
        )

    def average(self, tensor: Float[Tensor, "*shape"]) -> Pending:
        """Begin to replace ``tensor`` by its mean over the processes."""
        # Before the sum, which could leave the range of float16.
        return self._all_reduce(tensor.div_(self.size), dist.ReduceOp.SUM)

    def total(self, tensor: Tensor) -> Tensor:
        """Return the sum over the processes, in place."""
        return self._all_reduce(tensor, dist.ReduceOp.SUM).wait()

    def largest(self, tensor: Tensor) -> Tensor:
        """Return the elementwise maximum over the processes, in place."""
        return self._all_reduce(tensor, dist.ReduceOp.MAX).wait()

    def gather(self, shard: Tensor, *, into: Tensor | None = None) -> Pending:
        """Begin to put the equal shards of all processes one behind the other along axis 0."""
        if into is None:
            into = shard.new_empty((self.size * shard.shape[0], *shard.shape[1:]))
        self._count("all_gather", into, rounds=1)
        work = all_gather(into, shard.contiguous(), group=self._group, async_op=True)
        return Pending(work, into, shard)

    def scatter_average(self, full: Float[Tensor, "rows *rest"]) -> Pending:
        """Begin to average over the processes; each gets its part of the rows."""
        self._count("reduce_scatter", full, rounds=1)
        part = full.new_empty((full.shape[0] // self.size, *full.shape[1:]))
        full = full.div_(self.size)
        work = reduce_scatter(part, full, group=self._group, async_op=True)
        return Pending(work, part, full)

    def gather_objects(self, value: Value) -> list[Value]:
        """Return the small plain values of all processes."""
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, group=self._group)
        return values

    def _all_reduce(self, tensor: Tensor, operation: Any) -> Pending:
        self._count("all_reduce", tensor, rounds=2)
        work = dist.all_reduce(tensor, op=operation, group=self._group, async_op=True)
        return Pending(work, tensor)

    def _count(self, kind: str, tensor: Tensor, *, rounds: int) -> None:
        self.bytes_sent[kind] += int(rounds * ring_bytes(tensor.nbytes, self.size))


@torch.no_grad()
def broadcast_all(collectives: Collectives, tensors: Sequence[Tensor]) -> None:
    """Give all tensors the values that they have in process 0."""
    wait_all([collectives.broadcast(tensor, 0) for tensor in tensors])


def wait_all(pending: Sequence[Pending]) -> list[Tensor]:
    """Return the results of all."""
    return [one.wait() for one in pending]
