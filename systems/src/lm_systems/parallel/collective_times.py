"""How long processes of this machine take to reduce and to gather, and at which rates.

A collective is as slow as its slowest process, so the longest time of all counts, round by round.
With the size ``S`` of the whole tensor, the algorithm's rate is ``S`` over that time. The rate of
the bus is what a process sends by the ring over that time: it is that of the wires whatever the
number of processes, if the backend works as a ring does.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import get_args

import torch
import torch.distributed as dist
from torch import Tensor

from lm_shared.config import DeviceName
from lm_shared.processes import ProcessPool
from lm_shared.tensors import choose_device, synchronizer
from lm_systems.parallel.arithmetic import Collective, collective_bytes
from lm_systems.parallel.collectives import all_gather, reduce_scatter

# A process that waits for one which is gone gives up.
_TIMEOUT = timedelta(minutes=3)


@dataclass(frozen=True, kw_only=True, slots=True)
class CollectiveTimes:
    """One collective, size and number of processes."""

    kind: Collective
    """What was done."""
    num_processes: int
    """By how many."""
    num_bytes: int
    """Size of the whole tensor, float32."""
    elapsed_s: list[float]
    """Of each round, of the slowest process."""

    @property
    def mean_s(self) -> float:
        """Mean of the rounds."""
        return statistics.mean(self.elapsed_s)

    @property
    def algorithm_bytes_per_s(self) -> float:
        """Bytes of the tensor a second."""
        return self.num_bytes / self.mean_s

    @property
    def bus_bytes_per_s(self) -> float:
        """Bytes that a process of a ring sends a second."""
        return collective_bytes(self.kind, self.num_bytes, self.num_processes) / self.mean_s


def time_collectives(
    num_processes: int,
    sizes: Sequence[int],
    *,
    device: DeviceName = "auto",
    warmup: int = 5,
    rounds: int = 10,
) -> list[CollectiveTimes]:
    """Start processes, let them do every collective at every size, and return the times.

    Args:
        num_processes: At least two.
        sizes: Bytes of the whole tensor; rounded down to whole float32 numbers for each process.
        device: ``cuda`` gives each process a GPU of its own, by NCCL; ``cpu`` uses gloo; ``auto``
            is the first where there are GPUs enough.
        warmup: Rounds before, which do not count.
        rounds: Rounds that count.

    Raises:
        ValueError: A number is too small, or there are fewer GPUs than processes.
        WorkerDiedError: A process ended.
    """
    if num_processes < 2:
        raise ValueError(f"num_processes={num_processes}: one has nobody to talk to")
    if rounds < 1 or min(sizes) < 4 * num_processes:
        raise ValueError(
            f"expected rounds and a number for each process, got rounds={rounds}, sizes={sizes}"
        )
    num_gpus = torch.cuda.device_count()
    if device == "auto":
        device = "cuda" if num_gpus >= num_processes else "cpu"
    if choose_device(device).type == "cuda" and num_gpus < num_processes:
        raise ValueError(f"{num_processes} processes need as many GPUs, there are {num_gpus}")
    with tempfile.TemporaryDirectory() as folder, ProcessPool(num_processes) as pool:
        work = partial(
            _work,
            address=f"file://{Path(folder) / 'meeting'}",
            num_processes=num_processes,
            sizes=tuple(sizes),
            device=device,
            warmup=warmup,
            rounds=rounds,
        )
        # Each blocks until all have come, so no process takes two.
        first, *_ = pool.map(work, range(num_processes))
    return first


def _work(
    rank: int,
    *,
    address: str,
    num_processes: int,
    sizes: Sequence[int],
    device: DeviceName,
    warmup: int,
    rounds: int,
) -> list[CollectiveTimes]:
    with _group(rank, num_processes, address, device) as place:
        found = []
        for num_bytes in sizes:
            # Zeros, whose sums stay in range however often they are added up.
            part = torch.zeros(num_bytes // (4 * num_processes), device=place)
            whole = part.repeat(num_processes)
            calls = _calls(whole, part)
            for kind in get_args(Collective):
                elapsed_s = _time_rounds(calls[kind], place, warmup, rounds)
                found.append(
                    CollectiveTimes(
                        kind=kind,
                        num_processes=num_processes,
                        num_bytes=whole.nbytes,
                        elapsed_s=elapsed_s,
                    )
                )
    return found


@contextmanager
def _group(rank: int, size: int, address: str, device: DeviceName) -> Iterator[torch.device]:
    torch.set_num_threads(1)
    place = torch.device("cpu") if device == "cpu" else torch.device("cuda", rank)
    if place.type == "cuda":
        torch.cuda.set_device(place)
    dist.init_process_group(
        "nccl" if place.type == "cuda" else "gloo",
        init_method=address,
        rank=rank,
        world_size=size,
        timeout=_TIMEOUT,
        device_id=place if place.type == "cuda" else None,
    )
    try:
        yield place
    finally:
        dist.destroy_process_group()


def _calls(whole: Tensor, part: Tensor) -> dict[Collective, Callable[[], object]]:
    return {
        "all_reduce": lambda: dist.all_reduce(whole),
        "all_gather": lambda: all_gather(whole, part),
        "reduce_scatter": lambda: reduce_scatter(part, whole),
    }


def _time_rounds(
    call: Callable[[], object], device: torch.device, warmup: int, rounds: int
) -> list[float]:
    """Return the seconds of the rounds, each of the slowest process."""
    wait = synchronizer(device) or (lambda: None)
    elapsed_s = torch.zeros(warmup + rounds, dtype=torch.float64)
    for i in range(warmup + rounds):
        dist.barrier()
        wait()
        start_s = time.perf_counter()
        call()
        wait()
        elapsed_s[i] = time.perf_counter() - start_s
    elapsed_s = elapsed_s.to(device)
    dist.all_reduce(elapsed_s, dist.ReduceOp.MAX)
    return elapsed_s[warmup:].tolist()
